"""Hand the root file system of a running container out, as a tree that can be mounted elsewhere.

A process inside `rpod unshare` has no rights over the container's namespaces, which lie beside its
own; the monitor, which runs outside, has. So it joins them in a forked child, copies the mount
(open_tree(2)) without what is mounted below it, and sends the descriptor.
"""

import _socket  # not `socket`: its enums cost 5 ms
import os

from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.procfs import entrance

_ANSWER_S = 10.0


def lend(pid: int, client: int) -> None:
    """Send the root of the container with the first process `pid` to a client of its monitor.

    What fails closes the connection.
    """
    helper = os.fork()
    if helper == 0:
        _be_lender(pid, client)
    os.waitpid(helper, 0)


def _be_lender(pid: int, client: int) -> None:
    """Body of the child. Never returns."""
    connection = _socket.socket(fileno=client)
    try:
        signal.set_wakeup_fd(-1)
        pidfd = os.pidfd_open(entrance(pid))
        # Nothing in the container may trace a process that has been outside (CVE-2016-9962).
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        syscalls.setns(pidfd, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        tree = syscalls.open_tree(syscalls.AT_FDCWD, "/", syscalls.OPEN_TREE_CLONE)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, tree.to_bytes(4, "little"))
        connection.setblocking(True)
        connection.sendmsg([b"\0"], [rights], _socket.MSG_NOSIGNAL)
    except BaseException:  # noqa: BLE001 - top of a forked child
        connection.shutdown(_socket.SHUT_RDWR)
    finally:
        os._exit(0)


def borrow(run_dir: str) -> int:
    """Ask the monitor that listens in `run_dir` for the tree. Raises OSError."""
    from rootless.container import frames

    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(_ANSWER_S)
        connection.connect(f"/proc/self/fd/{directory}/attach.sock")
        connection.send(frames.frame(frames.ROOT))
        size = _socket.CMSG_SPACE(4)
        while True:
            # What the container prints meanwhile comes here, too.
            data, rights, _, _ = connection.recvmsg(1 << 16, size, _socket.MSG_CMSG_CLOEXEC)
            for _, _, payload in rights:
                return int.from_bytes(payload[:4], "little")
            if not data:
                raise ConnectionResetError("its monitor did not hand it out")
    finally:
        connection.close()
        os.close(directory)
