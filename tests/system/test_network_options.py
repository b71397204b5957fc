"""Each option of `--network slirp4netns:` and `pasta:`, seen in the container or by its servers."""

import contextlib
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import without
from tests.support.accounts import processes
from tests.support.command import Command
from tests.support.inside import inside
from tests.support.registry import free_port
from tests.system.test_network import talk

pytestmark = pytest.mark.rpod_only  # podman 4.3's slirp4netns has fewer of them
needs_pasta = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed")


@contextlib.contextmanager
def peer_server(where: str = "127.0.0.1") -> Iterator[int]:
    """Send whoever connects the address it comes from; give the port."""
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with socket.create_server((where, 0), family=family) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, peer = server.accept()
                    with connection:
                        connection.sendall(f"{peer[0]}\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def run(rpod: Command, network: str, image: str, script: str) -> str:
    return rpod("run", "--rm", f"--network={network}", image, "sh", "-c", script).out


def test_cidr_gives_the_subnet_and_its_addresses(rpod: Command, image: str) -> None:
    network = "slirp4netns:cidr=10.123.0.0/24"
    out = run(rpod, network, image, "ip -4 addr show tap0; ip route; cat /etc/resolv.conf")
    for words in ("inet 10.123.0.100/24", "default via 10.123.0.2", "nameserver 10.123.0.3"):
        assert words in out


@pytest.mark.parametrize("mtu", [1400, 65520])
def test_mtu_is_that_of_the_interface(rpod: Command, image: str, mtu: int) -> None:
    out = run(rpod, f"slirp4netns:mtu={mtu}", image, "cat /sys/class/net/tap0/mtu")
    assert out == f"{mtu}\n"


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False)])
def test_enable_ipv6_gives_an_address(
    rpod: Command, image: str, value: str, expected: bool
) -> None:
    wait = "for i in $(seq 30); do ip -6 addr show tap0 | grep -q fd00: && break; sleep 0.1; done"
    script = f"{wait if expected else 'sleep 0.5'}; ip -6 addr show tap0"
    out = run(rpod, f"slirp4netns:enable_ipv6={value}", image, script)
    assert ("inet6 fd00:" in out) is expected


def test_outbound_addr_is_what_servers_see(rpod: Command, image: str) -> None:
    network = "slirp4netns:allow_host_loopback=true,outbound_addr=127.0.0.9"
    with peer_server() as port:
        assert run(rpod, network, image, f"nc -w 3 10.0.2.2 {port}") == "127.0.0.9\n"


def test_outbound_addr_that_the_host_lacks_is_refused(rpod: Command, image: str) -> None:
    network = "--network=slirp4netns:outbound_addr=nosuchinterface0"
    done = rpod("run", "--rm", network, image, "true", check=False)
    assert done.code == 125
    assert "outbound-addr has to be valid ipv4 address or interface name" in done.err
    assert "WARNING" not in done.err


def test_port_handler_slirp4netns_shows_its_own_address(rpod: Command, image: str) -> None:
    look = "cat /proc/net/tcp /proc/net/tcp6 | grep ':0050 .* 01 ' | awk '{print $3}'"
    port = free_port()
    options = ("--network=slirp4netns:port_handler=slirp4netns", "-p", f"{port}:80")
    rpod("run", "-d", *options, image, "nc", "-ll", "-p", "80", "-e", "sh", "-c", look)
    assert b"0202000A:" in talk(port)  # 10.0.2.2, its gateway


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("mtu=67", "mtu=67"),
        ("mtu=70000", "mtu=70000"),
        ("cidr=10.0.2.0/26", "at most 25 bits"),
        ("cidr=1.2.3/24", "cidr=1.2.3/24"),
        ("enable_ipv6=perhaps", "must be true or false"),
        ("port_handler=other", "must be slirp4netns or rootlesskit"),
        ("enable_ipv6=false,outbound_addr6=::1", "outbound_addr6 needs enable_ipv6"),
        ("nothing=1", "unknown option"),
        ("mtu", "not OPTION=VALUE"),
    ],
)
def test_bad_option_is_refused(rpod: Command, image: str, option: str, told: str) -> None:
    done = rpod("run", "--rm", f"--network=slirp4netns:{option}", image, "true", check=False)
    assert done.code == 125
    assert told in done.err
    assert rpod("ps", "-aq").out == ""


# --- pasta


@needs_pasta
def test_pasta_takes_its_own_options(rpod: Command, image: str) -> None:
    network = "pasta:--address,10.55.0.7,--netmask,255.255.255.0,--gateway,10.55.0.1,--mtu,1400"
    out = run(rpod, network, image, "ip -4 addr; ip route; cat /sys/class/net/[a-k]*/mtu")
    for words in ("inet 10.55.0.7/24", "default via 10.55.0.1", "\n1400\n"):
        assert words in out


