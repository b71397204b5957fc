"""A host that moves: other routes and name servers; clients of its ports on other machines."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import machines
from tests.support.accounts import processes
from tests.support.command import Command
from tests.support.inside import inside
from tests.support.machines import SERVICE, WEB_PORT, Machine
from tests.support.registry import free_port
from tests.system.test_network_options import ask_udp, udp_server

pytestmark = [
    pytest.mark.rpod_only,
    pytest.mark.skipif(os.getuid() != 0, reason="only root may simulate machines"),
]
needs_pasta = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed")
NETWORKS = [
    pytest.param("slirp4netns", id="slirp4netns"),
    pytest.param("app", id="user-defined"),
    pytest.param("pasta", id="pasta", marks=needs_pasta),
]
THROUGH_PASTA = pytest.param("out", id="user-defined-through-pasta", marks=needs_pasta)
ALL_NETWORKS = [*NETWORKS, pytest.param("host", id="host")]


@pytest.fixture
def host(rpod: Command, image: str) -> Iterator[Machine]:
    with machines.machine(rpod) as found:
        yield found
        found.command("rm", "--force", "--all", "--time", "0", check=False)
        found.command("network", "prune", "--force", check=False)


def until(function: Callable[[], str], expected: str, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while expected not in (seen := function()):
        assert time.monotonic() < deadline, f"{expected!r} is not in {seen!r}"
        time.sleep(0.2)


def make_networks(rpod: Command) -> None:
    rpod("network", "create", "app")
    rpod("network", "create", "--opt", "outgoing=pasta", "out")


@pytest.mark.parametrize("network", [*NETWORKS, THROUGH_PASTA])
def test_new_connections_go_the_new_way(host: Machine, image: str, network: str) -> None:
    rpod, (first, second) = host.command, host.worlds
    make_networks(rpod)
    rpod("run", "-d", "--name", "c", f"--network={network}", image, "sleep", "1000")

    def ask() -> str:
        service = ("nc", "-w", "3", SERVICE, str(WEB_PORT))
        return rpod("exec", "c", "timeout", "3", *service, check=False).out

    until(ask, f"{first.name} sees {first.host}")
    # A VPN comes up, and goes down with its interface.
    host.go_through(second)
    until(ask, f"{second.name} sees {second.host}")
    machines.ip(host.pid, "link", "set", second.interface, "down")
    host.go_through(first)
    until(ask, f"{first.name} sees {first.host}")


@pytest.mark.parametrize("network", ALL_NETWORKS)
def test_names_are_asked_for_where_the_host_asks_now(
    host: Machine, image: str, network: str
) -> None:
    rpod, (first, second) = host.command, host.worlds
    rpod("network", "create", "app")
    rpod("run", "-d", "--name", "c", f"--network={network}", image, "sleep", "1000")

    def resolve() -> str:
        return rpod("exec", "c", "nslookup", "www.example.org.", check=False).out

    until(resolve, first.answer)
    host.go_through(second)
    until(resolve, second.answer)
    host.go_through(first)
    until(resolve, first.answer)


@pytest.mark.parametrize("network", ALL_NETWORKS)
def test_resolv_conf_follows_the_host_unless_it_was_changed_inside(
    host: Machine, image: str, network: str
) -> None:
    rpod, (_, second) = host.command, host.worlds
    rpod("network", "create", "app")
    for name in ("c", "own"):
        rpod("run", "-d", "--name", name, f"--network={network}", image, "sleep", "1000")
    rpod("exec", "own", "sh", "-c", "echo nameserver 192.0.2.77 >/etc/resolv.conf")
    host.go_through(second)
    until(lambda: rpod("exec", "c", "cat", "/etc/resolv.conf").out, f"{second.name}.example")
    assert rpod("exec", "own", "cat", "/etc/resolv.conf").out == "nameserver 192.0.2.77\n"


def test_resolv_conf_is_followed_wherever_it_is(host: Machine, image: str) -> None:
    """A link to another place, a place that goes and comes, a file that is mounted by itself."""
    rpod = host.command
    rpod("network", "create", "app")
    rpod("run", "-d", "--name", "c", "--network=app", image, "sleep", "1000")

    def found(number: int) -> str:
        return f"place{number}.example\n"

    def write(directory: str, number: int) -> None:
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/resolv.conf", "w", encoding="ascii") as file:
            file.write(f"search {found(number)}nameserver 192.0.2.2\n")

    def inside() -> str:
        return rpod("exec", "c", "cat", "/etc/resolv.conf").out

    def link(target: str) -> None:
        os.symlink(target, f"{host.etc}/resolv.conf.new")
        os.rename(f"{host.etc}/resolv.conf.new", f"{host.etc}/resolv.conf")

    write(f"{host.etc}/vpn", 1)
    link("vpn/resolv.conf")
    until(inside, found(1))
    shutil.rmtree(f"{host.etc}/vpn")
    write(f"{host.etc}/vpn", 2)
    until(inside, found(2))
    write(f"{host.etc}/other", 3)
    link("/etc/other/resolv.conf")
    until(inside, found(3))
    # What lies under a mount of the file alone is written where nobody else looks.
    source = f"{host.etc}.elsewhere"
    try:
        write(source, 4)
        enter = ("nsenter", f"--target={host.pid}", "--mount")
        target = "/etc/other/resolv.conf"
        subprocess.run([*enter, "mount", "--bind", f"{source}/resolv.conf", target], check=True)
        until(inside, found(4))
        write(source, 5)
        until(inside, found(5))
        subprocess.run([*enter, "umount", target], check=True)
        until(inside, found(3))
    finally:
        shutil.rmtree(source)


@needs_pasta
def test_killed_pasta_of_a_network_comes_back(host: Machine, image: str) -> None:
    rpod, (first, _) = host.command, host.worlds
    make_networks(rpod)
    rpod("run", "-d", "--name", "c", "--network=out", image, "sleep", "1000")

    def ask() -> str:
        service = ("timeout", "3", "nc", "-w", "3", SERVICE, str(WEB_PORT))
        return rpod("exec", "c", *service, check=False).out

    until(ask, f"{first.name} sees {first.host}")
    found = [p for p in processes(rpod.account.owns) if p.name.startswith(("pasta", "passt"))]
    os.kill(found[0].pid, signal.SIGKILL)
    until(ask, f"{first.name} sees {first.host}")


@contextlib.contextmanager
def suspended(host: Machine) -> Iterator[None]:
    """Let nothing of the account run, as on a machine that sleeps."""
    pids = [process.pid for process in processes(host.command.account.owns)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("network", [*NETWORKS, THROUGH_PASTA])
def test_laptop_wakes_up_elsewhere(host: Machine, image: str, network: str) -> None:
    rpod, (first, second) = host.command, host.worlds
    make_networks(rpod)
    rpod("run", "-d", "--name", "c", f"--network={network}", image, "sleep", "1000")

    def ask(verb: str, *words: str) -> str:
        return rpod("exec", "c", "timeout", "3", verb, *words, check=False).out

    until(lambda: ask("nslookup", "www.example.org."), first.answer)
    with suspended(host):
        machines.ip(host.pid, "link", "set", first.interface, "down")
        host.go_through(second)
    until(lambda: ask("nc", "-w", "3", SERVICE, str(WEB_PORT)), f"{second.name} sees {second.host}")
    until(lambda: ask("nslookup", "www.example.org."), second.answer)


def test_outbound_addr6_is_what_servers_see(host: Machine, image: str) -> None:
    world = host.worlds[0]
    own = world.host6.replace("::1", "::99")
    machines.ip(host.pid, "address", "add", f"{own}/64", "dev", world.interface, "nodad",
                "preferred_lft", "0")  # fmt: skip # taken only by who asks for it
    has_address = "until ip -6 addr show tap0 | grep -q 'inet6 fd00:'; do sleep 0.1; done"
    ask = f"{has_address}; timeout 3 nc -w 3 {world.address6} {WEB_PORT}"
    for option, expected in ((f",outbound_addr6={own}", own), ("", world.host6)):
        network = f"--network=slirp4netns:enable_ipv6=true{option}"
        out = host.command("run", "--rm", network, image, "sh", "-c", ask, check=False).out
        assert out == f"{world.name} sees {expected}\n"


# --- clients on other machines


@contextlib.contextmanager
def published(host: Machine, image: str, network: str) -> Iterator[int]:
    """Publish a server that tells its client's address, TCP and UDP; give the host's port."""
    look = "cat /proc/net/tcp /proc/net/tcp6 | grep ':0050 .* 01 ' | awk '{print $3}'"
    port = free_port()
    options = ("--name", "web", f"--network={network}", "-p", f"{port}:80", "-p", f"{port}:80/udp")
    host.command("network", "create", "--ipv6", "app")
    host.command("run", "-d", *options, image, "nc", "-ll", "-p", "80", "-e", "sh", "-c", look)
    with inside(host.command, "web", udp_server(80)):
        yield port


def ask_tcp(where: str, port: int) -> str:
    for _ in range(50):
        with contextlib.suppress(OSError):
            with socket.create_connection((where, port), timeout=3) as client:
                text = client.recv(200).decode()
            if text:
                return text
        time.sleep(0.1)
    return ""


def written_out(address: str) -> str:
    """Return an address as proc(5), net/tcp and net/tcp6, has it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = socket.inet_pton(family, address)
    words = (data[at : at + 4][::-1].hex() for at in range(0, len(data), 4))
    return "".join(words).upper()


@pytest.mark.parametrize("network", NETWORKS[:2])
@pytest.mark.parametrize("is_six", [False, True], ids=["ipv4", "ipv6"])
def test_server_sees_clients_of_other_machines(
    host: Machine, image: str, network: str, is_six: bool
) -> None:
    with published(host, image, network) as port:
        for world in host.worlds:
            where = world.host6 if is_six else world.host
            client = world.address6 if is_six else world.address
            seen = world.call(lambda where=where: ask_tcp(where, port))  # type: ignore[misc]
            assert written_out(client) in seen
            told = world.call(lambda where=where: ask_udp(where, port).decode())  # type: ignore[misc]
            assert told == f"hello from {client}"


@needs_pasta
def test_pasta_publishes_datagrams(host: Machine, image: str) -> None:
    with published(host, image, "pasta") as port:
        world = host.worlds[0]
        told = world.call(lambda: ask_udp(world.host, port).decode())
        assert told == f"hello from {world.address}"
