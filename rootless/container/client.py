"""The monitor's side of one attached client: a socket, what waits to be sent, what has come."""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import select
import struct

from rootless.container.frames import Reader

_CHUNK_BYTES = 1 << 16


class Client:
    __slots__ = ("_frames", "_reader", "_socket", "feeds_stdin", "pending", "stopped")

    def __init__(self, end: _socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)
        self._reader = Reader()
        self._frames: list[tuple[int, bytes]] = []
        self.pending = bytearray()
        self.feeds_stdin = False
        self.stopped = False

    @staticmethod
    def accept(listener: _socket.socket) -> "Client | None":
        """Accept a connection; None unless it is from the caller's own user (SO_PEERCRED)."""
        fd, _ = listener._accept()  # type: ignore[attr-defined] # the C method below socket.accept
        connection = _socket.socket(fileno=fd)
        credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("iII", credentials)
        if uid != os.geteuid():
            connection.close()
            return None
        return Client(connection)

    def fileno(self) -> int:
        return self._socket.fileno()

    def queue(self, data: bytes) -> None:
        self.pending += data

    def flush(self) -> bool:
        """Send what the socket takes; False when the client is gone."""
        while self.pending:
            try:
                sent = self._socket.send(self.pending, _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return True
            except OSError:
                return False
            del self.pending[:sent]
        return True

    def become(self, other: "Client", come: list[tuple[int, bytes]]) -> None:
        """Go on with the connection of another client, and with frames that have come from it."""
        self._socket, self._reader, self._frames = other._socket, other._reader, come

    def finish(self) -> None:
        """Send everything, waiting for the client."""
        if self.fileno() < 0:
            return  # nobody is there
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        while self.flush() and self.pending:
            poll.poll()

    def ready(self) -> bool:
        """Read what has come; False when the client is gone."""
        if self.stopped:
            return True
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        try:
            self._frames += self._reader.feed(data)
        except ValueError:
            return False
        return True

    def received(self) -> list[tuple[int, bytes]]:
        """Return the frames that have come since the last call."""
        result, self._frames = self._frames, []
        return result

    def close(self) -> None:
        self._socket.close()
