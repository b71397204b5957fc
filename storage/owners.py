"""Owners that a file cannot have, because the id map has no place for them, kept with the file.

With a single id every file on disk belongs to the caller. What an image, or a program under root
emulation, says of the owner is an extended attribute of the file itself: it moves with the file,
is copied up with it by overlayfs, and ends with it. The name and the form are those that
containers/storage and fuse-overlayfs use (`uid:gid:0mode[:kind-major-minor]`); no layer can bring
the attribute along (`storage.xattrs.is_allowed`), so none can forge it.
"""

import errno
import os
import stat

from storage.record import NamedTuple

ATTRIBUTE = "user.containers.override_stat"
_KINDS = {"char": stat.S_IFCHR, "block": stat.S_IFBLK}
_LIMIT_BYTES = 64
_LINKS_LIMIT_BYTES = 1 << 24
_MAX_ID = 2**32 - 2
# ENODATA: none. ENOTSUP, EPERM: links, sockets, file systems without attributes.
_NONE = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ERANGE, errno.E2BIG)


class Owner(NamedTuple):
    """Who owns a file; `kind` and `device` are set for a file that stands for a device node."""

    uid: int
    gid: int
    kind: int = 0
    device: int = 0


ROOT = Owner(0, 0)


def encode(owner: Owner, mode: int) -> bytes:
    """Return the attribute's value; `mode` is told to other programs and not read again."""
    text = f"{owner.uid}:{owner.gid}:0{stat.S_IMODE(mode):o}"
    for name, kind in _KINDS.items():
        if owner.kind == kind:
            text += f":{name}-{os.major(owner.device)}-{os.minor(owner.device)}"
    return text.encode()


def decode(data: bytes) -> Owner | None:
    """Read the attribute's value; None for what nobody of us has written."""
    fields = data.split(b":")
    if len(fields) < 3 or len(data) > _LIMIT_BYTES:
        return None
    if not fields[0].isdigit() or not fields[1].isdigit():
        return None
    uid, gid = int(fields[0]), int(fields[1])
    if max(uid, gid) > _MAX_ID:
        return None
    kind, device = _device(fields[3]) if len(fields) > 3 else (0, 0)
    return Owner(uid, gid, kind, device)


def _device(field: bytes) -> tuple[int, int]:
    name, _, rest = field.partition(b"-")
    major, _, minor = rest.partition(b"-")
    kind = _KINDS.get(name.decode(errors="replace"), 0)
    if not kind or not major.isdigit() or not minor.isdigit():
        return 0, 0
    return kind, os.makedev(int(major), int(minor))


def recorded(target: int | str, *, follow: bool = False) -> Owner | None:
    """Return what is recorded for a descriptor, or for a path."""
    try:
        if isinstance(target, int):
            return decode(os.getxattr(target, ATTRIBUTE))
        return decode(os.getxattr(target, ATTRIBUTE, follow_symlinks=follow))
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return None


def record(target: int | str, owner: Owner, mode: int, *, follow: bool = False) -> bool:
    """Record an owner; False where the file cannot carry it (links, pipes, some file systems)."""
    data = encode(owner, mode)
    try:
        if isinstance(target, int):
            os.setxattr(target, ATTRIBUTE, data)
        else:
            os.setxattr(target, ATTRIBUTE, data, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in (*_NONE, errno.ENOSPC):
            raise
        return False
    return True


def with_owner(found: os.stat_result, owner: Owner) -> os.stat_result:
    """Return the result of a stat with another owner, and as the device that it stands for."""
    mode = found.st_mode
    device = found.st_rdev
    if owner.kind:
        mode = owner.kind | stat.S_IMODE(mode)
        device = owner.device
    fields = (mode, *found[1:4], owner.uid, owner.gid, *found[6:10])
    times = {"st_atime_ns": found.st_atime_ns, "st_mtime_ns": found.st_mtime_ns,
             "st_ctime_ns": found.st_ctime_ns, "st_rdev": device, "st_blocks": found.st_blocks,
             "st_blksize": found.st_blksize}  # fmt: skip
    return os.stat_result(fields, times)


def known_links(file: int) -> dict[int, Owner]:
    """Read what is recorded of symbolic links: inode number -> owner."""
    found = {}
    for inode, owner, _ in read_links(file):
        found[inode] = owner
    return found


def read_links(file: int) -> list[tuple[int, Owner, bytes]]:
    """Return (inode number, owner, path) of recorded links; a line cut short is passed over."""
    result = []
    for line in os.pread(file, _LINKS_LIMIT_BYTES, 0).split(b"\n"):
        words = line.split()
        if len(words) == 4 and all(word.isdigit() for word in words[:3]):
            inode, uid, gid = map(int, words[:3])
            result.append((inode, Owner(uid, gid), bytes.fromhex(words[3].decode())))
    return result
