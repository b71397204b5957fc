"""Root emulation: the process that answers for a container, and what its processes do before exec.

A container with a single id shows its root as root, but the kernel refuses what real root would do
to other ids. The calls in question (`rootless.sandbox.emulated_calls`) are answered by a process
outside of the container's pid namespace: seccomp_unotify(2). It is a convenience and no boundary:
it has the rights of the container's root and no more, and who goes round it has gained nothing.
"""

import _socket
import errno
import gc
import os
import select
import struct

from rootless.linux import notify
from rootless.linux import signals as signal
from rootless.linux import syscalls as sc
from rootless.linux.userns import become_root
from rootless.sandbox.emulated_calls import BPF, make_filter
from rootless.sandbox.emulated_files import Files
from rootless.sandbox.emulator import Emulator
from storage.owners import known_links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.sandbox.channel import Channel
    from rootless.sandbox.process import Process

# capabilities(7): what the container's own root has, and SYS_PTRACE to read its processes' memory.
_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID, _SYS_PTRACE = 0, 1, 3, 4, 19
_IDS_BYTES = 16384
_KEPT = 1 << _CHOWN | 1 << _DAC_OVERRIDE | 1 << _FOWNER | 1 << _FSETID | 1 << _SYS_PTRACE
# A filter with a listener exists already (we run under such an emulation), or an older kernel.
_NO_LISTENER = (errno.EBUSY, errno.EINVAL, errno.ENOSYS)


def prepare(process: "Process", mode: str) -> None:
    """Let a process put itself under emulation before it executes its program."""
    machine = os.uname().machine
    without = make_filter(BPF, machine)
    if mode == BPF:
        process.emulate = lambda _: sc.install_seccomp_filter(without)
        return
    asking = make_filter(mode, machine)

    def emulate(channel: "Channel") -> None:
        try:
            listener = notify.install_listener(asking)
        except OSError as error:
            if error.errno not in _NO_LISTENER:
                raise
            sc.install_seccomp_filter(without)
            return
        channel.send(b"l", listener)
        os.close(listener)

    process.emulate = emulate


def listener_problem() -> str:
    """Return why this process cannot have a listener, or an empty string."""
    pid = os.fork()
    if pid == 0:
        number = 255
        try:
            sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
            notify.install_listener(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000))
            number = 0
        except OSError as error:
            number = error.errno or 255
        finally:
            os._exit(number)
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return os.strerror(number) if number else ""


def start(pidfd: int, listener: int, door: _socket.socket, links: int) -> int:
    """Fork the process that answers for the container of `pidfd`; return its pid.

    `door` is a listening socket on which further listeners come (exec), `links` a file for the
    owners of symbolic links. The process ends with the last process of the container.
    """
    machine = os.uname().machine
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        _run(pidfd, listener, door, links, machine)
        status = 0
    finally:
        os._exit(status)


def _run(pidfd: int, listener: int, door: _socket.socket, links: int, machine: str) -> None:
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _close_all_but({pidfd, listener, door.fileno(), links, processes})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sc.set_process_name("rpod-emulation")
    # Nothing in the container may trace a process that has been outside (CVE-2016-9962).
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    sc.setns(pidfd, sc.CLONE_NEWUSER | sc.CLONE_NEWNS)
    become_root()
    os.umask(0)
    os.fchdir(processes)
    os.close(processes)
    os.close(pidfd)
    sc.capset(_KEPT, _KEPT, 0)
    # Nothing here makes cycles, and a pause would be felt by every program.
    gc.disable()
    emulator = Emulator(Files(links, known_links(links)), machine)
    _serve(emulator, listener, door)


def _close_all_but(kept: set[int]) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        if fd not in kept:
            os.dup2(null, fd)
    first = 3
    for fd in sorted(kept):
        if fd > first:
            sc.close_range(first, fd - 1)
        first = max(first, fd + 1)
    sc.close_range(first)


def _serve(emulator: Emulator, listener: int, door: _socket.socket) -> None:
    """Answer until the last process that is filtered has gone."""
    poll = select.poll()
    listeners = {listener}
    notify.wake_directly(listener)
    poll.register(listener, select.POLLIN)
    poll.register(door.fileno(), select.POLLIN)
    while listeners:
        for fd, event in poll.poll():
            if fd == door.fileno():
                further, ids = _let_in(door)
                if further >= 0:
                    if ids:
                        emulator.begin_as(further, ids)
                    listeners.add(further)
                    notify.wake_directly(further)
                    poll.register(further, select.POLLIN)
            elif event & select.POLLIN:
                emulator.serve(fd)
            else:
                poll.unregister(fd)
                listeners.discard(fd)
                os.close(fd)


def _let_in(door: _socket.socket) -> tuple[int, list[int]]:
    """Take the listener of a process that `exec` starts, and its ids: user, group, groups.

    The descriptor is -1 when somebody else calls.
    """
    fd, _ = door._accept()  # type: ignore[attr-defined]  # the class without `socket` has this
    connection = _socket.socket(fileno=fd)
    try:
        pid_uid_gid = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if struct.unpack("=3I", pid_uid_gid)[1] != os.getuid():
            return -1, []
        connection.settimeout(1.0)
        size = _socket.CMSG_SPACE(4)
        data, ancillary, _, _ = connection.recvmsg(_IDS_BYTES, size, _socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                return int.from_bytes(payload[:4], "little"), [int(word) for word in data.split()]
    except (OSError, ValueError):
        pass  # hung up, or said nothing: no listener
    finally:
        connection.close()
    return -1, []


def hand_in(path: str, listener: int, ids: list[int]) -> None:
    """Give a further listener, of a process that begins with `ids`, to the process that answers.

    Raises OSError.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A path in a socket address has 107 bytes (unix(7)); this one is short whatever the path.
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener))]
        words = " ".join(map(str, ids)).encode() or b" "
        connection.sendmsg([words], rights)
    finally:
        os.close(directory)
        connection.close()
