"""Seccomp user notification, and the memory of another process: seccomp_unotify(2).

Like `rootless.linux.syscalls`: one function for each call, errors are OSError.
"""

import errno
import fcntl
import os
import struct

from rootless.linux import native as ctypes
from rootless.linux.syscalls import AT_EMPTY_PATH, _fail, _libc

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5
RET_USER_NOTIF = 0x7FC00000
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE

_NOTIF_RECV = 0xC0502100
_NOTIF_SEND = 0xC0182101
_NOTIF_ID_VALID = 0x40082102
_NOTIF_ADDFD = 0x40182103
_NOTIF_SET_FLAGS = 0x40082104
_SYNC_WAKE_UP = 1
_ADDFD_FLAG_SEND = 1 << 1
_NUMBERS = {"seccomp": (317, 277), "pidfd_getfd": (438, 438)}
_COLUMN = 0 if os.uname().machine in ("x86_64", "amd64") else 1
_PAGE = 4096
_FIRST_PART = 256
_PATH_BYTES = 4096

# struct seccomp_notif: id, pid, flags, seccomp_data (nr, arch, instruction pointer, six arguments).
_NOTIF = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_ADDFD = struct.Struct("=QIIII")

_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_writev.restype = ctypes.c_ssize_t
_libc.fchownat.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_int,
]


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_size_t), ("len", ctypes.c_size_t)]  # type: ignore[mutable-override]


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]  # type: ignore[mutable-override]


def _seccomp(flags: int, program: bytes) -> int:
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len(program) // 8, ctypes.addressof(buffer))
    words = (_NUMBERS["seccomp"][_COLUMN], SECCOMP_SET_MODE_FILTER, flags)
    return int(_libc.syscall(*map(ctypes.c_long, words), ctypes.byref(fprog)))


def install_listener(program: bytes) -> int:
    """Install a filter and return the descriptor on which its notifications arrive.

    Raises OSError: EBUSY when a filter of this process has a listener already.
    """
    listener = SECCOMP_FILTER_FLAG_NEW_LISTENER
    # Linux 5.19: a signal does not interrupt a call that has been received.
    fd = _seccomp(listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program)
    if fd < 0 and ctypes.get_errno() == errno.EINVAL:
        fd = _seccomp(listener, program)
    if fd < 0:
        raise _fail("seccomp")
    os.set_inheritable(fd, False)
    return fd


def wake_directly(listener: int) -> None:
    """Ask for the switch to the waiting side without the scheduler's detour (Linux 6.6)."""
    try:
        fcntl.ioctl(listener, _NOTIF_SET_FLAGS, _SYNC_WAKE_UP)
    except OSError:
        return  # EINVAL, ENOTTY: an older kernel


class Notification:
    """One intercepted call. `pid` is the thread's number in the receiver's pid namespace."""

    __slots__ = ("architecture", "arguments", "id", "number", "pid")

    def __init__(
        self,
        notification_id: int,
        pid: int,
        number: int,
        architecture: int,
        arguments: "tuple[int, ...]",
    ) -> None:
        self.id = notification_id
        self.pid = pid
        self.number = number
        self.architecture = architecture
        self.arguments = arguments


def receive(listener: int) -> Notification:
    """Take the next call. Raises OSError: ENOENT when its process has been killed."""
    buffer = bytearray(_NOTIF.size)
    fcntl.ioctl(listener, _NOTIF_RECV, buffer)
    words = _NOTIF.unpack(buffer)
    return Notification(words[0], words[1], words[3], words[4], words[6:])


def respond(listener: int, notification_id: int, value: int, error: int, flags: int) -> None:
    """Let the call return `value` or fail with `error` (positive). Raises OSError."""
    fcntl.ioctl(listener, _NOTIF_SEND, _RESPONSE.pack(notification_id, value, -error, flags))


def is_waiting(listener: int, notification_id: int) -> bool:
    """Whether the call still waits: only then its pid is not somebody else's."""
    try:
        fcntl.ioctl(listener, _NOTIF_ID_VALID, struct.pack("=Q", notification_id))
    except OSError:
        return False
    return True


def respond_with_fd(listener: int, notification_id: int, fd: int, *, close_on_exec: bool) -> None:
    """Give the caller a copy of a descriptor as the call's result (Linux 5.14). Raises OSError."""
    flags = os.O_CLOEXEC if close_on_exec else 0
    fcntl.ioctl(
        listener, _NOTIF_ADDFD, _ADDFD.pack(notification_id, _ADDFD_FLAG_SEND, fd, 0, flags)
    )


def get_fd(pidfd: int, number: int) -> int:
    """Duplicate a descriptor of another process (pidfd_getfd(2))."""
    words = (_NUMBERS["pidfd_getfd"][_COLUMN], pidfd, number, 0)
    fd = int(_libc.syscall(*map(ctypes.c_long, words)))
    if fd < 0:
        raise _fail("pidfd_getfd")
    return fd


def chown_fd(fd: int, uid: int, gid: int) -> None:
    """Change the owner of what a descriptor stands for, one with O_PATH too."""
    if _libc.fchownat(fd, b"", uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, AT_EMPTY_PATH) < 0:
        raise _fail("fchownat")


_buffer = ctypes.create_string_buffer(_PATH_BYTES)
_local = (_Iovec * 1)()
_remote = (_Iovec * 2)()


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Read at most 4096 bytes; fewer where the memory ends. Raises OSError."""
    first = min(size, _PAGE - address % _PAGE)
    _local[0].base, _local[0].len = ctypes.addressof(_buffer), size
    _remote[0].base, _remote[0].len = address, first
    _remote[1].base, _remote[1].len = address + first, size - first
    count = 2 if size > first else 1
    zero = ctypes.c_ulong(0)
    got = _libc.process_vm_readv(
        pid, _local, ctypes.c_ulong(1), _remote, ctypes.c_ulong(count), zero
    )
    if got < 0:
        raise _fail("process_vm_readv")
    return _buffer.raw[:got]


def read_text(pid: int, address: int) -> bytes:
    """Read up to a NUL. Raises OSError: ENAMETOOLONG when there is none in 4096 bytes."""
    if not address:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    data = read_memory(pid, address, _FIRST_PART)
    end = data.find(b"\0")
    if end < 0:
        data = read_memory(pid, address, _PATH_BYTES)
        end = data.find(b"\0")
    if end < 0:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return data[:end]


def write_memory(pid: int, address: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError: EFAULT."""
    source = ctypes.create_string_buffer(data, len(data))
    local = (_Iovec * 1)(_Iovec(ctypes.addressof(source), len(data)))
    remote = (_Iovec * 1)(_Iovec(address, len(data)))
    one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if _libc.process_vm_writev(pid, local, one, remote, one, zero) != len(data):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