@needs_pasta
def test_pasta_keeps_the_hosts_loopback_closed_unless_asked(rpod: Command, image: str) -> None:
    gateway = "$(ip route | awk '/default/ {print $3}')"
    with peer_server() as port:
        script = f"timeout 3 nc -w 2 {gateway} {port} | grep . || echo closed"
        assert run(rpod, "pasta", image, script) == "closed\n"
        assert run(rpod, "pasta:--map-gw", image, script) != "closed\n"


@needs_pasta
def test_pasta_publishes_a_port(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    options = ("--name", "web", "--network=pasta", "-p", f"{port}:80")
    rpod("run", "-d", *options, image, "sh", "-c", script)
    assert talk(port) == b"hi\n"


@needs_pasta
@pytest.mark.parametrize("argument", ["--netns=/x", "-P=/x", "--runas=0"])
def test_pasta_option_that_rpod_sets_is_refused(rpod: Command, image: str, argument: str) -> None:
    done = rpod("run", "--rm", f"--network=pasta:{argument}", image, "true", check=False)
    assert (done.code, "is set by rpod" in done.err) == (125, True)


@needs_pasta
def test_network_whose_way_out_is_pasta(rpod: Command, image: str) -> None:
    try:
        rpod("network", "create", "--opt", "outgoing=pasta", "out")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("198.51.100.1", 9))
            where = str(sock.getsockname()[0])
        rpod("run", "-d", "--name", "a", "--network", "out", image, "sleep", "1000")
        rpod("run", "-d", "--name", "b", "--network", "out", image, "sleep", "1000")
        assert rpod("exec", "a", "nslookup", "b").code == 0
        ways = rpod("exec", "a", "ip", "route").out
        assert "default via 10." in ways
        names = {process.name for process in processes(rpod.account.owns)}
        assert "slirp4netns" not in names
        assert any(name.startswith(("pasta", "passt")) for name in names)
        with peer_server(where) as port:
            # pasta gives the namespace the host's own address: the host is not reached by it.
            assert rpod("exec", "a", "nc", "-w", "2", where, str(port), check=False).out == ""
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)
        rpod("network", "prune", "-f", check=False)


# --- published ports


def test_ports_of_both_kinds_are_listed(rpod: Command, image: str) -> None:
    first, second = free_port(), free_port()
    network = "--network=slirp4netns:port_handler=slirp4netns"
    rpod("run", "-d", "--name", "c", network, "-p", f"{first}:80", image, "sleep", "1000")
    rpod("port", "add", "c", f"{second}:81")
    assert rpod("port", "c").lines == [
        f"80/tcp -> 0.0.0.0:{first}", f"81/tcp -> 0.0.0.0:{second}"
    ]  # fmt: skip
    rpod("port", "rm", "c", "81")
    assert rpod("port", "c").lines == [f"80/tcp -> 0.0.0.0:{first}"]


def udp_server(port: int, where: str = "::") -> Callable[[Callable[[], None]], None]:
    """Return the body of a server that repeats what it gets and says from whom."""

    def body(ready: Callable[[], None]) -> None:
        family = socket.AF_INET6 if ":" in where else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as server:
            server.bind((where, port))
            ready()
            while True:
                data, peer = server.recvfrom(1 << 16)
                address = str(peer[0]).removeprefix("::ffff:")
                server.sendto(data + f" from {address}".encode(), peer)

    return body


def ask_udp(where: str, port: int, tries: int = 50) -> bytes:
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        for _ in range(tries):
            client.sendto(b"hello", (where, port))
            with contextlib.suppress(OSError):
                return client.recv(1 << 16)
    return b""


@pytest.mark.parametrize("network", ["slirp4netns", "app"])
def test_published_udp_port_keeps_the_clients_address(
    rpod: Command, image: str, network: str
) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("198.51.100.1", 9))
        where = str(sock.getsockname()[0])
    try:
        rpod("network", "create", "app")
        options = ("--name", "web", f"--network={network}", "-p", f"{port}:81/udp")
        rpod("run", "-d", *options, image, "sleep", "1000")
        with inside(rpod, "web", udp_server(81)):
            assert ask_udp(where, port) == f"hello from {where}".encode()
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)
        rpod("network", "prune", "-f", check=False)


