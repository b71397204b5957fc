"""System calls that Python 3.11 does not offer: one function each, kernel names for constants.

Each raises OSError with errno, the path or object, and a note that names the call. Nothing here
decides anything. The module loads in a bare interpreter and imports only os.
"""

import os
import sys

from rootless.linux import native as ctypes

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

CLONE_NEWNS = 0x00020000
CLONE_INTO_CGROUP = 0x200000000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

KEYCTL_JOIN_SESSION_KEYRING = 1

SIGCHLD = 17
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

_NUMBERS = {
    # call: (x86_64, every architecture with the generic table)
    "clone": (56, 220),
    "clone3": (435, 435),
    "capget": (125, 90),
    "capset": (126, 91),
    "keyctl": (250, 219),
    "prlimit64": (302, 261),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "openat2": (437, 437),
    "close_range": (436, 436),
    "mount_setattr": (442, 442),
}
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_COLUMN = 0 if os.uname().machine in ("x86_64", "amd64") else 1

_libc = ctypes.CDLL(None, use_errno=True)
# The interpreter lock is kept over the call: a raw clone must not return into code waiting for it.
_libc_locked = ctypes.PyDLL(None, use_errno=True)

_long, _ulong, _int, _str, _ptr = (
    ctypes.c_long,
    ctypes.c_ulong,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
)
_libc.syscall.restype = _long
_libc_locked.syscall.restype = _long
_libc.mount.argtypes = [_str, _str, _str, _ulong, _str]
_libc.umount2.argtypes = [_str, _int]
_libc.unshare.argtypes = [_int]
_libc.setns.argtypes = [_int, _int]
_libc.prctl.argtypes = [_int, _ulong, _ulong, _ulong, _ulong]
_libc.sethostname.argtypes = [_str, ctypes.c_size_t]
_libc.setdomainname.argtypes = [_str, ctypes.c_size_t]
_libc.ioctl.argtypes = [_int, _ulong, _ptr]
_libc.memset.argtypes = [_ptr, _int, ctypes.c_size_t]
_libc.memmove.argtypes = [_ptr, _str, ctypes.c_size_t]


