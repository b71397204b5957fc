"""What kind of file system a path lies on (proc(5), mountinfo)."""

import os

from rootless.host.programs import read_text
from storage.record import NamedTuple

# File systems shared between machines: slow for small files, often without owners, xattrs, locks.
_NETWORK = (
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "orangefs", "panfs", "smb3", "smbfs", "virtiofs", "wekafs",
)  # fmt: skip


class FileSystem(NamedTuple):
    kind: str
    mount_point: str
    options: tuple[str, ...]

    @property
    def is_network(self) -> bool:
        return self.kind in _NETWORK or self.kind.startswith("fuse.")


def find_file_system(path: str, *, mountinfo: str = "/proc/self/mountinfo") -> FileSystem:
    """Return the file system of a path that may not exist yet."""
    path = existing_part(path)
    best = FileSystem("unknown", "", ())
    for line in read_text(mountinfo, limit_bytes=16 << 20).splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 6:
            continue
        point = _unescape(fields[4])
        inside = path == point or path.startswith(f"{point.rstrip('/')}/")
        # A later line for the same point is mounted over the earlier.
        if inside and len(point) >= len(best.mount_point):
            best = FileSystem(after.partition(" ")[0], point, tuple(fields[5].split(",")))
    return best


def existing_part(path: str) -> str:
    """Return the nearest existing ancestor, its links resolved."""
    path = os.path.abspath(path)
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    return os.path.realpath(path)


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