def test_largest_datagram_travels_between_containers(rpod: Command, image: str) -> None:
    def client(where: str, size: int) -> Callable[[Callable[[], None]], None]:
        def body(ready: Callable[[], None]) -> None:
            family = socket.AF_INET6 if ":" in where else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(bytes(size), (where, 81))
                if len(sock.recv(1 << 16)) == size:
                    ready()
                    time.sleep(100)

        return body

    def echo(ready: Callable[[], None]) -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
            server.bind(("::", 81))
            ready()
            while True:
                server.sendto(*server.recvfrom(1 << 16))

    try:
        rpod("network", "create", "--ipv6", "app")
        rpod("network", "create", "--ipv6", "--opt", "mtu=1400", "small")
        for network in ("app", "small"):
            for name in ("a", "b"):
                rpod("run", "-d", "--name", name, "--network", network, image, "sleep", "1000")
            form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}"
            four, six = rpod("inspect", "-f", form, "a").out.split()
            with inside(rpod, "a", echo):
                for where, size in ((four, 65507), (six, 65487)):
                    with inside(rpod, "b", client(where, size)):
                        continue
            rpod("rm", "-fa", "-t", "0")
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)
        rpod("network", "prune", "-f", check=False)


class Limited(Command):
    """The command on a kernel that refuses a socket option."""

    def __init__(self, command: Command, level: int, option: int) -> None:
        super().__init__(command.account, command.environment)
        self._words = (str(level), str(option))

    def dropping(self) -> list[str]:
        return [sys.executable, "-P", without.__file__, *self._words, *super().dropping()]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may filter calls of newuidmap")
def test_fallback_of_published_ports_is_told(rpod: Command, image: str) -> None:
    limited = Limited(rpod, socket.SOL_IP, 19)  # IP_TRANSPARENT
    port, other = free_port(), free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    options = ("--name", "web", "--network=slirp4netns", "-p", f"{port}:80")
    done = limited("run", "-d", *options, image, "sh", "-c", script)
    assert "does not see the clients' addresses" in done.err
    assert talk(port) == b"hi\n"
    added = rpod("port", "add", "web", f"{other}:80", check=False)
    assert added.code == 125
    assert "not supported" in added.err
    limited("rm", "-f", "-t", "0", "web")
    done = limited("run", "--rm", "--network=slirp4netns", "-p", f"{port}:80", image, "true")
    assert "does not see the clients' addresses" in done.err


@pytest.mark.parametrize("network", ["slirp4netns", "app"])
def test_stats_count_the_bytes_of_published_ports(rpod: Command, image: str, network: str) -> None:
    port = free_port()
    script = "while :; do head -c 3000000 /dev/zero | nc -l -p 80; done"
    try:
        rpod("network", "create", "app")
        options = ("--name", "web", f"--network={network}", "-p", f"{port}:80")
        rpod("run", "-d", *options, image, "sh", "-c", script)
        total = 0
        for _ in range(50):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=5) as client,
            ):
                while data := client.recv(1 << 20):
                    total += len(data)
            if total >= 3_000_000:
                break
            time.sleep(0.1)
        time.sleep(0.7)
        form = ("stats", "--no-stream", "--format", "{{.NetIO}}", "web")
        received, _, sent = rpod(*form).out.strip().partition(" / ")
        assert sent.endswith("MB"), (received, sent)
        assert 3.0 <= float(sent.removesuffix("MB")) < 4.0
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)
        rpod("network", "prune", "-f", check=False)


def test_options_of_a_network_are_seen_in_its_containers(rpod: Command, image: str) -> None:
    try:
        rpod("network", "create", "--subnet", "10.77.0.0/24", "--route", "10.9.0.0/16,10.77.0.9,77",
             "--opt", "mtu=1400", "--opt", "metric=200", "app")  # fmt: skip
        rpod("network", "create", "--subnet", "10.78.0.0/24", "--opt", "no_default_route=1", "side")
        show = "ip route; cat /sys/class/net/eth0/mtu"
        out = rpod("run", "--rm", "--network=app", image, "sh", "-c", show).out
        assert "10.9.0.0/16 via 10.77.0.9 dev eth0  metric 77" in out
        assert "default via 10.77.0.1 dev eth0  metric 200" in out
        assert out.endswith("\n1400\n")
        assert "default" not in rpod("run", "--rm", "--network=side", image, "ip", "route").out
    finally:
        rpod("network", "prune", "-f", check=False)


@needs_pasta
def test_pasta_publishes_a_datagram_port_for_the_hosts_loopback(rpod: Command, image: str) -> None:
    port = free_port()
    options = ("--name", "c", "--network=pasta", "-p", f"{port}:{port}/udp")
    assert "pasta" not in rpod("run", "-d", *options, image, "sleep", "1000").err
    with inside(rpod, "c", udp_server(port)):
        assert ask_udp("127.0.0.1", port) == b"hello from 127.0.0.1"
    renumbered = ("--network=pasta", "-p", f"{free_port()}:81/udp")
    assert "before 2024" in rpod("run", "--rm", *renumbered, image, "true").err
