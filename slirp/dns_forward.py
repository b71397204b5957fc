"""Pass queries on to other name servers, over UDP and TCP, with a bounded number at a time."""

import _socket
import os
import select

from slirp.dns_message import Query, answers_to, with_identity
from slirp.errors import SlirpError
from slirp.loop import Loop
from slirp.network_address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Done = Callable[[bytes], None]

_PORT = 53
_UDP_WAIT_S, _TCP_WAIT_S = 2.0, 4.0
_ROUNDS = 2
_LARGEST_BYTES = 65535


def server_address(server: str, port: int = _PORT) -> tuple[int, tuple[object, ...]]:
    """Return the address family and the socket address of ADDRESS[%INTERFACE]. Raises OSError."""
    text, _, interface = server.partition("%")
    version = parse_address(text).version
    if version == 4:
        return _socket.AF_INET, (text, port)
    scope = _socket.if_nametoindex(interface) if interface else 0
    return _socket.AF_INET6, (text, port, 0, scope)


class Forwarder:
    """Queries under way. `done` of each gets the answer, or b"" when nobody has answered."""

    def __init__(self, loop: Loop, most: int, port: int = _PORT) -> None:
        self.loop = loop
        self.port = port
        self._most = most
        self.under_way = 0

    def is_full(self) -> bool:
        """Whether no further query can be taken."""
        return self.under_way >= self._most

    def ask(
        self, query: Query, message: bytes, servers: "Sequence[str]", done: "Done", *, tcp: bool
    ) -> None:
        """Ask the servers, one after the other, and call `done` once."""
        self.under_way += 1
        kind = _TcpTry if tcp else _UdpTry
        rounds = 1 if tcp else _ROUNDS
        _Question(self, query, message, [*servers] * rounds, done, kind).next()


class _Question:
    """One query and the servers that are still to be asked."""

    __slots__ = ("_done", "_kind", "_servers", "forwarder", "message", "query")

    def __init__(
        self,
        forwarder: Forwarder,
        query: Query,
        message: bytes,
        servers: list[str],
        done: "Done",
        kind: "type[_UdpTry] | type[_TcpTry]",
    ) -> None:
        self.forwarder = forwarder
        self.query = query
        self.message = message
        self._servers = servers
        self._done = done
        self._kind = kind

    def next(self) -> None:
        while self._servers:
            server = self._servers.pop(0)
            try:
                self._kind(self, server)
            except (OSError, SlirpError):
                continue  # no route, no such interface: the next one
            return
        self.finish(b"")

    def finish(self, data: bytes) -> None:
        self.forwarder.under_way -= 1
        self._done(data)


class _Try:
    """One server asked. The socket has a port and the message a number that nobody can guess."""

    def __init__(self, question: _Question, server: str, kind: int, wait_s: float) -> None:
        self._question = question
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._loop = question.forwarder.loop
        family, address = server_address(server, question.forwarder.port)
        flags = _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._socket = _socket.socket(family, kind | flags)
        self._open = True
        try:
            self._socket.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            self._socket.close()
            raise
        self._loop.later(wait_s, self._give_up)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _give_up(self) -> None:
        if self._open:
            self._close()
            self._question.next()

    def _answered(self, data: bytes) -> None:
        self._close()
        self._question.finish(with_identity(data, self._question.query.identity))


class _UdpTry(_Try):
    def __init__(self, question: _Question, server: str) -> None:
        super().__init__(question, server, _socket.SOCK_DGRAM, _UDP_WAIT_S)
        try:
            self._socket.send(with_identity(question.message, self._identity))
        except OSError:
            self._open = False
            self._socket.close()
            raise
        self._loop.watch(self._socket.fileno(), self._ready)

    def _ready(self) -> None:
        try:
            data = self._socket.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # ECONNREFUSED: nobody listens there.
            self._give_up()
            return
        if answers_to(self._question.query, self._identity, data):
            self._answered(data)


class _TcpTry(_Try):
    def __init__(self, question: _Question, server: str) -> None:
        super().__init__(question, server, _socket.SOCK_STREAM, _TCP_WAIT_S)
        message = with_identity(question.message, self._identity)
        self._out = len(message).to_bytes(2, "big") + message
        self._in = b""
        self._loop.watch(self._socket.fileno(), self._ready, select.POLLOUT)

    def _ready(self) -> None:
        try:
            if self._out:
                self._out = self._out[self._socket.send(self._out) :]
                if not self._out:
                    self._loop.forget(self._socket.fileno())
                    self._loop.watch(self._socket.fileno(), self._ready)
                return
            data = self._socket.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._give_up()
            return
        self._in += data
        whole = int.from_bytes(self._in[:2], "big") + 2
        if len(self._in) >= max(whole, 3):
            answer = self._in[2:whole]
            if answers_to(self._question.query, self._identity, answer):
                self._answered(answer)
                return
        if not data or len(self._in) >= max(whole, 3):
            self._give_up()
