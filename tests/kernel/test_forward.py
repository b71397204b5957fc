"""The forwarder of published ports between real network namespaces: client, host, container."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rootless.linux import syscalls
from slirp.forward import listen_all
from slirp.forward_control import send_add
from slirp.forward_loop import Loop, probe
from slirp.forward_target import Target, attempts
from slirp.model import PortMapping
from tests.conftest import InAccount
from tests.kernel.namespaces import in_own_namespace, network_namespace

# Documentation and benchmarking addresses (RFC 5737, RFC 3849, RFC 2544).
HOST, HOST6 = "192.0.2.1", "2001:db8::1"
CLIENT, CLIENT6 = "192.0.2.7", "2001:db8::7"
CONTAINER, GATEWAY, CONTAINER6 = "198.18.0.100", "198.18.0.2", "fd72:706f:6400::100"
TARGET = Target(CONTAINER, GATEWAY, lazy6=CONTAINER6)
PORT = 8080


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def serve(ready: int) -> None:
    """Be the container: echo, tell the peer, reset, never read or write without end, as the first
    byte says.
    """
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{CONTAINER}/32", "dev", "lo")
    for family in (socket.AF_INET, socket.AF_INET6):
        datagrams, stream = _bound(family, socket.SOCK_DGRAM), _bound(family, socket.SOCK_STREAM)
        stream.listen(100)
        threading.Thread(target=_serve_udp, args=(datagrams,), daemon=True).start()
        threading.Thread(target=_serve_tcp, args=(stream,), daemon=True).start()
    os.write(ready, b"r")


def _bound(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", 80))
    return sock


def _serve_tcp(server: socket.socket) -> None:
    while True:
        connection, peer = server.accept()
        threading.Thread(target=_answer, args=(connection, peer[0]), daemon=True).start()


def _answer(connection: socket.socket, peer: str) -> None:
    with connection:
        verb = connection.recv(1)
        if verb == b"a":
            connection.sendall(peer.encode())
        elif verb == b"e":
            while data := connection.recv(1 << 16):
                connection.sendall(data)
        elif verb == b"r":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif verb == b"n":
            threading.Event().wait()
        elif verb == b"w":
            while True:
                connection.sendall(bytes(1 << 18))


def _serve_udp(server: socket.socket) -> None:
    while True:
        data, peer = server.recvfrom(1 << 16)
        server.sendto(peer[0].encode() if data == b"a" else data, peer)


@contextlib.contextmanager
def forwarder(pid: int) -> Iterator[int]:
    """Forward PORT of this network namespace, TCP and UDP, to port 80 of a process's."""
    mappings = [PortMapping("", PORT, 80, "tcp"), PortMapping("", PORT, 80, "udp")]
    bound = listen_all(mappings)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            for _, sock in bound:
                sock.close()
            syscalls.setns(os.pidfd_open(pid), syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
            probe(TARGET)
            Loop(theirs, TARGET).run()
        finally:
            os._exit(0)
    theirs.close()
    for mapping, sock in bound:
        send_add(ours, mapping, sock.fileno())
        sock.close()
    try:
        yield child
    finally:
        ours.close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def on_host(client: Callable[[], str], where: str = CLIENT) -> Callable[[], str]:
    """Return a function that makes the three namespaces and runs `client` in the outermost."""

    def body() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        ip("link", "set", "lo", "up")
        reader, writer = os.pipe()

        def far() -> None:
            try:
                text = client()
            except Exception as error:  # noqa: BLE001 - told to the test
                text = f"{type(error).__name__}: {error}"
            os.write(writer, text.encode())

        def far_away() -> None:
            ip("link", "set", "lo", "up")
            ip("link", "set", "v1", "up")
            ip("address", "add", f"{CLIENT}/24", "dev", "v1")
            ip("address", "add", f"{CLIENT6}/64", "dev", "v1", "nodad")
            far()

        container = network_namespace(lambda: serve(writer))
        with container as (pid, go), network_namespace(far_away) as (other, far_go):
            ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(other))
            ip("link", "set", "v0", "up")
            ip("address", "add", f"{HOST}/24", "dev", "v0")
            ip("address", "add", f"{HOST6}/64", "dev", "v0", "nodad")
            go()
            assert os.read(reader, 1) == b"r"
            with forwarder(pid):
                if where == CLIENT:
                    far_go()
                else:
                    far()
                return os.read(reader, 1 << 16).decode()

    return lambda: in_own_namespace(body)


