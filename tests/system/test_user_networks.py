"""User-defined networks: made and removed, addresses, names, several at once."""

import contextlib
import json
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.command import Command, is_podman


def only_rpod(arguments: tuple[str, ...]) -> object:
    """Make a case of what podman 4.3 does otherwise."""
    return pytest.param(arguments, marks=pytest.mark.rpod_only)


@pytest.fixture
def net(rpod: Command) -> Iterator[Command]:
    """The command; the networks that the test makes are removed with what is in them."""
    yield rpod
    rpod("rm", "--force", "--all", "--time", "0", check=False)
    rpod("network", "prune", "--force", check=False)


def start(net: Command, image: str, name: str, *options: str) -> None:
    net("run", "-d", "--name", name, *options, image, "sleep", "1000")


def address(net: Command, container: str, network: str = "app") -> str:
    form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return net("inspect", "-f", form, container).out.strip()


def resolve(net: Command, container: str, name: str) -> str:
    """Return what a name stands for inside a container, "" for nothing."""
    done = net("exec", container, "nslookup", name, check=False)
    _, found, rest = done.out.partition("Name:")
    if found:
        return rest.split("Address: ")[1].split()[0]
    _, found, rest = done.out.partition("name = ")
    return rest.split()[0] if found else ""


@contextlib.contextmanager
def host_server(where: str) -> Iterator[int]:
    """Send the address of whoever connects; give the port."""
    with socket.create_server((where, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, peer = server.accept()
                    with connection:
                        connection.sendall(f"you are {peer[0]}\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def host_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("198.51.100.1", 9))
        return str(sock.getsockname()[0])


# --- the networks themselves


def test_network_is_made_listed_and_removed(net: Command) -> None:
    assert net("network", "create", "app").out == "app\n"
    assert "app" in net("network", "ls", "-q").lines
    assert net("network", "exists", "app").code == 0
    assert net("network", "rm", "app").out == "app\n"
    assert net("network", "exists", "app", check=False).code == 1


def test_inspect_shows_what_was_asked_for(net: Command) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.254",
        "--ip-range", "10.77.0.128/25", "--label", "tier=back", "--internal", "--opt", "mtu=1400",
        "app")  # fmt: skip
    document = json.loads(net("network", "inspect", "app").out)[0]
    subnet = document["subnets"][0]
    assert (subnet["subnet"], subnet["gateway"]) == ("10.77.0.0/24", "10.77.0.254")
    assert (document["internal"], document["driver"]) == (True, "bridge")
    assert document["labels"] == {"tier": "back"}
    assert document["options"] == {"mtu": "1400"}
    form = "{{.DNSEnabled}} {{.IPv6Enabled}} {{with index .Subnets 0}}{{.LeaseRange.EndIP}}{{end}}"
    net("network", "create", "--subnet", "10.78.0.0/24", "--ip-range", "10.78.0.0/26", "part")
    assert net("network", "inspect", "-f", form, "part").out == "true false 10.78.0.63\n"


def test_subnets_come_from_the_pool(net: Command) -> None:
    for name in ("one", "two"):
        net("network", "create", name)
    subnets = {
        json.loads(net("network", "inspect", name).out)[0]["subnets"][0]["subnet"]
        for name in ("one", "two")
    }
    assert len(subnets) == 2
    assert all(subnet.startswith("10.") and subnet.endswith("/24") for subnet in subnets)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--subnet", "10.77.0.0/99", "x"),
        ("--subnet", "10.77.0.0", "x"),
        ("--subnet", "10.77.0.0/24", "--gateway", "10.78.0.1", "x"),
        ("--subnet", "10.77.0.0/24", "--ip-range", "10.78.0.0/25", "x"),
        ("--gateway", "10.77.0.1", "x"),
        ("--subnet", "127.0.0.0/8", "x"),
        only_rpod(("--opt", "mtu=1", "x")),  # podman takes it
        ("--opt", "colour=red", "x"),
        ("--driver", "nonsense", "x"),
        ("../x",),
        ("a b",),
        ("host",),
    ],
    ids=" ".join,
)
def test_bad_network_is_refused_and_not_made(net: Command, arguments: tuple[str, ...]) -> None:
    before = net("network", "ls", "-q").lines
    done = net("network", "create", *arguments, check=False)
    assert done.code == 125, done.told
    assert done.err.startswith("Error: "), done.told
    assert net("network", "ls", "-q").lines == before


def test_overlapping_subnet_is_refused(net: Command) -> None:
    net("network", "create", "--subnet", "10.77.0.0/16", "one")
    done = net("network", "create", "--subnet", "10.77.3.0/24", "two", check=False)
    assert done.code == 125
    assert "already used" in done.err


def test_network_in_use_is_kept(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "box", "--network", "app")
    done = net("network", "rm", "app", check=False)
    assert done.code == 2
    assert "has associated containers with it" in done.err
    assert net("network", "rm", "--force", "--time", "0", "app").out == "app\n"
    assert net("ps", "-aq").lines == []


