"""What `full` root emulation adds: stat shows recorded owners, and new files get their maker's.

A file whose owner is the one that the kernel knows is left to the kernel. So is a file that root
makes; what somebody else makes is made here and recorded, and handed over as an open descriptor
where the call wants one.
"""

import os
import stat
import struct

from rootless.linux import notify
from rootless.linux import syscalls as sc
from rootless.sandbox.credentials import Credentials
from rootless.sandbox.emulated_files import Files, as_fd
from storage.owners import Owner, with_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.notify import Notification
    from rootless.sandbox.emulated_files import Handler

_X86_64 = os.uname().machine in ("x86_64", "amd64")
# struct stat of the two 64-bit tables (asm/stat.h, asm-generic/stat.h), and struct statx.
_STAT_X86_64 = struct.Struct("=QQQIIIIQqqqqqqqqq24x")
_STAT_GENERIC = struct.Struct("=QQIIIIQQqiiqqqqqqq8x")
_STATX = struct.Struct("=IIQIIIHHQQQQqI4xqI4xqI4xqI4xIIIIQ104x")
_STATX_BASIC = 0x7FF
_OPEN_MODE = 0o7777
_NOT_NAMED = os.O_PATH | (os.O_TMPFILE & ~os.O_DIRECTORY)
_PASSED_ON = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC | os.O_DIRECT | os.O_NOATIME


def stat_handlers(files: Files) -> "dict[str, Handler]":
    """Return the handlers of the calls that only `full` intercepts."""
    own = _Stat(files)
    return {
        "stat": lambda n, c: own.path(n, sc.AT_FDCWD, 0, 1, 0),
        "lstat": lambda n, c: own.path(n, sc.AT_FDCWD, 0, 1, sc.AT_SYMLINK_NOFOLLOW),
        "fstat": own.descriptor,
        "newfstatat": lambda n, c: own.path(n, as_fd(n.arguments[0]), 1, 2, n.arguments[3]),
        "statx": lambda n, c: own.path(n, as_fd(n.arguments[0]), 1, 4, n.arguments[2], wide=True),
        "creat": lambda n, c: own.make_file(
            n, c, sc.AT_FDCWD, 0, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, n.arguments[1]
        ),
        "open": lambda n, c: own.make_file(n, c, sc.AT_FDCWD, 0, n.arguments[1], n.arguments[2]),
        "openat": lambda n, c: own.make_file(
            n, c, as_fd(n.arguments[0]), 1, n.arguments[2], n.arguments[3]
        ),
        "mkdir": lambda n, c: own.make_directory(n, c, sc.AT_FDCWD, 0),
        "mkdirat": lambda n, c: own.make_directory(n, c, as_fd(n.arguments[0]), 1),
        "symlink": lambda n, c: own.make_link(n, c, sc.AT_FDCWD, 1),
        "symlinkat": lambda n, c: own.make_link(n, c, as_fd(n.arguments[1]), 2),
    }


