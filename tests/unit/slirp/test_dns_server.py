"""The name server over real sockets on loopback, with a real server behind it."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.dns_message import A, answer, parse_query
from slirp.dns_server import Server, Unknown, silence_program
from slirp.loop import Loop
from tests.unit.slirp.test_dns_message import ask

OWN = b"\x0a\x59\x00\x02"
FOREIGN = b"\xc6\x33\x64\x07"


def both_kinds() -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket of one port, which nobody else has for either."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()


class Upstream:
    """Answers every question, over UDP and TCP of one port, with FOREIGN; counts them."""

    def __init__(self) -> None:
        self.udp, self.tcp = both_kinds()
        self.port = self.udp.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def _serve_udp(self) -> None:
        while True:
            try:
                data, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            self.asked += 1
            # First something that was not asked for: it must not be taken.
            self.udp.sendto(answer(parse_query(ask("other", identity=1)), [OWN]), peer)
            self.udp.sendto(answer(parse_query(data), [FOREIGN]), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                data = connection.recv(4096)
                if len(data) < 3:
                    return
                reply = answer(parse_query(data[2:]), [FOREIGN] * 9)
                connection.sendall(len(reply).to_bytes(2, "big"))
                connection.sendall(reply)

    def close(self) -> None:
        self.udp.sendto(b"", ("127.0.0.1", self.port))
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self.udp.close()
        self.tcp.close()


def lookup(name: str, kind: int, source: str) -> list[bytes] | None:
    if name == "web":
        return [OWN] if kind == A else []
    if name.endswith(".dns.podman"):
        raise Unknown
    return None


class Served:
    """A server in a thread of its own; `servers` can be changed."""

    def __init__(self, upstream: Upstream) -> None:
        self.servers: tuple[str, ...] = ("127.0.0.1",)
        self.loop = Loop()
        self.server = Server(self.loop, lookup, lambda _: self.servers, upstream_port=upstream.port)
        self.udp, self.tcp = both_kinds()
        self.address: tuple[str, int] = self.udp.getsockname()
        self.udp.setblocking(False)
        self.tcp.setblocking(False)
        self.server.serve_udp(self.udp)
        self.server.serve_tcp(self.tcp)
        self._wake, self._woken = socket.socketpair()
        self._running = True
        self.loop.watch(self._woken.fileno(), self._stop)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self._running:
            self.loop.turn()

    def _stop(self) -> None:
        self._running = False

    def close(self) -> None:
        self._wake.send(b"x")
        self.thread.join()
        for sock in (self.udp, self.tcp, self._wake, self._woken):
            sock.close()
        for connection in list(self.server.connections.values()):
            connection._close()

    def ask(self, data: bytes, timeout_s: float = 5) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout_s)
            client.sendto(data, self.address)
            return client.recv(4096)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    running = Upstream()
    yield running
    running.close()


@pytest.fixture
def served(upstream: Upstream) -> Iterator[Served]:
    running = Served(upstream)
    yield running
    running.close()


def test_own_name_is_answered_without_asking(served: Served, upstream: Upstream) -> None:
    assert served.ask(ask("web")).endswith(OWN)
    assert served.ask(ask("web", 28))[6:8] == b"\0\0"
    assert upstream.asked == 0


def test_own_name_that_is_not_there_does_not_exist(served: Served) -> None:
    assert served.ask(ask("gone.dns.podman"))[3] & 15 == 3


def test_other_names_are_asked_for(served: Served) -> None:
    reply = served.ask(ask("example.com", identity=77))
    assert reply.endswith(FOREIGN)
    assert reply[:2] == (77).to_bytes(2, "big")


def test_other_names_are_asked_for_over_tcp(served: Served) -> None:
    message = ask("example.com", identity=77)
    with socket.create_connection(served.address, timeout=5) as client:
        for _ in range(2):
            client.sendall(len(message).to_bytes(2, "big") + message)
            file = client.makefile("rb")
            length = int.from_bytes(file.read(2), "big")
            reply = file.read(length)
            assert reply[:2] == message[:2]
            assert reply.count(FOREIGN) == 9


def test_next_server_is_asked_when_one_refuses(served: Served) -> None:
    served.servers = ("127.0.0.99", "127.0.0.1")
    assert served.ask(ask("example.com")).endswith(FOREIGN)


def test_no_answer_of_any_server_is_a_failure(served: Served) -> None:
    served.servers = ("127.0.0.99",)
    assert served.ask(ask("example.com"))[3] & 15 == 2


def test_without_servers_no_other_name_exists(served: Served) -> None:
    served.servers = ()
    assert served.ask(ask("example.com"))[3] & 15 == 3


def test_malformed_packets_do_no_harm(served: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for size in range(40):
            client.sendto(b"\xc0" * size, served.address)
            client.sendto(ask("web")[:size], served.address)
    assert served.ask(ask("web")).endswith(OWN)


@given(
    name=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60),
    cuts=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 120),
    tcp=st.booleans(),
)
def test_damaged_queries_get_one_answer_or_none(
    name: str, cuts: list[tuple[int, int]], length: int, tcp: bool
) -> None:
    data = bytearray(ask(name))
    for place, value in cuts:
        data[place % len(data)] = value
    replies: list[bytes] = []
    server = Server(Loop(), lookup, lambda source: [])  # without servers every answer is at once
    is_answered = server.handle(bytes(data[:length]), "10.0.0.2", replies.append, tcp=tcp)
    assert len(replies) == is_answered
    for reply in replies:
        assert reply[:2] == bytes(data[:2])
        assert reply[2] & 0x80  # an answer, which no server takes for a question


def test_tcp_client_that_says_nothing_or_nonsense_does_no_harm(served: Served) -> None:
    idle = [socket.create_connection(served.address) for _ in range(12)]
    with socket.create_connection(served.address) as client:
        client.sendall(b"\xff\xff" + b"x" * 10)
    assert served.ask(ask("web")).endswith(OWN)
    for client in idle:
        client.close()


def test_flood_is_dropped_and_ends(served: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(6000):
            client.sendto(ask("web"), served.address)
    # This address has no budget left; after the silence it has.
    for _ in range(40):
        try:
            assert served.ask(ask("web"), 0.2).endswith(OWN)
        except TimeoutError:
            continue
        break
    else:
        pytest.fail("never answered again")


def test_silence_program_is_well_formed() -> None:
    program = silence_program(["10.89.0.2", "fd00::2"])
    steps = list(struct.iter_unpack("=HBBI", program))
    assert steps[-1] == (6, 0, 0, 0xFFFFFFFF)
    assert steps[1] == (0x15, 0, 1, 0x0A590002)
    for position, (code, _, jump, _) in enumerate(steps):
        if code == 0x15:
            assert position + 1 + jump < len(steps)
