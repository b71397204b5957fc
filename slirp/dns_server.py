"""The name server of a network: its own names, and everything else from other servers.

What containers send is bounded: in number at a time for each of them and for all, in size, in time.
One that sends more than it may is not read for a while: the kernel drops its packets, so that it
takes neither the processor nor the others' place in the queue.
"""

import _socket
import select
import struct
import time

from slirp.dns_forward import Forwarder
from slirp.dns_message import NAME_ERROR, BadQuery, Query, answer, failure, parse_query
from slirp.loop import Loop
from slirp.network_address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Data of the records; None for a name of others; `Unknown` is raised for one that is nobody's.
    Lookup = Callable[[str, int, str], "list[bytes] | None"]
    Servers = Callable[[str], Sequence[str]]

_MOST_UNDER_WAY = 256
_MOST_OF_ONE = 48
_MOST_CONNECTIONS, _MOST_CONNECTIONS_OF_ONE = 64, 8
_READ_AT_ONCE = 32
_RATE_PER_S, _BURST = 1000.0, 2000.0
_SILENCE_S = 1.0
_MOST_SILENCED = 16
_QUERY_BYTES = 4096
_IDLE_S = 10.0
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27


class Unknown(Exception):
    """The name is the network's own, and there is none such."""


class Server:
    """Serves sockets of one network; `lookup(name, kind, source)` knows its names."""

    def __init__(
        self, loop: Loop, lookup: "Lookup", servers: "Servers", *, upstream_port: int = 53
    ) -> None:
        self.loop = loop
        self._lookup = lookup
        self._servers = servers
        self._forwarder = Forwarder(loop, _MOST_UNDER_WAY, upstream_port)
        self._budgets: dict[str, tuple[float, float]] = {}
        self._under_way: dict[str, int] = {}
        self.connections: dict[int, _Connection] = {}

    def serve_udp(self, sock: _socket.socket) -> None:
        """Answer the queries of a bound socket."""
        silence = _Silence(self.loop, sock)
        self.loop.watch(sock.fileno(), lambda: self._read(sock, silence))

    def serve_tcp(self, listener: _socket.socket) -> None:
        """Answer the queries of a listening socket."""
        self.loop.watch(listener.fileno(), lambda: self._accept(listener))

    def _read(self, sock: _socket.socket, silence: "_Silence") -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                data, peer = sock.recvfrom(_QUERY_BYTES)
            except OSError:
                # Nothing more, or an error that belongs to an answer of before (ICMP).
                return
            source = peer[0]
            if not self.may_ask(source):
                silence.add(source)
                continue

            def reply(message: bytes, peer: tuple[object, ...] = peer) -> None:
                try:
                    sock.sendto(message, peer)
                except OSError:
                    return  # the container is gone, or reads nothing

            self.handle(data, source, reply, tcp=False)

    def may_ask(self, source: str) -> bool:
        """Take one query from what a container may ask; False when nothing is left."""
        now_s = time.monotonic()
        left, since_s = self._budgets.get(source, (_BURST, now_s))
        left = min(_BURST, left + (now_s - since_s) * _RATE_PER_S)
        if len(self._budgets) > 4096:
            self._budgets.clear()  # made-up sources
        self._budgets[source] = (max(0.0, left - 1), now_s)
        return left >= 1

    def handle(
        self, data: bytes, source: str, reply: "Callable[[bytes], None]", *, tcp: bool
    ) -> bool:
        """Answer one message, now or later: `reply` is called once; False when there is nothing."""
        try:
            query = parse_query(data)
        except BadQuery as error:
            if error.reply:
                reply(error.reply)
            return bool(error.reply)
        try:
            found = self._lookup(query.name, query.kind, source)
        except Unknown:
            reply(answer(query, [], NAME_ERROR))
            return True
        if found is not None:
            reply(answer(query, found))
        else:
            self._forward(query, data, source, reply, tcp=tcp)
        return True

    def _forward(
        self,
        query: Query,
        data: bytes,
        source: str,
        reply: "Callable[[bytes], None]",
        *,
        tcp: bool,
    ) -> None:
        servers = self._servers(source)
        mine = self._under_way.get(source, 0)
        if not servers:
            # A network without a way out: a name that is not its own is nobody's.
            reply(failure(query, NAME_ERROR))
            return
        if self._forwarder.is_full() or mine >= _MOST_OF_ONE:
            reply(failure(query))
            return
        self._under_way[source] = mine + 1

        def done(message: bytes) -> None:
            left = self._under_way[source] - 1
            if left:
                self._under_way[source] = left
            else:
                del self._under_way[source]
            reply(message or failure(query))

        self._forwarder.ask(query, data, servers, done, tcp=tcp)

    def _accept(self, listener: _socket.socket) -> None:
        try:
            fd, peer = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = _socket.socket(fileno=fd)
        mine = sum(1 for c in self.connections.values() if c.source == peer[0])
        if len(self.connections) >= _MOST_CONNECTIONS or mine >= _MOST_CONNECTIONS_OF_ONE:
            sock.close()
            return
        sock.setblocking(False)
        _Connection(self, sock, peer[0])