class _Stat:
    def __init__(self, files: Files) -> None:
        self._files = files

    def descriptor(self, call: "Notification", _: Credentials) -> int | None:
        fd = self._files.open_fd(call.pid, as_fd(call.arguments[0]))
        return self._answer(call, fd, call.arguments[1], wide=False)

    def path(
        self,
        call: "Notification",
        dir_fd: int,
        path: int,
        buffer: int,
        flags: int,
        *,
        wide: bool = False,
    ) -> int | None:
        """`path` and `buffer` are positions of arguments."""
        address = call.arguments[path]
        text = notify.read_text(call.pid, address) if address else b""
        try:
            fd = self._files.open_at(
                call.pid,
                dir_fd,
                text,
                follow=not flags & sc.AT_SYMLINK_NOFOLLOW,
                empty=bool(flags & sc.AT_EMPTY_PATH),
            )
        except OSError:
            return None  # the kernel says what is wrong
        return self._answer(call, fd, call.arguments[buffer], wide=wide)

    def _answer(self, call: "Notification", fd: int, buffer: int, *, wide: bool) -> int | None:
        """Write what stat says, with the recorded owner. Closes `fd`."""
        try:
            owner = self._files.owner_of(fd)
            if owner is None:
                return None
            found = with_owner(os.stat(fd), owner)
        finally:
            os.close(fd)
        notify.write_memory(call.pid, buffer, _statx(found) if wide else _stat(found))
        return 0

    def make_file(
        self,
        call: "Notification",
        own: Credentials,
        dir_fd: int,
        first: int,
        flags: int,
        mode: int,
    ) -> int | None:
        if _is_root(own) or flags & _NOT_NAMED:
            return None
        path = notify.read_text(call.pid, call.arguments[first])
        directory, base = self._files.parent_of(call.pid, dir_fd, path)
        try:
            exclusive = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            exclusive |= flags & _PASSED_ON
            permissions = self._files.mode_of(call.pid, mode & _OPEN_MODE)
            try:
                fd = os.open(base, exclusive, permissions, dir_fd=directory)
            except FileExistsError:
                return None  # nothing is made, or the kernel refuses it
            group = self._group(directory, own)
        finally:
            os.close(directory)
        try:
            self._files.keep_owner(fd, os.stat(fd), Owner(own.fsuid, group))
            listener = self._files.listener
            closes = bool(flags & os.O_CLOEXEC)
            notify.respond_with_fd(listener, call.id, fd, close_on_exec=closes)
        finally:
            os.close(fd)
        return self._files.ANSWERED

    def make_directory(
        self, call: "Notification", own: Credentials, dir_fd: int, first: int
    ) -> int | None:
        if _is_root(own):
            return None
        path = notify.read_text(call.pid, call.arguments[first])
        directory, base = self._files.parent_of(call.pid, dir_fd, path)
        try:
            mode = self._files.mode_of(call.pid, call.arguments[first + 1])
            os.mkdir(base, mode, dir_fd=directory)
            self._own(directory, base, own)
        finally:
            os.close(directory)
        return 0

    def make_link(
        self, call: "Notification", own: Credentials, dir_fd: int, first: int
    ) -> int | None:
        if _is_root(own):
            return None
        target = notify.read_text(call.pid, call.arguments[0])
        path = notify.read_text(call.pid, call.arguments[first])
        directory, base = self._files.parent_of(call.pid, dir_fd, path)
        try:
            os.symlink(target, base, dir_fd=directory)
            self._own(directory, base, own)
        finally:
            os.close(directory)
        return 0

    def _own(self, directory: int, base: bytes, own: Credentials) -> None:
        fd = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            self._files.keep_owner(fd, os.stat(fd), Owner(own.fsuid, self._group(directory, own)))
        finally:
            os.close(fd)

    def _group(self, directory: int, own: Credentials) -> int:
        """Return the group of what is made in a directory, which one with setgid gives."""
        found = os.stat(directory)
        if not found.st_mode & stat.S_ISGID:
            return own.fsgid
        owner = self._files.owner_of(directory, found)
        return owner.gid if owner is not None else found.st_gid


def _is_root(own: Credentials) -> bool:
    return own.fsuid == 0 and own.fsgid == 0


def _stat(found: os.stat_result) -> bytes:
    times = [part for when in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
             for part in divmod(when, 1_000_000_000)]  # fmt: skip
    ids = (found.st_uid, found.st_gid)
    if _X86_64:
        return _STAT_X86_64.pack(
            found.st_dev, found.st_ino, found.st_nlink, found.st_mode, *ids, 0, found.st_rdev,
            found.st_size, found.st_blksize, found.st_blocks, *times,
        )  # fmt: skip
    return _STAT_GENERIC.pack(
        found.st_dev, found.st_ino, found.st_mode, found.st_nlink, *ids, found.st_rdev, 0,
        found.st_size, found.st_blksize, 0, found.st_blocks, *times,
    )  # fmt: skip


def _statx(found: os.stat_result) -> bytes:
    times = (found.st_atime_ns, found.st_ctime_ns, found.st_mtime_ns)
    access, change, modify = (divmod(when, 1_000_000_000) for when in times)
    return _STATX.pack(
        _STATX_BASIC, found.st_blksize, 0, found.st_nlink, found.st_uid, found.st_gid,
        found.st_mode, 0, found.st_ino, found.st_size, found.st_blocks, 0,
        *access, 0, 0, *change, *modify,
        os.major(found.st_rdev), os.minor(found.st_rdev),
        os.major(found.st_dev), os.minor(found.st_dev), 0,
    )  # fmt: skip