def test_forwarder_that_nobody_needs_ends(in_account: InAccount) -> None:
    def body() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        ip("link", "set", "lo", "up")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ((mapping, sock),) = listen_all([PortMapping("", PORT, 80, "udp")])
        child = os.fork()
        if child == 0:
            ours.close()
            loop = Loop(theirs, Target("127.0.0.1", "127.0.0.1"))
            loop.idle_s = 0.2
            loop.run()
            os._exit(7)
        theirs.close()
        send_add(ours, mapping, sock.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        # Who comes afterwards waits in the socket that is still open here.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"late", ("127.0.0.1", PORT))
        return f"{status} {sock.recv(16).decode()}"

    assert in_account(lambda: in_own_namespace(body)) == "7 late"


def test_forwarder_sleeps_once_nothing_follows(in_account: InAccount) -> None:
    """Between questions that follow each other closely it does not; afterwards it costs nothing."""

    def body() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        ip("link", "set", "lo", "up")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ((mapping, sock),) = listen_all([PortMapping("", PORT, 80, "udp")])
        child = os.fork()
        if child == 0:
            ours.close()
            Loop(theirs, Target("127.0.0.1", "127.0.0.1")).run()
            os._exit(7)
        theirs.close()
        send_add(ours, mapping, sock.fileno())
        with (
            _bound(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(5)
            server.settimeout(5)
            for number in range(300):
                client.sendto(b"%d" % number, ("127.0.0.1", PORT))
                text, peer = server.recvfrom(100)
                server.sendto(text, peer)
                assert client.recv(100) == b"%d" % number
            before = cpu_ticks(child)
            time.sleep(1)
            spent = cpu_ticks(child) - before
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return str(spent)

    assert int(in_account(lambda: in_own_namespace(body))) <= 3


def cpu_ticks(pid: int) -> int:
    """Return the time that a process has had, in hundredths of a second."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def connect(address: str) -> socket.socket:
    return socket.create_connection((address, PORT), timeout=5)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(1 << 20):
        data += chunk
    return data


def ask_tcp(address: str) -> str:
    with connect(address) as sock:
        sock.sendall(b"a")
        return read_all(sock).decode()


def ask_udp(address: str, question: bytes = b"a") -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect((address, PORT))
        for _ in range(20):
            # A datagram may be lost: in a full queue, or while neighbours look for each other.
            sock.send(question)
            with contextlib.suppress(TimeoutError):
                return sock.recv(1 << 16)
    raise TimeoutError(f"no answer from {address}")


@pytest.mark.parametrize(
    ("ask", "address", "expected"),
    [
        pytest.param(ask_tcp, HOST, CLIENT, id="tcp"),
        pytest.param(ask_tcp, HOST6, CLIENT6, id="tcp6"),
        pytest.param(lambda address: ask_udp(address).decode(), HOST, CLIENT, id="udp"),
        pytest.param(lambda address: ask_udp(address).decode(), HOST6, CLIENT6, id="udp6"),
    ],
)
def test_server_sees_the_true_address(
    in_account: InAccount, ask: Callable[[str], str], address: str, expected: str
) -> None:
    assert in_account(on_host(lambda: ask(address))) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_client_on_the_hosts_loopback_is_no_neighbour_of_the_server(
    in_account: InAccount, address: str
) -> None:
    def client() -> str:
        return f"{ask_tcp(address)} {ask_udp(address).decode()}"

    assert in_account(on_host(client, "host")) == f"{GATEWAY} {GATEWAY}"


def test_half_closed_connection_goes_on(in_account: InAccount) -> None:
    def client() -> str:
        data = os.urandom(8 << 20)
        with connect(HOST) as sock:
            sock.sendall(b"e")

            def send() -> None:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            same = read_all(sock) == data
            sender.join()
        return str(same)

    assert in_account(on_host(client)) == "True"


def test_reset_is_passed_on(in_account: InAccount) -> None:
    def client() -> str:
        with connect(HOST) as sock:
            sock.sendall(b"r")
            return str(sock.recv(1))

    assert in_account(on_host(client)).startswith("ConnectionResetError")


def test_large_datagrams_are_passed_on(in_account: InAccount) -> None:
    def client() -> str:
        return " ".join(str(len(ask_udp(HOST, bytes(size)))) for size in (1, 9000, 65507))

    assert in_account(on_host(client)) == "1 9000 65507"


def test_server_that_never_reads_stands_in_nobodys_way(in_account: InAccount) -> None:
    def client() -> str:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                sock = stack.enter_context(connect(HOST))
                sock.sendall(b"n")
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.send(bytes(1 << 18))
            return ask_tcp(HOST)

    assert in_account(on_host(client)) == CLIENT


def test_client_that_never_reads_stands_in_nobodys_way(in_account: InAccount) -> None:
    def client() -> str:
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(connect(HOST)).sendall(b"w")
            return ask_tcp(HOST)

    assert in_account(on_host(client)) == CLIENT


def test_flood_of_connections_waits_in_the_kernel(in_account: InAccount) -> None:
    """More clients than the forwarder has descriptors for: it takes no more, and goes on later."""

    def answers(sock: socket.socket) -> bool:
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            return bool(sock.recv(16))
        return False

    def client() -> str:
        held = [connect(HOST) for _ in range(300)]
        for sock in held:
            sock.sendall(b"a")
        seen = [answers(sock) for sock in (held[0], held[-1])]
        for sock in held[:-1]:
            sock.close()
        held[-1].settimeout(10)
        return f"{seen} {held[-1].recv(16).decode()} {ask_tcp(HOST)}"

    def body() -> str:
        # Two descriptors for a connection, and no place for three hundred of them.
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
        return on_host(client)()

    assert in_account(body) == f"[True, False] {CLIENT} {CLIENT}"


def test_clients_without_number_are_forgotten(in_account: InAccount) -> None:
    def client() -> str:
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
        for number in range(3000):
            if not number % 10:
                for sock in socks:
                    sock.close()
                socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
            socks[number % 10].sendto(b"x", (HOST, PORT))
        # A late answer to a socket that had the same port may come first.
        while (answer := ask_udp(HOST)) == b"x":
            continue
        return answer.decode()

    assert in_account(on_host(client)) == CLIENT


@pytest.mark.parametrize("client", [CONTAINER, "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_address_that_would_be_the_containers_own_is_the_gateways(client: str) -> None:
    assert [attempt.source for attempt in attempts(TARGET, client)] == [GATEWAY]
