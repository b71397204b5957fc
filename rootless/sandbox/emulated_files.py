"""Answers intercepted calls about files: owners that are recorded instead of set.

Runs with the container's root directory and mounts, as root of its user namespace, and as its
working directory has the host's /proc, where the processes are found by the numbers that the
notifications name. Whatever it does to a file is what the program may do itself: it gives the file
to the one id that there is, sets a user attribute, or makes a plain file.
"""

import errno
import os
import stat

from rootless.linux import notify
from rootless.linux import syscalls as sc
from rootless.sandbox import credentials
from rootless.sandbox.credentials import KEEP, Credentials
from storage import owners
from storage.owners import Owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.linux.notify import Notification

    Handler = Callable[[Notification, Credentials], int | None]

_O_PATH = os.O_PATH | os.O_CLOEXEC
_DIRECTORY = _O_PATH | os.O_DIRECTORY
_HERE = b"/proc/self/fd/"
_ATTRIBUTE_LIMIT_BYTES = 4096
_ACL = b"system.posix_acl_"
_OURS = owners.ATTRIBUTE.encode()


def as_fd(word: int) -> int:
    """Return a descriptor argument, which the kernel reads as a signed int."""
    value = word & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Files:
    """Finds files as a process sees them, and keeps what it is told of their owners.

    `links` is a descriptor to append to: owners of what can carry no attribute (symbolic links).
    """

    ANSWERED = -(1 << 62)

    def __init__(self, links: int, known_links: dict[int, Owner]) -> None:
        root = os.stat("/")
        self._root = (root.st_dev, root.st_ino)
        self._links = links
        self._by_inode: dict[tuple[int, int], Owner] = {}
        self._known_links = known_links
        self.listener = -1

    def handlers(self) -> "dict[str, Handler]":
        """Return the handler of each call."""
        return {
            "chown": lambda n, c: self._chown(n, c, sc.AT_FDCWD, 0, follow=True),
            "lchown": lambda n, c: self._chown(n, c, sc.AT_FDCWD, 0, follow=False),
            "fchown": self._fchown,
            "fchownat": self._fchownat,
            "setxattr": lambda n, c: self._setxattr(n, follow=True),
            "lsetxattr": lambda n, c: self._setxattr(n, follow=False),
            "fsetxattr": lambda n, c: self._fsetxattr(n),
            "mknod": lambda n, c: self._mknod(n, sc.AT_FDCWD, 0),
            "mknodat": lambda n, c: self._mknod(n, as_fd(n.arguments[0]), 1),
        }

    def thread_group(self, pid: int) -> int:
        """Return the number of the process that a thread belongs to."""
        return int(_status_field(pid, b"Tgid:").split()[0])

    def inner_pid(self, pid: int) -> int:
        """Return the number of a process in the innermost namespace that it has one in."""
        return int(_status_field(pid, b"NSpid:").split()[-1])

    def open_at(
        self, pid: int, dir_fd: int, path: bytes, *, follow: bool, empty: bool = False
    ) -> int:
        """Open what a path means to a process, as O_PATH. Raises OSError."""
        flags = _O_PATH if follow else _O_PATH | os.O_NOFOLLOW
        if not path:
            if not empty:
                raise _error(errno.ENOENT)
            if dir_fd == sc.AT_FDCWD:
                return os.open(b"%d/cwd" % pid, _O_PATH)
            return self.open_fd(pid, dir_fd)
        if path.startswith(b"/"):
            if path.startswith(_HERE) and path[len(_HERE) :].isdigit() and follow:
                return self.open_fd(pid, int(path[len(_HERE) :]))
            root = os.stat(b"%d/root" % pid)
            if (root.st_dev, root.st_ino) == self._root:
                return os.open(path, flags)
            return self._open_in(b"%d/root" % pid, path, flags)
        base = b"%d/cwd" % pid if dir_fd == sc.AT_FDCWD else b"%d/fd/%d" % (pid, dir_fd)
        directory = os.open(base, _DIRECTORY)
        try:
            return os.open(path, flags, dir_fd=directory)
        finally:
            os.close(directory)

    def open_fd(self, pid: int, number: int) -> int:
        """Open what a descriptor of a process stands for. Raises OSError: EBADF."""
        if number < 0:
            raise _error(errno.EBADF)
        try:
            return os.open(b"%d/fd/%d" % (pid, number), _O_PATH)
        except FileNotFoundError:
            raise _error(errno.EBADF) from None

    def _open_in(self, root: bytes, path: bytes, flags: int) -> int:
        """Resolve a path of a process that has changed its root directory or its mounts."""
        directory = os.open(root, _DIRECTORY)
        try:
            return sc.openat2(directory, os.fsdecode(path), flags, resolve=sc.RESOLVE_IN_ROOT)
        finally:
            os.close(directory)

    def owner_of(self, fd: int, found: os.stat_result | None = None) -> Owner | None:
        """Return what is recorded of an open file, None when that is nothing."""
        owner = owners.recorded(f"self/fd/{fd}", follow=True)
        if owner is not None or not (self._by_inode or self._known_links):
            return owner
        found = found or os.stat(fd)
        owner = self._by_inode.get((found.st_dev, found.st_ino))
        if owner is None and stat.S_ISLNK(found.st_mode):
            owner = self._known_links.get(found.st_ino)
        return owner

    def keep_owner(self, fd: int, found: os.stat_result, owner: Owner) -> None:
        """Record the owner of an open file. Raises OSError."""
        if owners.record(f"self/fd/{fd}", owner, found.st_mode, follow=True):
            return
        self._by_inode[found.st_dev, found.st_ino] = owner
        if stat.S_ISLNK(found.st_mode):
            path = os.readlink(b"self/fd/%d" % fd)
            line = b"%d %d %d %s\n" % (found.st_ino, owner.uid, owner.gid, path.hex().encode())
            os.write(self._links, line)

    def _fchown(self, call: "Notification", own: Credentials) -> int:
        fd = self.open_fd(call.pid, as_fd(call.arguments[0]))
        return self._change_owner(call, own, fd, call.arguments[1:3])

    def _fchownat(self, call: "Notification", own: Credentials) -> int:
        flags = call.arguments[4]
        return self._chown(
            call,
            own,
            as_fd(call.arguments[0]),
            1,
            follow=not flags & sc.AT_SYMLINK_NOFOLLOW,
            empty=bool(flags & sc.AT_EMPTY_PATH),
        )

    def _chown(
        self,
        call: "Notification",
        own: Credentials,
        dir_fd: int,
        first: int,
        *,
        follow: bool,
        empty: bool = False,
    ) -> int:
        """`first` is the position of the path, which the two ids follow."""
        path = notify.read_text(call.pid, call.arguments[first])
        fd = self.open_at(call.pid, dir_fd, path, follow=follow, empty=empty)
        return self._change_owner(call, own, fd, call.arguments[first + 1 : first + 3])

    def _change_owner(
        self, call: "Notification", own: Credentials, fd: int, ids: tuple[int, ...]
    ) -> int:
        """Do the part of chown(2) that can be done, and record the rest. Closes `fd`."""
        try:
            found = os.stat(fd)
            old = self.owner_of(fd, found)
            before = (old.uid, old.gid) if old is not None else (found.st_uid, found.st_gid)
            uid, gid = (KEEP if word & 0xFFFFFFFF == 0xFFFFFFFF else word & 0xFFFFFFFF
                        for word in ids)  # fmt: skip
            if not credentials.may_chown(own, before, uid, gid):
                raise _error(errno.EPERM)
            # Has what chown has besides: copies up, clears setuid bits, fails on what is read-only.
            notify.chown_fd(fd, 0, 0)
            new = Owner(
                before[0] if uid == KEEP else uid,
                before[1] if gid == KEEP else gid,
                old.kind if old is not None else 0,
                old.device if old is not None else 0,
            )
            if new != (old or owners.ROOT):
                self.keep_owner(fd, found, new)
            return 0
        finally:
            os.close(fd)

    def _fsetxattr(self, call: "Notification") -> int | None:
        name = notify.read_text(call.pid, call.arguments[1])
        if not _is_privileged(name):
            return None
        return self._keep_attribute(call, self.open_fd(call.pid, as_fd(call.arguments[0])), name)

    def _setxattr(self, call: "Notification", *, follow: bool) -> int | None:
        name = notify.read_text(call.pid, call.arguments[1])
        if not _is_privileged(name):
            return None
        path = notify.read_text(call.pid, call.arguments[0])
        fd = self.open_at(call.pid, sc.AT_FDCWD, path, follow=follow)
        return self._keep_attribute(call, fd, name)

    def _keep_attribute(self, call: "Notification", fd: int, name: bytes) -> int:
        """Set an access list where its ids can be had; say yes to what cannot be. Closes `fd`."""
        try:
            size = call.arguments[3]
            if name.startswith(_ACL) and size <= _ATTRIBUTE_LIMIT_BYTES:
                data = notify.read_memory(call.pid, call.arguments[2], size) if size else b""
                try:
                    os.setxattr(f"self/fd/{fd}", name, data)
                except OSError as error:
                    if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                        raise
            return 0
        finally:
            os.close(fd)

    def _mknod(self, call: "Notification", dir_fd: int, first: int) -> int | None:
        """Make a plain file that is recorded to be a device; one of 0, 0 is overlayfs's own."""
        mode, device = call.arguments[first + 1], call.arguments[first + 2]
        if device == 0 and stat.S_ISCHR(mode):
            return None
        path = notify.read_text(call.pid, call.arguments[first])
        directory, base = self.parent_of(call.pid, dir_fd, path)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(base, flags, self.mode_of(call.pid, mode), dir_fd=directory)
        finally:
            os.close(directory)
        try:
            owner = Owner(0, 0, stat.S_IFMT(mode), device & 0xFFFFFFFF)
            self.keep_owner(fd, os.stat(fd), owner)
        finally:
            os.close(fd)
        return 0

    def parent_of(self, pid: int, dir_fd: int, path: bytes) -> tuple[int, bytes]:
        """Open the directory that a new name goes into; return it and the name. Raises OSError."""
        stripped = path.rstrip(b"/")
        above, slash, base = stripped.rpartition(b"/")
        if not base or base in (b".", b".."):
            raise _error(errno.EEXIST if path else errno.ENOENT)
        where = above or b"/" if slash else b"."
        return self.open_at(pid, dir_fd, where, follow=True), base

    def mode_of(self, pid: int, mode: int) -> int:
        """Return the permissions that a new file of a process gets."""
        umask = int(_status_field(pid, b"Umask:"), 8)
        return stat.S_IMODE(mode) & ~umask


def _status_field(pid: int, name: bytes) -> bytes:
    with open(b"%d/status" % pid, "rb", buffering=0) as file:
        for line in file.read(8192).split(b"\n"):
            if line.startswith(name):
                return line[len(name) :].strip()
    raise _error(errno.ESRCH)


def _is_privileged(name: bytes) -> bool:
    """Whether root of the host could set an attribute, and root of a user namespace cannot.

    A file capability can be set there too (user_namespaces(7)), and is left to the kernel.
    """
    if name == b"security.capability":
        return False
    return name == _OURS or name.startswith((b"security.", b"trusted.", _ACL))
