"""Pass connections to an ssh agent on, for steps whose user the agent would not listen to.

An agent answers only to its own user: sshd(8) and ssh-agent(1) look at the peer's uid. A socket of
ours, which belongs to whom the mount says, stands for it.
"""

import os
import select
import socket

from rootless.linux import signals as signal
from rootless.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib

_CHUNK_BYTES = 1 << 16
_CLIENTS_LIMIT = 64


def forward(agent: str, directory: str, stack: "contextlib.ExitStack") -> str:
    """Return a socket in `directory` behind which `agent` answers, until `stack` is left.

    Raises OSError.
    """
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        # A path of a socket has at most 107 bytes; that of a build's directory may have more.
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{fd}/forwarded")
        finally:
            os.close(fd)
        listener.listen(_CLIENTS_LIMIT)
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                _serve(listener, agent)
            finally:
                os._exit(0)
    stack.callback(os.waitpid, pid, 0)
    stack.callback(os.kill, pid, signal.SIGKILL)
    return f"{directory}/forwarded"


def _serve(listener: socket.socket, agent: str) -> None:
    """Copy between clients and connections to the agent; never returns."""
    others: dict[int, socket.socket] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                pair = _connect(listener, agent)
                for one, other in (pair, pair[::-1]) if pair else ():
                    others[one.fileno()] = other
                    poll.register(one, select.POLLIN)
            elif fd in others and not _copy(others, fd):
                other = others.pop(fd)
                one = others.pop(other.fileno())
                for end in (one, other):
                    poll.unregister(end)
                    end.close()


def _connect(listener: socket.socket, agent: str) -> tuple[socket.socket, socket.socket] | None:
    client, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(agent)
    except OSError:
        # The agent has ended: the client sees the end of the connection.
        client.close()
        server.close()
        return None
    return client, server


def _copy(others: dict[int, socket.socket], fd: int) -> bool:
    """Pass on what has arrived; false at the end of either side."""
    try:
        data = os.read(fd, _CHUNK_BYTES)
        others[fd].sendall(data)
    except OSError:
        return False
    return bool(data)
