"""Published UDP ports: a socket inside the container's network for each client.

Answers leave from the address that the client wrote to (IP_PKTINFO). Clients that nobody answered
are forgotten first; their number has a limit, so a flood costs no more than that.
"""

import _socket
import select

from slirp.forward_target import Attempt, attempts, transparent_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slirp.forward_loop import Loop

SOL_IP, SOL_IPV6 = 0, 41
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
_FLOW_LIMIT = 1024
_UNANSWERED_S, _ANSWERED_S = 30.0, 180.0
_DATAGRAMS = 64
_BUFFER = memoryview(bytearray(1 << 16))
_LOOKED_AT = 32


class _Flow:
    """One client of one port; `info` makes an answer leave by the address it wrote to."""

    __slots__ = ("client", "info", "key", "last_s", "port", "replied", "server", "source",
                 "ways")  # fmt: skip

    def __init__(self, port: "UdpPort", key: "_Key", client: "_Address", info: "_Info") -> None:
        self.port = port
        self.key = key
        self.client = client
        self.info = info
        self.replied = False
        self.last_s = port.loop.now_s
        self.ways = attempts(port.loop.target, client[0])
        self.server, self.source = port.connect(client[1], self.ways)

    def send(self, size: int) -> None:
        """Pass a datagram of the buffer on; where nobody listens try the next way."""
        for _ in (1, 2):
            try:
                self.server.send(_BUFFER[:size])
            except ConnectionRefusedError:
                continue  # said about the datagram before
            except OSError:
                return
            # On this machine the answer that nobody listens comes before send returns.
            if self.replied or not self.ways:
                return
            if not self.server.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
                return
            self._take_next_way()

    def _take_next_way(self) -> None:
        try:
            server, self.source = self.port.connect(self.client[1], self.ways)
        except OSError:
            return
        loop = self.port.loop
        loop.forget(self.server.fileno())
        self.server.close()
        self.server = server
        loop.watch(server.fileno(), self.answer, select.EPOLLIN)

    def answer(self, events: int) -> None:
        """Pass on what the server has sent."""
        for _ in range(_DATAGRAMS):
            try:
                size = self.server.recv_into(_BUFFER)
            except OSError:
                return  # nothing more, or ECONNREFUSED: nobody listens
            self.replied = True
            self.last_s = self.port.loop.now_s
            self.port.loop.traffic.add(0, size)
            try:
                self.port.sock.sendmsg([_BUFFER[:size]], self.info, 0, self.client)
            except OSError:
                continue  # a datagram may be lost


_Address = tuple[str, int] | tuple[str, int, int, int]
_Info = list[tuple[int, int, bytes]]
_Key = tuple[str, int, bytes]


class UdpPort:
    """A datagram socket of the host whose clients reach a port of the container."""

    def __init__(self, loop: "Loop", sock: _socket.socket, container_port: int) -> None:
        self.loop = loop
        self.sock = sock
        self.container_port = container_port
        self.flows: dict[_Key, _Flow] = {}
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._receive, select.EPOLLIN)

    def connect(
        self, client_port: int, ways: list[Attempt]
    ) -> "tuple[_socket.socket, tuple[int, str]]":
        """Return a socket to the server, by the first of `ways` (they are used up) that can be.

        With it comes its source: family, address.

        Raises OSError when none is left.
        """
        while ways:
            attempt = ways.pop(0)
            try:
                self.loop.expect(attempt)
                sock = transparent_socket(attempt, _socket.SOCK_DGRAM, client_port)
            except OSError:
                continue
            try:
                sock.connect((attempt.destination, self.container_port))
            except OSError:
                sock.close()
                continue
            return sock, (attempt.family, attempt.source)
        raise OSError("no way to the server")

    def _receive(self, events: int) -> None:
        for _ in range(_DATAGRAMS):
            try:
                size, info, _, client = self.sock.recvmsg_into([_BUFFER], 128)
            except OSError:
                return
            flow = self._flow(client, info)
            if flow is None:
                continue
            flow.last_s = self.loop.now_s
            self.loop.traffic.add(size, 0)
            flow.send(size)

    def _flow(self, client: _Address, info: _Info) -> _Flow | None:
        local = info[0][2] if info else b""
        key = (client[0], client[1], local)
        flow = self.flows.get(key)
        if flow is None:
            if len(self.flows) >= _FLOW_LIMIT:
                self._make_room()
            try:
                flow = _Flow(self, key, client, [_answer_info(*item) for item in info])
            except OSError:
                return None
            self.flows[key] = flow
            self.loop.watch(flow.server.fileno(), flow.answer, select.EPOLLIN)
        return flow

    def _make_room(self) -> None:
        looked_at = []
        for flow in self.flows.values():
            looked_at.append(flow)
            if len(looked_at) == _LOOKED_AT:
                break
        self._forget(min(looked_at, key=lambda flow: (flow.replied, flow.last_s)))

    def _forget(self, flow: _Flow) -> None:
        del self.flows[flow.key]
        self.loop.forget(flow.server.fileno())
        flow.server.close()

    def sweep(self) -> None:
        """Forget the clients that have been silent."""
        for flow in list(self.flows.values()):
            limit_s = _ANSWERED_S if flow.replied else _UNANSWERED_S
            if self.loop.now_s - flow.last_s > limit_s:
                self._forget(flow)

    def close(self) -> None:
        for flow in list(self.flows.values()):
            self._forget(flow)
        self.loop.forget(self.sock.fileno())
        self.sock.close()


def _answer_info(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Turn where a datagram was sent to into where its answer comes from (ip(7), ipv6(7))."""
    if kind == IP_PKTINFO:
        # struct in_pktinfo: interface, ipi_spec_dst, ipi_addr; the routing table finds the first.
        return level, kind, bytes(4) + data[4:8] + bytes(4)
    link_local = data[:2] == b"\xfe\x80"
    return level, kind, data if link_local else data[:16] + bytes(4)
