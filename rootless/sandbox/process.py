"""The last steps before the user's program: terminal, limits, identity, capabilities, exec.

Used by a container's first process and by `exec`. OCI runtime-spec, config, process. Nothing here
imports at run time: the root file system has changed.
"""

import errno
import os
import stat

from rootless.linux import signals as signal
from rootless.linux import syscalls as sc
from rootless.linux.terminal import open_slave, set_window_size, take_control, terminal_number
from rootless.sandbox.targets import StepError, open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.sandbox.channel import Channel

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_SCRIPT_BYTES = 256
# The header of an ELF file, its program headers, and usually the name of its loader.
_START_BYTES = 1024
_MAX_INTERPRETERS = 4
_LAST_CAPABILITY = 63


class Process:
    """What to run and as whom; masks are bits of capabilities(7)."""

    __slots__ = (
        "ambient",
        "arguments",
        "bounding",
        "cwd",
        "dies_with_parent",
        "effective",
        "emulate",
        "emulated_ids",
        "environment",
        "gid",
        "groups",
        "inheritable",
        "keeps_groups",
        "no_new_privileges",
        "oom_score_adj",
        "permitted",
        "rlimits",
        "search_path",
        "seccomp",
        "terminal",
        "uid",
        "umask",
    )

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.environment: dict[bytes, bytes] = {}
        self.search_path = ""
        self.cwd = "/"
        self.uid = 0
        self.gid = 0
        self.groups: list[int] = []
        self.keeps_groups = False
        self.umask = 0o022
        self.bounding = 0
        self.permitted = 0
        self.effective = 0
        self.inheritable = 0
        self.ambient = 0
        self.no_new_privileges = False
        self.seccomp = b""
        self.rlimits: list[tuple[int, int, int]] = []
        self.oom_score_adj: int | None = None
        self.terminal = False
        self.dies_with_parent = False
        # Root emulation: installs its filter and sends the listener (rootless.sandbox.emulation).
        self.emulate: Callable[[Channel], None] | None = None
        # (uid, gid, groups) that the emulation is to show from the beginning.
        self.emulated_ids: tuple[int, int, list[int]] | None = None


def open_terminal(rows: int, columns: int) -> tuple[int, int]:
    """Make a terminal in the container's own devpts; return its two ends, the master first.

    The slave comes from the master, not by its path: a running container may shape its /dev.
    """
    master = open_inside("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    slave = open_slave(master, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if rows and columns:
        set_window_size(master, rows, columns)
    return master, slave


def show_console(master: int) -> None:
    """Let /dev/console be the terminal too (OCI runtime-spec, config-linux, default devices)."""
    try:
        made = os.open("/dev/console", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.close(made)
    except FileExistsError:
        pass  # a /dev of the user's own
    try:
        sc.mount(f"/dev/pts/{terminal_number(master)}", "/dev/console", "", sc.MS_BIND)
    except OSError as error:
        error.filename = "/dev/console"
        raise


def use_terminal(slave: int, uid: int, gid: int) -> None:
    """Make the slave the controlling terminal and the standard streams of this process."""
    os.fchown(slave, uid, -1)
    take_control(slave)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)


def use_streams(streams: tuple[int, int, int], uid: int, gid: int) -> None:
    """Make three descriptors the standard streams; programs may open /dev/stdout again."""
    for target, fd in enumerate(streams):
        if uid or gid:
            try:
                os.fchown(fd, uid, gid)
            except PermissionError:
                pass  # not of our own making: /dev/null
        os.dup2(fd, target)


def set_limits(process: Process) -> None:
    for kind, soft, hard in process.rlimits:
        try:
            sc.setrlimit(kind, soft, hard)
        except OSError as error:
            raise StepError(
                "raise a ulimit above the hard limit of the caller", str(kind), errno.EPERM
            ) from error
    set_oom_score(process)


def set_oom_score(process: Process) -> None:
    """Write the score once. proc(5): a process that is not dumpable cannot open its own file."""
    if process.oom_score_adj is None:
        return
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % process.oom_score_adj)
    finally:
        os.close(fd)
    process.oom_score_adj = None


def reset_signals() -> None:
    """Give every signal its default action and block none: execve(2) keeps what is ignored.

    Python ignores two, the monitor those of a terminal, and a caller may have been under nohup(1).
    """
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def take_identity(process: Process, channel: "Channel | None") -> None:
    """Become the process's user with exactly its capabilities; seccomp goes last that can."""
    _drop_from_bounding_set(process.bounding)
    sc.prctl(sc.PR_SET_KEEPCAPS, 1)
    _set_groups(process)
    os.setresgid(process.gid, process.gid, process.gid)
    os.setresuid(process.uid, process.uid, process.uid)
    sc.prctl(sc.PR_SET_KEEPCAPS, 0)
    if process.dies_with_parent:
        # prctl(2): a change of the user has cleared it.
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(process.umask)
    _limit(process, channel)
    if process.emulated_ids is not None:
        # The first call that is answered is when the ids take effect.
        os.geteuid()


