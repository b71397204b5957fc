"""--network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.errors import InvalidNetwork
from slirp.model import NetworkSettings, SlirpOptions
from slirp.settings import parse_network


@pytest.mark.parametrize("text", ["", "default", "private", "slirp4netns"])
def test_default_network_is_slirp4netns(text: str) -> None:
    assert parse_network(text) == NetworkSettings("slirp4netns")


def test_default_network_can_be_configured() -> None:
    assert parse_network("", default="host").mode == "host"


def test_slirp_options_are_read() -> None:
    text = (
        "slirp4netns:allow_host_loopback=true,cidr=10.9.0.0/16,mtu=1500,enable_ipv6=false,"
        "outbound_addr=eth0,port_handler=rootlesskit"
    )
    assert parse_network(text).slirp == SlirpOptions(
        allow_host_loopback=True,
        cidr="10.9.0.0/16",
        mtu=1500,
        enable_ipv6=False,
        outbound_addr="eth0",
    )


@pytest.mark.parametrize(
    ("cidr", "addresses"),
    [
        ("10.0.2.0/24", ("10.0.2.100", "10.0.2.2", "10.0.2.3")),
        ("172.16.200.77/16", ("172.16.0.100", "172.16.0.2", "172.16.0.3")),
        ("192.168.1.128/25", ("192.168.1.228", "192.168.1.130", "192.168.1.131")),
    ],
)
def test_addresses_follow_the_network(cidr: str, addresses: tuple[str, str, str]) -> None:
    options = SlirpOptions(cidr=cidr)
    assert (options.address, options.gateway, options.dns) == addresses


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nosuch", "network not found"),
        ("bridge:ip=1.2.3.4", "network not found"),
        ("host:x", "host takes no options"),
        ("container:", "needs a name"),
        ("slirp4netns:mtu", "not OPTION=VALUE"),
        ("slirp4netns:color=red", "unknown option 'color'"),
        ("slirp4netns:mtu=67", "68 to 65521"),
        ("slirp4netns:mtu=٣٣٣", "68 to 65521"),
        ("slirp4netns:cidr=10.0.2.0", "IPv4 network"),
        ("slirp4netns:cidr=10.0.2.0/26", "IPv4 network"),
        ("slirp4netns:cidr=10.0.256.0/24", "IPv4 network"),
        ("slirp4netns:enable_ipv6=maybe", "true or false"),
        ("slirp4netns:port_handler=magic", "slirp4netns or rootlesskit"),
        ("slirp4netns:enable_ipv6=false,outbound_addr6=eth0", "needs enable_ipv6"),
        ("pasta:--pid=/tmp/x", "--pid is set by rpod"),
    ],
)
def test_network_refuses(text: str, reason: str) -> None:
    with pytest.raises(InvalidNetwork) as caught:
        parse_network(text)
    assert reason in caught.value.message


@given(st.text(max_size=60))
def test_network_of_any_text_is_settings_or_the_error(text: str) -> None:
    try:
        settings = parse_network(f"slirp4netns:{text}")
    except InvalidNetwork:
        return
    assert settings.slirp.address


def test_pasta_arguments_are_passed_on() -> None:
    assert parse_network("pasta:-T,5432,--map-gw").pasta == ("-T", "5432", "--map-gw")


def test_other_namespace_is_named() -> None:
    assert parse_network("container:db") == NetworkSettings("container", target="db")
