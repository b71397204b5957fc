"""--publish and --expose as podman and docker have them."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.errors import InvalidPort, PortUnavailable
from slirp.model import PortMapping, ports_column
from slirp.ports import (
    check_host_port,
    choose_host_ports,
    parse_exposed,
    parse_publish,
    parse_publish_all,
    publish_exposed,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("80", [("", 0, 80, "tcp")], id="container-port"),
        pytest.param("8080:80", [("", 8080, 80, "tcp")], id="both"),
        pytest.param(":80", [("", 0, 80, "tcp")], id="empty-host-port"),
        pytest.param("0:80", [("", 0, 80, "tcp")], id="host-port-zero"),
        pytest.param("127.0.0.1:8080:80", [("127.0.0.1", 8080, 80, "tcp")], id="address"),
        pytest.param("127.0.0.1::80", [("127.0.0.1", 0, 80, "tcp")], id="address-random"),
        pytest.param("53:53/udp", [("", 53, 53, "udp")], id="udp"),
        pytest.param("53:53/UDP", [("", 53, 53, "udp")], id="upper-case"),
        pytest.param(
            "53:53/tcp,udp", [("", 53, 53, "tcp"), ("", 53, 53, "udp")], id="both-protocols"
        ),
        pytest.param("[::1]:8080:80", [("::1", 8080, 80, "tcp")], id="ipv6"),
        pytest.param("[0:0::1]:8080:80/udp", [("::1", 8080, 80, "udp")], id="ipv6-shortened"),
        pytest.param("[::]::80", [("::", 0, 80, "tcp")], id="ipv6-random"),
        pytest.param("[::1]:80", [("::1", 0, 80, "tcp")], id="ipv6-container-port"),
        pytest.param(
            "8000-8001:80-81", [("", 8000, 80, "tcp"), ("", 8001, 81, "tcp")], id="ranges"
        ),
        pytest.param("80-81", [("", 0, 80, "tcp"), ("", 0, 81, "tcp")], id="range-random"),
        pytest.param("1-1:65535", [("", 1, 65535, "tcp")], id="range-of-one"),
    ],
)
def test_publish_is_parsed(text: str, expected: list[tuple[str, int, int, str]]) -> None:
    assert list(parse_publish(text)) == [PortMapping(*entry) for entry in expected]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "container port is missing"),
        ("8080:", "container port is missing"),
        ("0:0", "not between 1 and 65535"),
        ("8080:65536", "not between 1 and 65535"),
        ("8080:٣", "not between 1 and 65535"),
        ("8080:0080000", "not between 1 and 65535"),
        ("a:80", "host port 'a'"),
        (":1:80", "host address is empty"),
        ("localhost:1:80", "'localhost' is not an IP address"),
        ("1.2.3:1:80", "not an IP address"),
        ("::1:1:80", "too many colons"),
        ("[::1]8080:80", "followed by a colon"),
        ("[::1:8080:80", "followed by a colon"),
        ("[::1]:1:2:3", "too many colons"),
        ("[127.0.0.1]:1:2", "not an IP address"),
        ("8000-8002:80-81", "3 host ports for 2 container ports"),
        ("8000-8001:80", "2 host ports for 1 container ports"),
        ("8001-8000:80-81", "ends before it begins"),
        ("80-:80", "host port is missing"),
        ("80:80/sctp", "sctp cannot be forwarded"),
        ("80:80/", "unknown protocol ''"),
        ("80:80/icmp", "unknown protocol 'icmp'"),
    ],
)
def test_publish_refuses(text: str, reason: str) -> None:
    with pytest.raises(InvalidPort) as caught:
        parse_publish(text)
    assert reason in caught.value.message
    assert f"publish {text}:" in caught.value.message


@given(st.text(alphabet="0123456789:-/[].abct ", max_size=40))
def test_publish_of_any_text_gives_valid_ports_or_the_error(text: str) -> None:
    try:
        mappings = parse_publish(text)
    except InvalidPort as error:
        assert text in error.message
        return
    assert mappings
    for mapping in mappings:
        assert 1 <= mapping.container_port <= 65535
        assert 0 <= mapping.host_port <= 65535
        assert mapping.protocol in ("tcp", "udp")


@given(
    st.sampled_from(["", "127.0.0.1", "10.1.2.3", "::1", "fe80::1"]),
    st.integers(1, 65000),
    st.integers(1, 65000),
    st.integers(1, 500),
    st.sampled_from(["tcp", "udp"]),
)
def test_publish_reads_what_is_written(
    address: str, host: int, container: int, count: int, protocol: str
) -> None:
    prefix = f"[{address}]:" if ":" in address else address and f"{address}:"
    span = f"{host}-{host + count - 1}:{container}-{container + count - 1}"
    assert parse_publish(f"{prefix}{span}/{protocol}") == tuple(
        PortMapping(address, host + offset, container + offset, protocol) for offset in range(count)
    )


def test_same_publish_twice_counts_once() -> None:
    assert len(parse_publish_all(["8080:80", "8080:80"])) == 1


def test_two_random_ports_for_one_container_port_are_two() -> None:
    assert len(parse_publish_all(["80", "80"])) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ["8080:80", "8080:81"],
        ["127.0.0.1:8080:80", "8080:81"],
        ["0.0.0.0:8080:80", "127.0.0.1:8080:81"],
        ["[::]:8080:80", "[::1]:8080:81"],
    ],
)
def test_conflicting_host_ports_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidPort, match="want the same host port"):
        parse_publish_all(texts)


def test_same_host_port_on_other_addresses_or_protocols_is_fine() -> None:
    texts = ["127.0.0.1:8080:80", "127.0.0.2:8080:81", "[::1]:8080:82", "8080:80/udp"]
    assert len(parse_publish_all(texts)) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ((80, "tcp"),)),
        ("80/tcp", ((80, "tcp"),)),
        ("53/udp", ((53, "udp"),)),
        ("8000-8001/udp", ((8000, "udp"), (8001, "udp"))),
    ],
)
def test_exposed_is_parsed(text: str, expected: tuple[tuple[int, str], ...]) -> None:
    assert parse_exposed(text) == expected


def test_exposed_refuses_a_host_port() -> None:
    with pytest.raises(InvalidPort, match="expose 80:80"):
        parse_exposed("80:80")


def test_publish_exposed_leaves_published_ports_alone() -> None:
    published = parse_publish("8080:80")
    added = publish_exposed(["80/tcp", "443/tcp", "443", "53/udp"], published)
    assert added == (PortMapping("", 0, 443, "tcp"), PortMapping("", 0, 53, "udp"))


def test_chosen_ports_are_free_and_distinct() -> None:
    wanted = [PortMapping("127.0.0.1", 0, port, "tcp") for port in range(80, 90)]
    chosen = choose_host_ports(wanted)
    assert len({mapping.host_port for mapping in chosen}) == 10
    for mapping in chosen:
        check_host_port(mapping)


def test_choosing_keeps_given_ports() -> None:
    given_port = PortMapping("", 8080, 80, "tcp")
    assert choose_host_ports([given_port]) == (given_port,)


def test_taken_port_names_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortUnavailable) as caught:
            check_host_port(PortMapping("127.0.0.1", port, 80, "tcp"))
    assert f"127.0.0.1:{port}/tcp: address already in use by process " in caught.value.message
    assert caught.value.remedy


def test_foreign_address_is_named() -> None:
    with pytest.raises(PortUnavailable, match=r"this host has no address 192\.0\.2\.77"):
        check_host_port(PortMapping("192.0.2.77", 8080, 80, "tcp"))


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (PortMapping("", 8080, 80, "tcp"), "0.0.0.0:8080->80/tcp"),
        (PortMapping("::1", 8080, 80, "udp"), "[::1]:8080->80/udp"),
    ],
)
def test_mapping_is_written_as_ps_does(mapping: PortMapping, text: str) -> None:
    assert mapping.text == text


def test_neighbours_are_shown_as_one_range() -> None:
    mappings = (
        PortMapping("", 80, 8080, "tcp"),
        PortMapping("", 53, 53, "udp"),
        PortMapping("", 81, 8081, "tcp"),
        PortMapping("", 82, 8083, "tcp"),
        PortMapping("::1", 90, 90, "tcp"),
        PortMapping("::1", 91, 91, "tcp"),
    )
    assert ports_column(mappings) == (
        "0.0.0.0:80-81->8080-8081/tcp, 0.0.0.0:82->8083/tcp, [::1]:90-91->90-91/tcp, "
        "0.0.0.0:53->53/udp"
    )
