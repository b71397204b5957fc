"""Where requests about one container meet that came over several connections.

A client attaches to a container, and waits for its end, before it starts it: so that nothing of a
short command's output is lost. Those two listen on sockets below `service/` of the run root, and
the start hands the connection of the container's first client over. Who is killed leaves a socket
on which nobody listens; the next one who looks removes it.
"""

import array
import os
import select
import socket

from rootless.service.http import ClientGone, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from rootless.host.paths import Host

ATTACH, WAIT = "attach", "wait"
_LOOK_S = 0.25
_NAME = 32


def directory(host: "Host", container_id: str) -> str:
    return f"{host.layout.run_root}/service/{container_id[:_NAME]}"


class Listener:
    """Somebody who is to be told of the start of a container."""

    def __init__(self, host: "Host", container_id: str, kind: str) -> None:
        self._directory = directory(host, container_id)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._path = f"{self._directory}/{kind}-{os.getpid()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            short = f"/proc/self/fd/{fd}/{kind}-{os.getpid()}"
            if os.path.lexists(short):
                os.unlink(short)  # of a killed process that had this number
            self._socket.bind(short)
        finally:
            os.umask(mask)
            os.close(fd)
        self._socket.listen(4)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self._socket.close()
        for remove, path in ((os.unlink, self._path), (os.rmdir, self._directory)):
            try:
                remove(path)
            except OSError:
                return  # others listen there, too

    def hear(self, connection: Connection) -> "socket.socket | None":
        """Wait a moment for a start; return the connection that came with it.

        Raises ClientGone when nobody waits for us any more.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(connection, 0)
        ready = dict(poll.poll(_LOOK_S * 1000))
        if connection.fileno() in ready:
            raise ClientGone
        if self._socket.fileno() not in ready:
            return None
        caller, _ = self._socket.accept()
        with caller:
            return _receive(caller)


def _receive(caller: socket.socket) -> "socket.socket | None":
    fds = array.array("i")
    caller.settimeout(5)
    try:
        _, rights, _, _ = caller.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:4])
            return socket.socket(fileno=fds[0])
    return None


def call(host: "Host", container_id: str, kind: str) -> list[socket.socket]:
    """Return connections to all who listen for the start of a container."""
    found = []
    top = directory(host, container_id)
    try:
        names = sorted(os.listdir(top))
        fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    for name in names:
        if not name.startswith(f"{kind}-"):
            continue
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.connect(f"/proc/self/fd/{fd}/{name}")
            found.append(end)
        except OSError:
            end.close()
            try:
                os.unlink(f"{top}/{name}")
            except FileNotFoundError:
                continue
    os.close(fd)
    return found


def sweep(host: "Host") -> None:
    """Remove what requests that were killed have left."""
    top = f"{host.layout.run_root}/service"
    try:
        names = os.listdir(top)
    except FileNotFoundError:
        return
    for name in names:
        if len(name) != _NAME:
            continue  # something else than listeners
        for kind in (ATTACH, WAIT):
            for end in call(host, name, kind):
                end.close()
        try:
            os.rmdir(f"{top}/{name}")
        except OSError:
            continue  # somebody listens there


def tell(listeners: list[socket.socket], fd: int = -1) -> None:
    """Tell that the container has been started; the first one gets the descriptor."""
    for end in listeners:
        with end:
            try:
                if fd >= 0:
                    socket.send_fds(end, [b"x"], [fd])
                    fd = -1
                else:
                    end.send(b"x")
            except OSError:
                continue  # it has gone; the next one takes it