def _drop_from_bounding_set(kept: int) -> None:
    for number in range(_LAST_CAPABILITY):
        if kept >> number & 1:
            continue
        try:
            sc.prctl(sc.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                break  # above the kernel's last capability
            raise


def _limit(process: Process, channel: "Channel | None") -> None:
    """Install the filters and give up the capabilities, in the order that is possible."""
    if process.no_new_privileges:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
        _set_capabilities(process)
    elif process.uid:
        # The setresuid has cleared the effective set; a filter needs CAP_SYS_ADMIN in it.
        everything = (1 << 41) - 1
        sc.capset(_permitted_now(everything), _permitted_now(everything), 0)
    if process.emulate is not None and channel is not None:
        process.emulate(channel)
    if process.seccomp:
        sc.install_seccomp_filter(process.seccomp)
    if not process.no_new_privileges:
        _set_capabilities(process)


def _set_groups(process: Process) -> None:
    if process.keeps_groups:
        return
    try:
        os.setgroups(process.groups)
    except PermissionError:
        if set(process.groups) - {process.gid}:
            raise StepError("set supplementary groups with a single id", "", errno.EPERM) from None
        # A single id: setgroups(2) is switched off in this namespace (user_namespaces(7)).


def _permitted_now(mask: int) -> int:
    """Return the part of the mask that this kernel knows."""
    known = 0
    for number in range(_LAST_CAPABILITY):
        if not mask >> number & 1:
            continue
        try:
            sc.prctl(sc.PR_CAPBSET_READ, number)
        except OSError:
            break
        known |= 1 << number
    return known


def _set_capabilities(process: Process) -> None:
    sc.capset(process.effective, process.permitted, process.inheritable)
    for number in range(_LAST_CAPABILITY):
        if process.ambient >> number & 1:
            sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_RAISE, number)


def enter_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise StepError("change to the working directory", path, error.errno or 0) from error


def execute(process: Process) -> None:
    """Replace this process by the program; only returns by raising StepError."""
    command = process.arguments[0]
    if not command:
        raise StepError("execute", command, errno.ENOENT)
    if "/" in command:
        candidates = [command]
    else:
        candidates = [
            f"{directory or '.'}/{command}" for directory in process.search_path.split(":")
        ]
    worst, where = errno.ENOENT, ""
    for path in candidates:
        try:
            _refuse_host_program(path)
            os.execve(path, process.arguments, process.environment)
        except OSError as error:
            number = error.errno or errno.ENOENT
            if number == errno.ENOENT and len(candidates) == 1 and os.path.exists(path):
                raise StepError(
                    _with_start("find the interpreter of", path), path, number
                ) from error
            if number not in _NOT_THERE:
                worst, where = number, path
                if number != errno.EACCES:
                    break
    raise StepError(_with_start("execute", where) if where else "execute", command, worst)


def _with_start(step: str, path: str) -> str:
    """Add, for who explains the failure, the program's mode, file capabilities and first bytes."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        fd = sc.openat2(sc.AT_FDCWD, path, flags, resolve=sc.RESOLVE_NO_MAGICLINKS)
        try:
            mode = os.fstat(fd).st_mode
            start = os.read(fd, _START_BYTES) if stat.S_ISREG(mode) else b""
            capabilities = _file_capabilities(fd)
        finally:
            os.close(fd)
    except OSError:
        return step
    return f"{step}\n{mode:o} {capabilities.hex()}\n{start.hex()}"


def _file_capabilities(fd: int) -> bytes:
    try:
        return os.getxattr(fd, "security.capability")
    except OSError:
        return b""  # it has none, as nearly every file


def _refuse_host_program(path: str) -> None:
    """Fail with ELOOP when the path, or the interpreter it names, leads through a magic link.

    /proc/self/exe is still the host's Python: an image whose command is a link to it, or a script
    with it as interpreter, would run that file inside, and could write to it when the host's user
    may.
    """
    for _ in range(_MAX_INTERPRETERS):
        try:
            fd = sc.openat2(
                sc.AT_FDCWD,
                path,
                os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
                resolve=sc.RESOLVE_NO_MAGICLINKS,
            )
        except PermissionError:
            # A program that may be executed and not read cannot be a script.
            os.close(sc.openat2(sc.AT_FDCWD, path, os.O_PATH, resolve=sc.RESOLVE_NO_MAGICLINKS))
            return
        try:
            start = os.read(fd, _SCRIPT_BYTES)
        except OSError:
            return  # a directory: exec says so
        finally:
            os.close(fd)
        words = start[2:].split(b"\n", 1)[0].split() if start.startswith(b"#!") else []
        if not words:
            return
        path = os.fsdecode(words[0])
