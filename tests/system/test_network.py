"""Networks: slirp4netns, none, host; ports; names."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.command import Command, is_podman
from tests.support.inside import inside
from tests.support.registry import free_port

rpod_only = pytest.mark.skipif(is_podman(), reason="rpod's own")
NETWORK = "--network=slirp4netns"
HOST_LOOPBACK = "--network=slirp4netns:allow_host_loopback=true"


@contextlib.contextmanager
def host_server() -> Iterator[int]:
    """Serve `hello from the host` on loopback; give the port."""

    answer = b"HTTP/1.0 200 OK\r\n\r\nhello from the host"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if not connection.recv(4096):
                        return
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            socket.create_connection(server.getsockname()).close()
            thread.join()


def talk(port: int, timeout_s: float = 20) -> bytes:
    """Connect to a published port until something answers; return what it sends."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                answer = connection.recv(100)
                if answer:
                    return answer
        except OSError:
            pass
        assert time.monotonic() < deadline, f"nothing answers on port {port}"
        time.sleep(0.1)


def test_slirp4netns_gives_an_address(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", NETWORK, image, "ip", "-4", "addr")
    assert "inet 10.0.2.100/24" in done.out
    assert "inet 127.0.0.1/8" in done.out


def test_slirp4netns_gives_a_route_and_a_name_server(rpod: Command, image: str) -> None:
    script = "ip route; cat /etc/resolv.conf"
    done = rpod("run", "--rm", NETWORK, image, "sh", "-c", script)
    assert "default via 10.0.2.2" in done.out
    assert "nameserver 10.0.2.3" in done.out


def test_container_reaches_the_host(rpod: Command, image: str) -> None:
    with host_server() as port:
        done = rpod("run", "--rm", HOST_LOOPBACK, image, "wget", "-qO-", f"http://10.0.2.2:{port}/")
    assert done.out == "hello from the host"


def test_loopback_of_the_host_is_closed_by_default(rpod: Command, image: str) -> None:
    with host_server() as port:
        command = ("wget", "-T", "3", "-qO-", f"http://10.0.2.2:{port}/")
        done = rpod("run", "--rm", NETWORK, image, *command, check=False)
    assert done.code != 0, done.told
    assert done.out == ""


def test_network_none_has_loopback_only(rpod: Command, image: str) -> None:
    done = rpod(
        "run", "--rm", "--network=none", image, "sh", "-c", "ls /sys/class/net; ip addr show lo"
    )
    assert done.lines[0] == "lo"
    assert "127.0.0.1" in done.out


def test_ports_of_a_container_without_network_are_left_out(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--network=none", "-p", "8099:80", image, "true")
    assert done.err != ""


def test_network_none_is_up(rpod: Command, image: str) -> None:
    script = "echo hi | nc -l -p 9000 127.0.0.1 & sleep 0.5; nc -w 2 127.0.0.1 9000 </dev/null"
    assert rpod("run", "--rm", "--network=none", image, "sh", "-c", script).out == "hi\n"


def test_network_host_reaches_loopback(rpod: Command, image: str) -> None:
    with host_server() as port:
        command = ("wget", "-qO-", f"http://127.0.0.1:{port}/")
        assert rpod("run", "--rm", "--network=host", image, *command).out == "hello from the host"


def test_published_port(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo from the container | nc -l -p 8080; done"
    rpod("run", "-d", "--name", "web", NETWORK, "-p", f"{port}:8080", image, "sh", "-c", script)
    assert talk(port) == b"from the container\n"


def test_published_port_on_one_address(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    publish = f"127.0.0.1:{port}:80/tcp"
    rpod("run", "-d", "--name", "web", NETWORK, "-p", publish, image, "sh", "-c", script)
    assert talk(port) == b"hi\n"
    assert rpod("port", "web").out == f"80/tcp -> 127.0.0.1:{port}\n"
    assert rpod("port", "web", "80").out == f"127.0.0.1:{port}\n"


def test_random_published_port_is_told(rpod: Command, image: str) -> None:
    script = "while :; do echo hi | nc -l -p 80; done"
    rpod("run", "-d", "--name", "web", NETWORK, "-p", "80", image, "sh", "-c", script)
    port = int(rpod("port", "web", "80/tcp").out.strip().rpartition(":")[2])
    assert talk(port) == b"hi\n"
    assert f"0.0.0.0:{port}->80/tcp" in rpod("ps", "--format", "{{.Ports}}").out


def test_published_port_is_free_again(rpod: Command, image: str) -> None:
    port = free_port()
    arguments = (NETWORK, "-p", f"127.0.0.1:{port}:80", image)
    rpod("run", "--rm", *arguments, "true")
    deadline = time.monotonic() + 5
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                break
            except OSError:
                assert time.monotonic() < deadline, "still taken"
        time.sleep(0.1)


def test_taken_port_is_named(rpod: Command, image: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        publish = f"127.0.0.1:{port}:80"
        done = rpod("run", "--rm", NETWORK, "-p", publish, image, "true", check=False)
    assert done.code in (125, 126), done.told
    assert str(port) in done.err


@pytest.mark.parametrize("publish", ["x:80", "80:y", "70000:80", "1:2:3:4", "80:80/icmp"])
def test_bad_port_is_refused(rpod: Command, image: str, publish: str) -> None:
    done = rpod("run", "--rm", "-p", publish, image, "true", check=False)
    assert done.code == 125, done.told
    assert done.err.startswith("Error: ")


def test_add_host(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--add-host", "other:1.2.3.4", image, "cat", "/etc/hosts")
    assert ["1.2.3.4", "other"] in [line.split() for line in done.lines]


@rpod_only
def test_host_gateway_is_the_hosts_address(rpod: Command, image: str) -> None:
    options = ("--add-host", "gate:host-gateway", "--add-host=host.docker.internal:host-gateway")
    done = rpod("run", "--rm", *options, image, "cat", "/etc/hosts")
    found = {name: line.split()[0] for line in done.lines for name in line.split()[1:]}
    assert found["gate"] == found["host.containers.internal"] == found["host.docker.internal"]


def test_ranges_and_exposed_ports_are_shown(rpod: Command, image: str) -> None:
    first = free_port()
    ports = (f"-p={first}:80", f"-p=127.0.0.1:{first + 1}-{first + 3}:90-92", "--expose=99")
    rpod("run", "-d", "--name", "c", NETWORK, *ports, image, "sleep", "1000")
    shown = f"0.0.0.0:{first}->80/tcp, 127.0.0.1:{first + 1}-{first + 3}->90-92/tcp"
    assert rpod("ps", "--format", "{{.Ports}}").out == f"{shown}\n"
    seen = json.loads(rpod("inspect", "-f", "{{json .NetworkSettings.Ports}}", "c").out)
    assert seen["99/tcp"] is None
    assert seen["80/tcp"] == [{"HostIp": "", "HostPort": f"{first}"}]


def test_dns_options(rpod: Command, image: str) -> None:
    options = ("--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3")
    found = rpod("run", "--rm", *options, image, "cat", "/etc/resolv.conf").lines
    assert "nameserver 9.9.9.9" in found
    assert "search example.org" in found
    assert "options ndots:3" in found


@rpod_only  # podman 4.3 writes them once
@pytest.mark.parametrize("name", ["hosts", "resolv.conf"])
def test_names_follow_the_host_at_each_start(rpod: Command, image: str, name: str) -> None:
    options = ("--name", "names", "--add-host", "other:1.2.3.4", "--dns-search", "example.org")
    rpod("create", *options, image, "cat", f"/etc/{name}")
    field = "{{.HostsPath}}" if name == "hosts" else "{{.ResolvConfPath}}"
    path = rpod("inspect", "--format", field, "names").out.strip()
    assert rpod.shell(f"cat {path}").out == ""
    first = rpod("start", "-a", "names").out
    assert ("1.2.3.4\tother" if name == "hosts" else "search example.org") in first
    rpod.shell(f"echo of another time > {path}")
    assert rpod("start", "-a", "names").out == first


@pytest.mark.parametrize(
    "option", [("--add-host", "other:1.2.3.4.5"), ("--dns", "nine"), ("--dns-search", "a b")]
)
def test_wrong_names_are_refused_before_anything_is_made(
    rpod: Command, image: str, option: tuple[str, str]
) -> None:
    done = rpod("create", "--name", "names", *option, image, "true", check=False)
    assert done.code == 125, done.told
    assert option[1].removeprefix("other:") in done.err
    assert rpod("ps", "-aq").out == ""


def test_ping_sockets_are_open_to_the_group_of_root(rpod: Command, image: str) -> None:
    script = ("cat", "/proc/sys/net/ipv4/ping_group_range")
    assert rpod("run", "--rm", NETWORK, image, *script).out.split()[0] == "0"


def test_unknown_network_is_refused(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--network", "no-such-network", image, "true", check=False)
    assert done.code == 125, done.told
    assert "no-such-network" in done.err


@rpod_only
def test_port_is_published_on_a_running_container(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    rpod("run", "-d", "--name", "web", NETWORK, image, "sh", "-c", script)
    added = rpod("port", "add", "web", f"127.0.0.1:{port}:80")
    assert added.out == f"80/tcp -> 127.0.0.1:{port}\n"
    assert talk(port) == b"hi\n"
    assert rpod("port", "web").out == added.out
    assert f"127.0.0.1:{port}->80/tcp" in rpod("ps", "--format", "{{.Ports}}").out
    rpod("port", "rm", "web", "80")
    assert rpod("port", "web").out == ""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@rpod_only
def test_container_that_has_the_port_is_named(rpod: Command, image: str) -> None:
    port = free_port()
    rpod("run", "-d", "--name", "first", NETWORK, "-p", f"{port}:80", image, "sleep", "60")
    done = rpod("run", "--rm", NETWORK, "-p", f"{port}:81", image, "true", check=False)
    assert done.code == 125
    assert "address already in use by container first" in done.err
    added = rpod("port", "add", "first", f"{port}:82", check=False)
    assert "address already in use by container first" in added.err


def forwarders(rpod: Command, name: str) -> list[int]:
    """Return the forwarders of a container: the forks of its monitor."""
    monitor = rpod("inspect", "--format", "{{.State.ConmonPid}}", name).out.strip()
    with open(f"/proc/{monitor}/task/{monitor}/children", encoding="ascii") as file:
        children = file.read().split()
    found = []
    for child in children:
        with open(f"/proc/{child}/cmdline", "rb") as file:
            if b"rootless.container.keeper" in file.read():
                found.append(int(child))
    return found


@rpod_only
def test_port_that_nobody_uses_has_no_forwarder(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    publish = f"127.0.0.1:{port}:80"
    rpod("run", "-d", "--name", "web", NETWORK, "-p", publish, image, "sh", "-c", script)
    assert forwarders(rpod, "web") == []
    assert talk(port) == b"hi\n"
    assert len(forwarders(rpod, "web")) == 1


def own_memory_kib(pid: int) -> int:
    """Return what of a process' memory is no file's (proc(5), smaps)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


@rpod_only
def test_port_that_was_used_rests_as_it_did_before(rpod: Command, image: str) -> None:
    """After a thousand connections, many of them reset: no forwarder, little in the monitor."""
    port = free_port()
    try:
        publish = f"127.0.0.1:{port}:80"
        rpod("run", "-d", "--name", "web", NETWORK, "-p", publish, image, "sleep", "1000")
        monitor = int(rpod("inspect", "--format", "{{.State.ConmonPid}}", "web").out)
        with inside(rpod, "web", serve_echo):
            before = own_memory_kib(monitor)
            reset = struct.pack("ii", 1, 0)  # struct linger: close is a reset
            for number in range(1000):
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.sendall(b"x")
                    if number % 3:
                        assert connection.recv(1) == b"x"
                    if number % 2:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            assert len(forwarders(rpod, "web")) == 1
            deadline = time.monotonic() + 15
            while forwarders(rpod, "web"):
                assert time.monotonic() < deadline, "the forwarder stays"
                time.sleep(0.2)
            assert own_memory_kib(monitor) < before + 768
            assert talk_echo(port) == b"y"
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)


def talk_echo(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"y")
        return connection.recv(1)


@rpod_only
def test_killed_forwarder_comes_back(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    publish = f"127.0.0.1:{port}:80"
    rpod("run", "-d", "--name", "web", NETWORK, "-p", publish, image, "sh", "-c", script)
    for _ in range(3):
        assert talk(port) == b"hi\n"
        (forwarder,) = forwarders(rpod, "web")
        os.kill(forwarder, signal.SIGKILL)
    assert talk(port) == b"hi\n"


def serve_echo(ready: Callable[[], None]) -> None:
    """Send back what each of several clients sends."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    with socket.create_server(("", 80), backlog=100) as server:
        ready()
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


@rpod_only
@pytest.mark.parametrize("network", ["slirp4netns", "app"])
def test_forwarder_killed_under_traffic_costs_no_other_connection(
    rpod: Command, image: str, network: str
) -> None:
    """What it carries is cut off; whoever connects meanwhile waits, and is served."""
    port = free_port()

    try:
        rpod("network", "create", "app")
        options = ("--name", "web", f"--network={network}", "-p", f"127.0.0.1:{port}:80")
        rpod("run", "-d", *options, image, "sleep", "1000")
        with inside(rpod, "web", serve_echo):
            for _ in range(3):
                busy = socket.create_connection(("127.0.0.1", port), timeout=5)
                busy.sendall(b"x")
                assert busy.recv(1) == b"x"
                (forwarder,) = forwarders(rpod, "web")
                os.kill(forwarder, signal.SIGSTOP)  # so that the others wait
                others = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in "abc"]
                os.kill(forwarder, signal.SIGKILL)
                for other in others:
                    other.sendall(b"y")
                    assert other.recv(1) == b"y"
                    other.close()
                with contextlib.suppress(ConnectionResetError):
                    assert busy.recv(1) == b""
                busy.close()
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)
        rpod("network", "prune", "-f", check=False)


@contextlib.contextmanager
def echo_container(rpod: Command, image: str, descriptors: int) -> Iterator[int]:
    """A container that echoes at a published port; rpod may open so many descriptors."""
    port = free_port()
    try:
        rpod.shell(
            f"ulimit -n {descriptors}; $RPOD run -d --name web -p 127.0.0.1:{port}:80"
            f" {NETWORK} {image} sleep 1000"
        )
        with inside(rpod, "web", serve_echo):
            yield port
    finally:
        rpod("rm", "-fa", "-t", "0", check=False)


@rpod_only
def test_idle_connections_cost_two_descriptors(rpod: Command, image: str) -> None:
    """All at once, with descriptors for three of each: everyone is served, and again later."""
    count = 300
    few = echo_container(rpod, image, descriptors=128 + 3 * count)
    with few as port, contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(count)
        ]
        for word in (b"first", b"later"):
            for client in clients:
                client.sendall(word)
            for client in clients:
                assert client.recv(100) == word


@rpod_only
def test_peers_that_never_read_take_only_their_share(rpod: Command, image: str) -> None:
    """Those who read wait at the worst until one of them leaves, and lose nothing."""
    with echo_container(rpod, image, descriptors=160) as port, contextlib.ExitStack() as stack:
        hogs = []
        for _ in range(10):
            hog = stack.enter_context(socket.socket())
            hog.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            hog.settimeout(0.2)
            hog.connect(("127.0.0.1", port))
            hogs.append(hog)
            with contextlib.suppress(TimeoutError):
                while True:
                    hog.sendall(bytes(1 << 16))
        polite = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(5)
        ]
        for client in polite:
            client.sendall(b"hello")
        for hog in hogs:
            hog.close()
        for client in polite:
            assert client.recv(100) == b"hello"


@rpod_only
def test_last_message_and_the_end_come_together(rpod: Command, image: str) -> None:
    """A short message, many of them, or more than a page: what was sent arrives, then the end."""
    with echo_container(rpod, image, descriptors=1024) as port:
        for data in (b"x", b"word " * 20, bytes(4096), bytes(range(256)) * 4096):
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    sender = threading.Thread(target=_send_and_end, args=(client, data))
                    sender.start()
                    assert b"".join(iter(lambda: client.recv(1 << 16), b"")) == data
                    sender.join()


def _send_and_end(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