class _OpenHow(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # typeshed's is wider
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


class _MountAttr(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # typeshed's is wider
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", _ptr)]  # type: ignore[mutable-override]


def _fail(call: str, subject: str | None = None) -> OSError:
    number = ctypes.get_errno()
    error = OSError(number, os.strerror(number), subject)
    error.add_note(call)
    return error


def _call(name: str, *arguments: object) -> int:
    """Invoke a call by number; arguments are ctypes values or plain integers made long."""
    words = [_long(a) if isinstance(a, int) else a for a in arguments]
    return int(_libc.syscall(_long(_NUMBERS[name][_COLUMN]), *words))


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the child, its pid in the parent. clone(2) without a stack."""
    number = _long(_NUMBERS["clone"][_COLUMN])
    zero = _long(0)
    pid = int(_libc_locked.syscall(number, _long(flags | SIGCHLD), zero, zero, zero, zero))
    if pid < 0:
        raise _fail("clone")
    return pid


def clone_into(flags: int, cgroup_fd: int) -> int:
    """As `clone`, but the child is born in another cgroup (clone3(2), CLONE_INTO_CGROUP).

    Raises OSError: ENOSYS and EINVAL before Linux 5.7 or under a filter, EACCES when the caller may
    not move processes there.
    """
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup.
    words = (flags | CLONE_INTO_CGROUP, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd)
    arguments = (ctypes.c_uint64 * len(words))(*words)
    number = _long(_NUMBERS["clone3"][_COLUMN])
    size = _long(ctypes.sizeof(arguments))
    pid = int(_libc_locked.syscall(number, ctypes.byref(arguments), size))
    if pid < 0:
        raise _fail("clone3")
    return pid


def unshare(flags: int) -> None:
    if _libc.unshare(flags) < 0:
        raise _fail("unshare")


def setns(fd: int, flags: int) -> None:
    if _libc.setns(fd, flags) < 0:
        raise _fail("setns")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    data = os.fsencode(options) or None
    if _libc.mount(
        os.fsencode(source), os.fsencode(target), os.fsencode(kind) or None, flags, data
    ):
        raise _fail("mount", target)


def umount2(target: str, flags: int = 0) -> None:
    if _libc.umount2(os.fsencode(target), flags) < 0:
        raise _fail("umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    if _call("pivot_root", _str(os.fsencode(new_root)), _str(os.fsencode(put_old))) < 0:
        raise _fail("pivot_root", new_root)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Return a descriptor of the mount at `path`, or of a detached clone (OPEN_TREE_CLONE)."""
    fd = _call("open_tree", dir_fd, _str(os.fsencode(path)), flags | OPEN_TREE_CLOEXEC)
    if fd < 0:
        raise _fail("open_tree", path)
    return fd


def fsopen(name: str) -> int:
    """Return a descriptor in which a file system is set up."""
    fd = _call("fsopen", _str(os.fsencode(name)), _FSOPEN_CLOEXEC)
    if fd < 0:
        raise _fail("fsopen", name)
    return fd


def fsconfig(context: int, command: int, key: str = "", value: str = "") -> None:
    """Set an option of a file system (FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING), or make it."""
    name = _str(os.fsencode(key)) if key else None
    text = _str(os.fsencode(value)) if value else None
    if _call("fsconfig", context, command, name, text, 0) < 0:
        raise _fail("fsconfig", key)


def fsmount(context: int, attributes: int) -> int:
    """Return a descriptor of a detached mount of a file system that has been made."""
    fd = _call("fsmount", context, _FSMOUNT_CLOEXEC, attributes)
    if fd < 0:
        raise _fail("fsmount")
    return fd


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount at the file or directory that a descriptor stands for."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    if _call("move_mount", mount_fd, _str(b""), target_fd, _str(b""), flags) < 0:
        raise _fail("move_mount")


def mount_setattr(
    dir_fd: int,
    path: str,
    *,
    flags: int = 0,
    set_attributes: int = 0,
    clear_attributes: int = 0,
    propagation: int = 0,
) -> None:
    """Change the flags of one mount, or of all below it (AT_RECURSIVE); locked flags stay."""
    attributes = _MountAttr(set_attributes, clear_attributes, propagation, 0)
    size = ctypes.sizeof(attributes)
    name = _str(os.fsencode(path))
    if _call("mount_setattr", dir_fd, name, flags, ctypes.byref(attributes), size) < 0:
        raise _fail("mount_setattr", path)


def openat2(dir_fd: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open `path` under the resolution rules of openat2(2), close-on-exec."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = _str(os.fsencode(path))
    while True:
        fd = _call("openat2", dir_fd, name, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        if ctypes.get_errno() != 11:
            raise _fail("openat2", path)
        # EAGAIN: a rename raced with the resolution of ".."; the kernel asks to try again.


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from `first` to `last`."""
    if _call("close_range", first, last, 0) < 0:
        raise _fail("close_range")


def prctl(option: int, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    result = int(_libc.prctl(option, second, third, fourth, fifth))
    if result < 0:
        raise _fail("prctl")
    return result


def set_process_name(name: str) -> None:
    """Name shown by ps for this process (PR_SET_NAME, 15 bytes)."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def overwrite_arguments(start: int, end: int, text: str) -> None:
    """Replace what /proc/PID/cmdline of this process shows; the addresses are in proc(5), stat."""
    data = os.fsencode(text)[: end - start - 1]
    _libc.memset(start, 0, end - start)
    _libc.memmove(start, data, len(data))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capability sets of this thread; each a bit mask of 64 capabilities."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = (ctypes.c_uint32 * 6)(
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> high,
        permitted >> high,
        inheritable >> high,
    )
    if _call("capset", ctypes.byref(header), ctypes.byref(data)) < 0:
        raise _fail("capset")


def setrlimit(kind: int, soft: int, hard: int) -> None:
    """Set a limit of this process; -1 is RLIM_INFINITY."""
    limit = (ctypes.c_uint64 * 2)(soft, hard)
    if _call("prlimit64", 0, kind, ctypes.byref(limit), None) < 0:
        raise _fail("setrlimit")


def install_seccomp_filter(program: bytes) -> None:
    """Install classic BPF, an array of struct sock_filter (8 bytes each)."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len(program) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog))


def join_session_keyring(name: str) -> None:
    if _call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, _str(os.fsencode(name)), 0, 0, 0) < 0:
        raise _fail("keyctl")


def sethostname(name: str) -> None:
    data = os.fsencode(name)
    if _libc.sethostname(data, len(data)) < 0:
        raise _fail("sethostname", name)


def setdomainname(name: str) -> None:
    data = os.fsencode(name)
    if _libc.setdomainname(data, len(data)) < 0:
        raise _fail("setdomainname", name)


def bring_up_interface(name: str) -> None:
    """Set IFF_UP on an interface of this network namespace."""
    af_inet, sock_dgram = 2, 2
    fd = int(_libc.socket(af_inet, sock_dgram | os.O_CLOEXEC, 0))
    if fd < 0:
        raise _fail("socket")
    try:
        request = ctypes.create_string_buffer(os.fsencode(name)[:15], 40)
        if _libc.ioctl(fd, SIOCGIFFLAGS, ctypes.addressof(request)) < 0:
            raise _fail("ioctl SIOCGIFFLAGS", name)
        flags = int.from_bytes(request.raw[16:18], sys.byteorder) | IFF_UP
        request = ctypes.create_string_buffer(
            request.raw[:16] + flags.to_bytes(2, sys.byteorder), 40
        )
        if _libc.ioctl(fd, SIOCSIFFLAGS, ctypes.addressof(request)) < 0:
            raise _fail("ioctl SIOCSIFFLAGS", name)
    finally:
        os.close(fd)