class _Connection:
    """One TCP client: a query at a time, and an end when it does nothing (RFC 7766)."""

    def __init__(self, server: Server, sock: _socket.socket, source: str) -> None:
        self._server = server
        self._socket = sock
        self._fd = sock.fileno()
        self.source = source
        self._in = b""
        self._out = b""
        self._busy = False
        self._active_s = time.monotonic()
        server.connections[self._fd] = self
        server.loop.watch(self._fd, self._ready)
        server.loop.later(_IDLE_S, self._check)

    def _check(self) -> None:
        if self._fd < 0:
            return
        if time.monotonic() - self._active_s >= _IDLE_S:
            self._close()
            return
        self._server.loop.later(_IDLE_S, self._check)

    def _close(self) -> None:
        if self._fd >= 0:
            self._server.loop.forget(self._fd)
            del self._server.connections[self._fd]
            self._fd = -1
            self._socket.close()

    def _ready(self) -> None:
        try:
            if self._out:
                self._out = self._out[self._socket.send(self._out) :]
            else:
                data = self._socket.recv(_QUERY_BYTES)
                if not data:
                    self._close()
                    return
                self._in += data
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        self._go_on()

    def _go_on(self) -> None:
        """Take the next query when the last is answered and the answer is gone."""
        while not self._busy and not self._out and len(self._in) >= 2:
            length = int.from_bytes(self._in[:2], "big")
            if length > _QUERY_BYTES:
                self._close()
                return
            if len(self._in) < length + 2:
                break
            message, self._in = self._in[2 : length + 2], self._in[length + 2 :]
            self._active_s = time.monotonic()
            self._busy = True
            if not self._server.may_ask(self.source):
                self._close()
                return
            if not self._server.handle(message, self.source, self._reply, tcp=True):
                self._close()
                return
        if self._fd >= 0:
            # While an answer is waited for nothing is read, so nothing piles up here.
            events = select.POLLOUT if self._out else 0 if self._busy else select.POLLIN
            self._server.loop.forget(self._fd)
            self._server.loop.watch(self._fd, self._ready, events)

    def _reply(self, message: bytes) -> None:
        self._busy = False
        if self._fd < 0:
            return
        self._active_s = time.monotonic()
        self._out = len(message).to_bytes(2, "big") + message
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        self._server.loop.later(0, self._next)

    def _next(self) -> None:
        if self._fd >= 0:
            self._go_on()


class _Silence:
    """Sources whose packets the kernel drops for a while: classic BPF on the socket."""

    def __init__(self, loop: Loop, sock: _socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._sources: dict[str, float] = {}

    def add(self, source: str) -> None:
        if source in self._sources or len(self._sources) >= _MOST_SILENCED:
            return
        self._sources[source] = time.monotonic() + _SILENCE_S
        self._loop.later(_SILENCE_S, self._lift)
        self._apply()

    def _lift(self) -> None:
        now_s = time.monotonic()
        self._sources = {s: end_s for s, end_s in self._sources.items() if end_s > now_s + 0.01}
        self._apply()

    def _apply(self) -> None:
        try:
            if not self._sources:
                self._socket.setsockopt(_socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
                return
            import array  # and with it `collections`: 400 KiB

            program = array.array("B", silence_program(list(self._sources)))
            address, size = program.buffer_info()
            fprog = struct.pack("HL", size // 8, address)
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        except OSError:
            return  # ENOENT: none was attached


def silence_program(sources: "Sequence[str]") -> bytes:
    """Return classic BPF that drops packets from these addresses (linux/filter.h)."""
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    network_header = 0xFFF00000  # SKF_NET_OFF
    steps = []
    for source in sources:
        address = parse_address(source.partition("%")[0])
        offset = 12 if address.version == 4 else 8
        words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
        for number, word in enumerate(words):
            # After the words that are left, each two steps, stands this source's "drop".
            rest = 2 * (len(words) - number - 1)
            steps.append((load, 0, 0, network_header + offset + 4 * number))
            steps.append((equal, 0, rest + 1, word))
        steps.append((give, 0, 0, 0))
    steps.append((give, 0, 0, 0xFFFFFFFF))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
