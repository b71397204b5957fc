"""/etc/hosts of a container."""

import pytest

from slirp.errors import InvalidNetwork
from slirp.hosts import HostEntry, find_host_address, hosts_text, parse_add_host
from slirp.resolv import is_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db:10.0.0.7", HostEntry("10.0.0.7", ("db",))),
        ("a;b.example:10.0.0.7", HostEntry("10.0.0.7", ("a", "b.example"))),
        ("db:fd00::7", HostEntry("fd00::7", ("db",))),
        ("db:[fd00::7]", HostEntry("fd00::7", ("db",))),
        ("db=fd00::7", HostEntry("fd00::7", ("db",))),
        ("gate:host-gateway", HostEntry("192.0.2.2", ("gate",))),
    ],
)
def test_add_host_is_parsed(text: str, expected: HostEntry) -> None:
    assert parse_add_host(text, "192.0.2.2") == expected


@pytest.mark.parametrize("text", ["", "db", "db:", ":1.2.3.4", "a;:1.2.3.4", "a b:1.2.3.4", "a:b"])
def test_add_host_refuses(text: str) -> None:
    with pytest.raises(InvalidNetwork) as caught:
        parse_add_host(text)
    assert f"--add-host {text}" in caught.value.message


def test_host_gateway_needs_an_address() -> None:
    with pytest.raises(InvalidNetwork, match="no address that the container can reach"):
        parse_add_host("gate:host-gateway", "")


def test_names_are_in_podmans_order() -> None:
    text = hosts_text(
        own_address="10.0.2.100",
        own_names=("0123456789ab", "web"),
        add_hosts=(HostEntry("10.0.0.7", ("db",)),),
        host_address="192.0.2.2",
    )
    assert text.splitlines() == [
        "10.0.0.7\tdb",
        "127.0.0.1\tlocalhost localhost.localdomain",
        "::1\tlocalhost localhost.localdomain ip6-localhost ip6-loopback",
        "10.0.2.100\t0123456789ab web",
        "192.0.2.2\thost.containers.internal host.docker.internal",
    ]


def test_added_host_name_wins_over_ours() -> None:
    text = hosts_text(
        own_address="",
        own_names=(),
        add_hosts=(HostEntry("10.0.0.7", ("host.docker.internal",)),),
        host_address="192.0.2.2",
    )
    assert "192.0.2.2\thost.containers.internal\n" in text


def test_same_own_name_is_written_once() -> None:
    assert "10.0.2.100\tweb\n" in hosts_text(own_address="10.0.2.100", own_names=("web", "web"))


def test_host_address_is_no_loopback() -> None:
    address = find_host_address()
    assert address == "" or (is_address(address) and not address.startswith("127."))
