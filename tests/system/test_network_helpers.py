"""The helper of a user-defined network: how long it lives, what kills it, what it keeps out."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from slirp.dns_message import answer, parse_query
from tests.support.accounts import processes
from tests.support.command import Command
from tests.support.inside import inside
from tests.support.registry import free_port
from tests.system.test_user_networks import (
    address,
    host_address,
    host_server,
    net,
    resolve,
    start,
)

pytestmark = pytest.mark.rpod_only
__all__ = ["net"]


def helpers(net: Command) -> list[int]:
    return [p.pid for p in processes(net.account.owns) if "networks_helper" in p.command]


def way_out(net: Command) -> list[int]:
    return [p.pid for p in processes(net.account.owns) if p.name == "slirp4netns"]


def until(condition: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_helper_lives_exactly_as_long_as_the_network_is_used(net: Command, image: str) -> None:
    net("network", "create", "app")
    assert helpers(net) == []
    start(net, image, "a", "--network", "app")
    start(net, image, "b", "--network", "app")
    assert len(helpers(net)) == len(way_out(net)) == 1
    net("rm", "-f", "-t", "0", "a")
    assert len(helpers(net)) == 1
    net("rm", "-f", "-t", "0", "b")
    until(lambda: not helpers(net) and not way_out(net), "the helper outlives the network")


def test_helper_that_is_killed_comes_back(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app")
    start(net, image, "b", "--network", "app")
    # A connection that is open all the time goes on.
    net("exec", "-d", "b", "sh", "-c", "sleep 60 | nc -l -p 99 >/tmp/got")
    listening = ("exec", "b", "sh", "-c", "grep -c :0063 /proc/net/tcp /proc/net/tcp6")
    until(lambda: ":1" in net(*listening, check=False).out, "nobody listens")
    net("exec", "-d", "a", "sh", "-c", "for i in $(seq 40); do echo $i; sleep 0.1; done | nc b 99")
    until(lambda: net("exec", "b", "cat", "/tmp/got").lines != [], "nothing comes")
    for _ in range(2):
        (old,) = helpers(net)
        os.kill(old, signal.SIGKILL)
        until(lambda old=old: helpers(net) not in ([], [old]), "no helper came back")  # type: ignore[misc]
        until(lambda: resolve(net, "a", "b") == address(net, "b"), "no names")
    until(lambda: len(helpers(net)) == len(way_out(net)) == 1, "not one of each")
    where = host_address()
    with host_server(where) as port:
        done = net("exec", "a", "nc", "-w", "3", where, str(port))
        assert done.out.startswith("you are")
    until(lambda: net("exec", "b", "cat", "/tmp/got").lines[-1:] == ["40"], "traffic was cut off")


def test_way_out_that_is_killed_comes_back(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app")
    (old,) = way_out(net)
    os.kill(old, signal.SIGKILL)
    until(lambda: way_out(net) not in ([], [old]), "slirp4netns did not come back")
    where = host_address()
    with host_server(where) as port:
        command = ("exec", "a", "nc", "-w", "3", where, str(port))
        until(lambda: net(*command, check=False).out.startswith("you are"), "no way out")


def test_killed_monitor_gives_its_address_back(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/30", "app")
    start(net, image, "a", "--network", "app")
    os.kill(int(net("inspect", "-f", "{{.State.ConmonPid}}", "a").out), signal.SIGKILL)
    until(lambda: not helpers(net), "the helper outlives the container")
    assert net("run", "--rm", "--network", "app", image, "true").code == 0


def test_host_loopback_and_other_networks_cannot_be_reached(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    net("network", "create", "--subnet", "10.78.0.0/24", "other")
    start(net, image, "victim", "--network", "other")
    net("exec", "-d", "victim", "sh", "-c", "while :; do echo reached | nc -l -p 99; done")
    start(net, image, "a", "--network", "app", "--cap-add=NET_ADMIN,NET_RAW")
    with host_server("127.0.0.1") as port:
        # Also with a route that says where to go: the gateway forwards into no other network.
        net("exec", "a", "ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.1", check=False)
        for target in (
            ("127.0.0.1", str(port)), ("10.77.0.1", str(port)), ("10.0.2.2", str(port)),
            (address(net, "victim", "other"), "99"), ("10.78.0.1", "53"),
        ):  # fmt: skip
            done = net("exec", "a", "sh", "-c", f"nc -w 2 {' '.join(target)} </dev/null",
                       check=False)  # fmt: skip
            assert done.out == "", (target, done.told)
    # It was there all the time.
    done = net("run", "--rm", "--network", "other", image, "nc", "-w", "3", "victim", "99")
    assert done.out == "reached\n"


def send_frames(frames: list[bytes]) -> Callable[[Callable[[], None]], None]:
    """Return a body that puts frames on the cable of a container, past its routes and filters."""

    def body(ready: Callable[[], None]) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            ready()
            while True:
                for frame in frames:
                    sock.send(frame)
                time.sleep(0.01)

    return body


def udp_frame(
    gateway: bytes, own: bytes, source: str, target: str, port: int, data: bytes = b"hostile"
) -> bytes:
    """Return Ethernet, IPv4 and UDP (RFC 894, 791, 768) around some bytes."""
    udp = struct.pack("!HHHH", 999, port, 8 + len(data), 0) + data
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + checksum.to_bytes(2, "big") + head[12:]
    return b"".join((gateway, own, b"\x08\x00", head, udp))


def hears(net: Command, container: str, word: bytes, seconds: float) -> str:
    """Return whether a word comes by in a container, on any interface, in that time."""
    heard = tempfile.mkdtemp(dir=net.account.home)
    os.chown(heard, net.account.uid, net.account.gid)

    def body(ready: Callable[[], None]) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
            ready()
            while word not in sock.recv(4096):
                continue
            with open(f"{heard}/word", "wb"):
                pass
            time.sleep(100)

    try:
        with inside(net, container, body):
            time.sleep(seconds)
        return "heard" if os.listdir(heard) else "silence"
    finally:
        shutil.rmtree(heard)


@pytest.mark.parametrize("sender", ["own", "forged"])
def test_no_packet_reaches_the_hosts_loopback_or_another_network(
    net: Command, image: str, sender: str
) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    net("network", "create", "--subnet", "10.78.0.0/24", "other")
    start(net, image, "victim", "--network", "other")
    start(net, image, "mate", "--network", "app")
    start(net, image, "bad", "--network", "app", "--cap-add=NET_RAW,NET_ADMIN")
    net("exec", "bad", "ping", "-c", "1", "10.77.0.1")
    (line,) = (x for x in net("exec", "bad", "cat", "/proc/net/arp").lines if "10.77.0.1 " in x)
    gateway = bytes.fromhex(line.split()[3].replace(":", ""))
    link = net("exec", "bad", "cat", "/sys/class/net/eth0/address").out.strip()
    own = bytes.fromhex(link.replace(":", ""))
    source = address(net, "bad") if sender == "own" else "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        targets = ["127.0.0.1", "10.0.2.2", "10.77.0.1", "10.78.0.1",
                   address(net, "victim", "other")]  # fmt: skip
        frames = [udp_frame(gateway, own, source, target, port) for target in targets]
        everybody = udp_frame(b"\xff" * 6, own, source, "255.255.255.255", port)
        with inside(net, "bad", send_frames([*frames, everybody])):
            # It is really sent: whoever is on the same cable hears it.
            assert hears(net, "mate", b"hostile", 0.5) == "heard"
            assert hears(net, "victim", b"hostile", 1.0) == "silence"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


def flood(where: str) -> Callable[[Callable[[], None]], None]:
    """Return a body that sends questions and nonsense to a name server as fast as it can."""

    def body(ready: Callable[[], None]) -> None:
        good = b"\1\2\1\0\0\1\0\0\0\0\0\0\1b\0\0\1\0\1"
        other = good.replace(b"\1b\0", b"\7example\3org\0")
        endless = b"\1\2\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"  # a name that is itself
        packets = [good, other, endless, b"", good[:7], os.urandom(60), good + os.urandom(3000)]
        held: list[socket.socket] = []
        for _ in range(100):  # clients that say nothing, half a question, or never read
            sock = socket.create_connection((where, 53), timeout=5)
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.send(b"" if len(held) % 2 else b"\0\x13" + good[:5])
                sock.send((b"\0\x13" + good) * 5000 if len(held) % 3 == 0 else b"")
            held.append(sock)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((where, 53))
            ready()
            while True:
                for packet in packets:
                    with contextlib.suppress(OSError):
                        sock.send(packet)

    return body


def test_flood_and_nonsense_for_the_name_server_are_survived(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app")
    start(net, image, "bad", "--network", "app")
    gateway = net("inspect", "-f", '{{(index .NetworkSettings.Networks "app").Gateway}}', "a")
    where = gateway.out.strip()
    (helper,) = helpers(net)
    before_s = cpu_s(helper)
    with inside(net, "bad", flood(where)):
        for _ in range(5):
            assert resolve(net, "a", "bad") == address(net, "bad")
            time.sleep(0.2)
        used_s = cpu_s(helper) - before_s
    assert helpers(net) == [helper]
    assert resolve(net, "a", "bad") == address(net, "bad")
    assert rss_mib(helper) < 30
    assert used_s < 2.0, "the flood takes the processor"


def forge(gateway: bytes, own: bytes, where: str) -> Callable[[Callable[[], None]], None]:
    """Return a body that asks a name server in the names of others, each another one."""
    question = b"\1\2\1\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1"
    senders = [f"198.51.{number >> 8 & 255}.{number & 255}" for number in range(6000)]
    frames = [udp_frame(gateway, own, one, where, 53, question) for one in senders]

    def body(ready: Callable[[], None]) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            ready()
            while True:
                for frame in frames:
                    sock.send(frame)

    return body


def test_forged_senders_cost_the_name_server_nothing(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    start(net, image, "a", "--network", "app")
    start(net, image, "bad", "--network", "app", "--cap-add=NET_RAW")
    net("exec", "bad", "ping", "-c", "1", "10.77.0.1")
    (line,) = (x for x in net("exec", "bad", "cat", "/proc/net/arp").lines if "10.77.0.1 " in x)
    gateway = bytes.fromhex(line.split()[3].replace(":", ""))
    link = net("exec", "bad", "cat", "/sys/class/net/eth0/address").out.strip()
    (helper,) = helpers(net)
    before_s = cpu_s(helper)
    with inside(net, "bad", forge(gateway, bytes.fromhex(link.replace(":", "")), "10.77.0.1")):
        for _ in range(3):
            assert resolve(net, "a", "bad") == address(net, "bad")
            time.sleep(0.3)
    assert cpu_s(helper) - before_s < 0.2


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextlib.contextmanager
def name_server(host: str) -> Iterator[None]:
    """Answer every question with 198.51.100.7 on port 53 of a loopback address."""
    if os.getuid() != 0:
        pytest.skip("only root may listen on port 53")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((host, 53))
        pid = os.fork()
        if pid == 0:
            while True:
                data, peer = server.recvfrom(4096)
                query = parse_query(data)
                server.sendto(answer(query, [b"\xc6\x33\x64\x07"] if query.kind == 1 else []), peer)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_other_names_are_asked_for_where_the_network_says(net: Command, image: str) -> None:
    with name_server("127.0.0.77"):
        net("network", "create", "--dns", "127.0.0.77", "app")
        start(net, image, "a", "--network", "app")
        assert resolve(net, "a", "www.example.org.") == "198.51.100.7"
        net("network", "update", "--dns-drop", "127.0.0.77", "--dns-add", "127.0.0.78", "app")
        assert resolve(net, "a", "www.example.org.") == ""
        net("network", "update", "--dns-add", "127.0.0.77", "app")
        assert resolve(net, "a", "www.example.org.") == "198.51.100.7"


def test_reload_makes_a_lost_interface_again(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app", "--cap-add=NET_ADMIN")
    start(net, image, "b", "--network", "app")
    before = address(net, "a")
    net("exec", "a", "ip", "link", "del", "eth0", check=False)
    net("network", "reload", "a")
    assert before in net("exec", "a", "ip", "-4", "addr", "show", "eth0").out
    assert address(net, "a") == before
    assert resolve(net, "a", "b") == address(net, "b")


def test_published_port_keeps_the_clients_address(net: Command, image: str) -> None:
    for name in ("app", "back"):
        net("network", "create", name)
    # What the server sees of its client: the remote address in proc(5), net/tcp6.
    look = "cat /proc/net/tcp /proc/net/tcp6 | grep ':0050 .* 01 ' | awk '{print $3}'"
    port = free_port()
    options = ("--name", "web", "--network", "app", "-p", f"{port}:80")
    net("run", "-d", *options, image, "nc", "-ll", "-p", "80", "-e", "sh", "-c", look)
    where = host_address()
    seen = "".join(f"{int(part):02X}" for part in reversed(where.split(".")))

    def ask() -> str:
        try:
            with socket.create_connection((where, port), timeout=3) as client:
                return client.recv(200).decode()
        except OSError:
            return ""

    until(lambda: f"{seen}:" in ask(), "the client's address is not seen")
    assert net("port", "web").out == f"80/tcp -> 0.0.0.0:{port}\n"
    # The container gets another address: the port leads there.
    net("network", "connect", "back", "web")
    net("network", "disconnect", "app", "web")
    until(lambda: f"{seen}:" in ask(), "the port did not follow")


def echo(ready: Callable[[], None]) -> None:
    """Answer every datagram, and every connection, on port 99 with the sender's address."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", 99))
    with socket.create_server(("", 99)) as tcp:
        ready()
        while True:
            for one in select.select([udp, tcp], [], [])[0]:
                if one is tcp:
                    connection, peer = tcp.accept()
                    connection.sendall(peer[0].encode())
                    connection.close()
                else:
                    peer = udp.recvfrom(100)[1]
                    udp.sendto(peer[0].encode(), peer)