def test_missing_network_is_named(net: Command, image: str) -> None:
    done = net("run", "--rm", "--network", "gone", image, "true", check=False)
    assert done.code == 125
    assert "network not found" in done.err
    assert net("network", "rm", "gone", check=False).code == 1


def test_prune_takes_the_unused(net: Command, image: str) -> None:
    for name in ("used", "unused"):
        net("network", "create", name)
    net("create", "--network", "used", image)
    assert "unused" in net("network", "prune", "--force").out
    names = net("network", "ls", "-q").lines
    assert "used" in names and "unused" not in names


# --- containers in them


def test_container_has_address_route_and_name_server(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    script = "ip -4 addr show eth0; ip route; cat /etc/resolv.conf /etc/hosts"
    done = net("run", "--rm", "--name", "box", "--network", "app", image, "sh", "-c", script)
    assert "inet 10.77.0.2/24" in done.out
    assert "default via 10.77.0.1" in done.out
    assert "nameserver 10.77.0.1" in done.out
    assert "search dns.podman" in done.out
    assert any(line.startswith("10.77.0.2") and "box" in line for line in done.lines)


def test_addresses_are_given_as_asked(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64", "app")
    asked = "app:ip=10.77.0.9,ip6=fd77::9,mac=02:00:00:00:00:09,interface_name=net9"
    done = net("run", "--rm", "--network", asked, image, "ip", "addr", "show", "net9")
    for text in ("10.77.0.9/24", "fd77::9/64", "02:00:00:00:00:09"):
        assert text in done.out


@pytest.mark.parametrize(
    "options",
    [
        only_rpod(("--network", "app", "--ip", "10.99.0.1")),  # podman leaves slirp4netns running
        pytest.param(
            ("--network", "app", "--ip", "10.77.0.1"), marks=pytest.mark.rpod_only
        ),  # podman gives it
        ("--network", "app", "--ip", "nonsense"),
        ("--network", "app:ip=10.77.0.2,colour=red"),
        only_rpod(
            ("--network", "app", "--mac-address", "01:00:00:00:00:01")
        ),  # podman leaves slirp4netns running
        pytest.param(
            ("--network", "app", "--network", "app"), marks=pytest.mark.rpod_only
        ),  # podman takes the last
        ("--network", "app", "--network", "host"),
        ("--network", "none", "--ip", "10.77.0.2"),
        pytest.param(
            ("--network", "app", "--network-alias", "no good"), marks=pytest.mark.rpod_only
        ),  # podman takes it
    ],
    ids=" ".join,
)
def test_bad_attachment_is_refused(net: Command, image: str, options: tuple[str, ...]) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    done = net("run", "--rm", *options, image, "true", check=False)
    assert done.code == 125, done.told
    assert net("ps", "-aq").lines == []


def test_taken_address_names_its_owner(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    start(net, image, "first", "--network", "app", "--ip", "10.77.0.5")
    options = ("--network", "app", "--ip", "10.77.0.5")
    done = net("run", "--rm", *options, image, "true", check=False)
    assert done.code != 0
    assert "already" in done.err or "requested ip" in done.err
    net("rm", "-f", "-t", "0", "first")
    assert net("run", "--rm", *options, image, "true").code == 0


def test_full_network_says_so_and_recovers(net: Command, image: str) -> None:
    net("network", "create", "--subnet", "10.77.0.0/30", "app")
    start(net, image, "only", "--network", "app")
    done = net("run", "--rm", "--network", "app", image, "true", check=False)
    assert done.code != 0
    net("rm", "-f", "-t", "0", "only")
    assert net("run", "--rm", "--network", "app", image, "true").code == 0


def test_containers_talk_and_find_each_other(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app")
    start(net, image, "b", "--network", "app", "--network-alias", "web", "--hostname", "bhost")
    own = address(net, "b")
    short = net("inspect", "-f", "{{.Id}}", "b").out[:12]
    # podman 4.3 does not know the hostname.
    for name in ("b", "web", short, "b.dns.podman", *(() if is_podman() else ("bhost",))):
        assert resolve(net, "a", name) == own, name
    assert resolve(net, "a", own) == "b"
    assert resolve(net, "a", "nobody") == ""
    net("exec", "-d", "b", "sh", "-c", "echo hello | nc -l -p 99")
    script = "for i in 1 2 3 4 5 6 7 8 9; do nc -w 2 web 99 </dev/null && break; sleep 0.2; done"
    assert net("exec", "a", "sh", "-c", script).out == "hello\n"
    net("rm", "-f", "-t", "0", "b")
    assert resolve(net, "a", "web") == ""


@pytest.mark.rpod_only  # podman 4.3 does not find the new name
def test_name_follows_a_rename_and_a_restart(net: Command, image: str) -> None:
    net("network", "create", "app")
    start(net, image, "a", "--network", "app")
    start(net, image, "b", "--network", "app")
    net("rename", "b", "c")
    assert resolve(net, "a", "c") == address(net, "c")
    net("restart", "-t", "0", "c")
    assert resolve(net, "a", "c") == address(net, "c")


@pytest.mark.rpod_only  # podman 4.3 does not find the first network's names
def test_container_in_two_networks(net: Command, image: str) -> None:
    for name in ("front", "back"):
        net("network", "create", name)
    start(net, image, "web", "--network", "front")
    start(net, image, "app", "--network", "front", "--network", "back")
    start(net, image, "db", "--network", "back")
    links = net("exec", "app", "ls", "/sys/class/net").lines
    assert {"eth0", "eth1"} <= set(links)
    assert resolve(net, "app", "web") == address(net, "web", "front")
    assert resolve(net, "app", "db") == address(net, "db", "back")
    assert resolve(net, "web", "db") == ""


def test_connect_and_disconnect_while_it_runs(net: Command, image: str) -> None:
    for name in ("front", "back"):
        net("network", "create", name)
    start(net, image, "web", "--network", "front")
    start(net, image, "db", "--network", "back")
    assert resolve(net, "db", "web") == ""
    net("network", "connect", "--alias", "www", "back", "web")
    own = address(net, "web", "back")
    assert resolve(net, "db", "www") == own
    assert own in net("exec", "web", "cat", "/etc/hosts").out
    assert own in net("exec", "web", "ip", "-4", "addr").out
    done = net("network", "connect", "back", "web", check=False)
    assert done.code == 125
    net("network", "disconnect", "back", "web")
    assert resolve(net, "db", "www") == ""
    assert own not in net("exec", "web", "cat", "/etc/hosts").out
    assert own not in net("exec", "web", "ip", "-4", "addr").out
    assert net("network", "disconnect", "back", "web", check=False).code == 125


def test_connected_while_stopped_has_it_at_the_start(net: Command, image: str) -> None:
    for name in ("front", "back"):
        net("network", "create", name)
    net("create", "--name", "web", "--network", "front", image, "sleep", "1000")
    net("network", "connect", "back", "web")
    net("start", "web")
    assert address(net, "web", "back")


def test_three_services(net: Command, image: str) -> None:
    """A client, a front that only it reaches, a store that only the front reaches."""
    net("network", "create", "outer")
    net("network", "create", "--internal", "inner")
    serve = "while :; do {} | nc -l -p 80; done"
    net("run", "-d", "--name", "store", "--network", "inner", image, "sh", "-c",
        serve.format("echo 42"))  # fmt: skip
    front = serve.format('echo "the store says $(nc -w 3 store 80 </dev/null)"')
    net("run", "-d", "--name", "front", "--network", "outer", "--network", "inner", image, "sh",
        "-c", front)  # fmt: skip
    ask = "for i in 1 2 3 4 5 6 7 8 9; do nc -w 3 {0} 80 </dev/null && break; sleep 0.3; done"
    done = net("run", "--rm", "--network", "outer", image, "sh", "-c", ask.format("front"))
    assert done.out == "the store says 42\n"
    done = net("run", "--rm", "--network", "outer", image, "nc", "-w", "2", "store", "80",
               check=False)  # fmt: skip
    assert done.code != 0


def test_world_is_reached_unless_internal(net: Command, image: str) -> None:
    net("network", "create", "app")
    net("network", "create", "--internal", "closed")
    where = host_address()
    with host_server(where) as port:
        command = ("nc", "-w", "3", where, str(port))
        assert net("run", "--rm", "--network", "app", image, *command).out.startswith("you are")
        done = net("run", "--rm", "--network", "closed", image, *command, check=False)
    assert (done.code != 0, done.out) == (True, "")


# --- a hundred at once


@pytest.mark.rpod_only  # podman 4.3 does not list a network's containers
@pytest.mark.parametrize(
    "count", [pytest.param(8, id="8"), pytest.param(100, id="100", marks=pytest.mark.full)]
)
@pytest.mark.time_limit(900)
def test_random_order_leaks_no_address(net: Command, image: str, count: int) -> None:
    net("network", "create", "--subnet", "10.77.0.0/24", "app")
    choose = random.Random(7)
    running: list[str] = []
    for number in range(count):
        name = f"n{number}"
        start(net, image, name, "--network", "app")
        running.append(name)
        if choose.random() < 0.4:
            gone = running.pop(choose.randrange(len(running)))
            net("rm", "-f", "-t", "0", gone)
    containers = json.loads(net("network", "inspect", "app").out)[0]["containers"]
    addresses = {one["interfaces"]["eth0"]["subnets"][0]["ipnet"] for one in containers.values()}
    assert len(containers) == len(addresses) == len(running)
    first = running[0]
    for name in running:
        assert resolve(net, first, name) == address(net, name)
    choose.shuffle(running)
    for name in running:
        net("rm", "-f", "-t", "0", name)
    assert json.loads(net("network", "inspect", "app").out)[0]["containers"] == {}
