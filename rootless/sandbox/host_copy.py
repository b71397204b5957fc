"""A throw-away copy of a directory of the host as a container's root: `rpod shell --rootfs`.

Overlays, whose changes go to a tmpfs in the container's own mount namespace and are gone with it.
The kernel lays none over a directory with mounts below it that came with the namespace, since that
would show what they hide (mount_namespaces(7)). Such directories, / first of all, are made anew in
the tmpfs: directories in them get an overlay each, small files are copied, links are made again.
Like the rest of the child this imports nothing at run time.
"""

import os
import stat

from rootless.linux import syscalls as sc
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.root import Root, mount_overlay

# Of these nothing is copied: the container has its own, or they are interfaces, not files.
_PSEUDO = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
    "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore",
    "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs",
))  # fmt: skip
_OWN = ("/proc", "/sys", "/dev")
_COPIED_BYTES = 1 << 20


def mount_points(mountinfo: bytes) -> dict[str, str]:
    """Return the type of the file system that is seen at each mount point: proc(5), mountinfo."""
    found = {}
    for line in mountinfo.split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields = before.split()
        if len(fields) > 4:
            found[os.fsdecode(_unescape(fields[4]))] = os.fsdecode(after.split(b" ")[0])
    return found


def _unescape(text: bytes) -> bytes:
    r"""Undo the `\040` of proc(5)."""
    first, *rest = text.split(b"\\")
    return first + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest)


class HostCopy(Root):
    """The copy of `lower[0]`; `points` are the mount points of the host with their types."""

    __slots__ = ("_changes", "_count", "_device", "_made", "points")

    def __init__(self, rootfs: str, directory: str, upper: str, points: dict[str, str]) -> None:
        super().__init__(OVERLAY, rootfs, [directory], upper, "")
        self.points = points
        self._changes = -1
        self._count = 0
        self._made = ""
        self._device = 0

    def describe(self) -> str:
        return f"throw-away copy of {self.lower[0]} on {self.rootfs}"

    def open(self) -> None:
        flags = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY
        self._bundle = os.open(os.path.dirname(self.rootfs), flags)
        self._fds = [os.open(path, flags) for path in (self.rootfs, self.upper)]

    def mount(self) -> int:
        """Mount the root and return a descriptor of its top directory."""
        rootfs, changes = (f"/proc/self/fd/{fd}" for fd in self._fds)
        sc.mount("tmpfs", changes, "tmpfs", 0, "mode=755")
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._changes = os.open("upper", flags, dir_fd=self._bundle)
        os.mkdir("root", 0o755, dir_fd=self._changes)
        self._made = f"/proc/self/fd/{self._changes}/root"
        sc.mount(self._made, rootfs, "", sc.MS_BIND)
        top = os.open(self.name, flags, dir_fd=self._bundle)
        self._copy(self.lower[0].rstrip("/"), f"/proc/self/fd/{top}")
        for fd in (self._changes, *self._fds):
            os.close(fd)
        return top

    def _copy(self, source: str, target: str) -> None:
        """Fill a directory of our own with what `source` has."""
        try:
            entries = list(os.scandir(source or "/"))
        except OSError:
            return  # not for the caller's eyes
        for entry in entries:
            path, place = f"{source}/{entry.name}", f"{target}/{entry.name}"
            try:
                self._copy_entry(path, place, entry.stat(follow_symlinks=False))
            except OSError:
                continue  # one file of many: unreadable, gone meanwhile, of a server that is gone

    def _copy_entry(self, path: str, place: str, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(path), place)
        elif not stat.S_ISDIR(found.st_mode):
            self._copy_file(path, place, found)
        else:
            os.mkdir(place, 0o755)
            if path in _OWN or self.points.get(path) in _PSEUDO:
                return
            below = f"{path}/"
            if any(point.startswith(below) for point in self.points):
                os.chmod(place, stat.S_IMODE(found.st_mode))
                self._copy(path, place)
            else:
                self._lay_over(path, place, found)

    def _copy_file(self, path: str, place: str, found: os.stat_result) -> None:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if stat.S_ISREG(found.st_mode) and found.st_size <= _COPIED_BYTES:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            copy = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
            try:
                while data := os.read(source, 1 << 16):
                    os.write(copy, data)
                os.fchmod(copy, stat.S_IMODE(found.st_mode) & 0o777)
            finally:
                os.close(copy)
                os.close(source)
            return
        _show(path, place)

    def _lay_over(self, path: str, place: str, found: os.stat_result) -> None:
        """Lay an overlay over a directory; where that cannot be, show it read-only."""
        self._count += 1
        upper, work = f"u{self._count}", f"w{self._count}"
        base = f"/proc/self/fd/{self._changes}"
        os.mkdir(f"{base}/{upper}")
        # The top directory has the mode of the upper one.
        os.chmod(f"{base}/{upper}", stat.S_IMODE(found.st_mode))
        os.mkdir(f"{base}/{work}", 0o700)
        # By descriptor: commas and colons in a name mean something to mount(2).
        lower = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mount_overlay(
                place, [f"/proc/self/fd/{lower}"], upper=f"{base}/{upper}", work=f"{base}/{work}"
            )
        except OSError:
            # EINVAL, EREMOTE, ELOOP: a file system that overlay does not take, too many of them.
            _show(path, place)
        finally:
            os.close(lower)


def _show(path: str, place: str) -> None:
    """Bind something of the host into the copy, read-only."""
    fd = sc.open_tree(
        sc.AT_FDCWD, path, sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE | sc.AT_SYMLINK_NOFOLLOW
    )
    try:
        sc.mount_setattr(
            fd,
            "",
            flags=sc.AT_EMPTY_PATH | sc.AT_RECURSIVE,
            set_attributes=sc.MOUNT_ATTR_RDONLY,
            propagation=sc.MS_PRIVATE,
        )
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            sc.move_mount(fd, target)
        finally:
            os.close(target)
    finally:
        os.close(fd)