def answers(where: tuple[str, int]) -> list[str]:
    """Return what a client of both protocols is told."""
    with socket.create_connection(where, timeout=5) as tcp:
        found = [tcp.recv(100).decode()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(b"who", where)
        return [*found, udp.recv(100).decode()]


def test_neighbours_reach_a_port_that_is_published_and_in_use(net: Command, image: str) -> None:
    """In every network of the container, in one that comes later, too."""
    for name in ("one", "two", "three"):
        net("network", "create", name)
    ports = ("-p", "127.0.0.1::99", "-p", "127.0.0.1::99/udp")
    start(net, image, "web", "--network=one", "--network=two", *ports)
    for name in ("one", "two", "three"):
        start(net, image, f"of-{name}", f"--network={name}")
    tcp, udp = (int(net("port", "web", text).out.rpartition(":")[2]) for text in ("99", "99/udp"))

    def told_of(name: str) -> list[str]:
        where = (address(net, "web", name), 99)
        reader, writer = os.pipe()

        def ask(ready: Callable[[], None]) -> None:
            os.write(writer, json.dumps(answers(where)).encode())
            ready()
            signal.pause()

        with inside(net, f"of-{name}", ask), os.fdopen(reader, "rb", buffering=0) as file:
            os.close(writer)
            return [str(word) for word in json.loads(file.read(1000))]

    with inside(net, "web", echo):
        with socket.create_connection(("127.0.0.1", tcp), timeout=5) as connection:
            gateway = connection.recv(100).decode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(b"who", ("127.0.0.1", udp))
            assert client.recv(100).decode() == gateway
        for name in ("one", "two"):
            assert told_of(name) == [address(net, f"of-{name}", name)] * 2
        net("network", "connect", "three", "web")
        assert told_of("three") == [address(net, "of-three", "three")] * 2
        with socket.create_connection(("127.0.0.1", tcp), timeout=5) as connection:
            assert connection.recv(100).decode() == gateway
