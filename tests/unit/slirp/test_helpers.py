"""What slirp4netns and pasta are told; starting them is tests/kernel's."""

from pathlib import Path

import pytest

from slirp import pasta, slirp4netns
from slirp.errors import HelperFailed
from slirp.model import PortMapping, SlirpOptions
from slirp.pasta import port_arguments
from slirp.slirp4netns import wants_ipv6

_NOWHERE = "0" * 32
_DEFAULT = f"{_NOWHERE} 00 {_NOWHERE} 00 fd000000000000000000000000000001 0400 2 0 3 "


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        pytest.param(f"{_DEFAULT}    eth0\n", True, id="default-route"),
        pytest.param(f"{_DEFAULT}      lo\n", False, id="unreachable-only"),
        pytest.param(f"fd{_NOWHERE[2:]} 40 {_NOWHERE} 00 x y z eth0\n", False, id="local-only"),
        pytest.param("", False, id="no-routes"),
    ],
)
def test_ipv6_follows_the_hosts_routes(tmp_path: Path, routes: str, expected: bool) -> None:
    file = tmp_path / "ipv6_route"
    file.write_text(routes)
    assert wants_ipv6(SlirpOptions(), routes=str(file)) is expected


def test_ipv6_can_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "ipv6_route"
    file.write_text(f"{_DEFAULT} eth0\n")
    assert not wants_ipv6(SlirpOptions(enable_ipv6=False), routes=str(file))


def test_slirp4netns_says_that_it_has_no_ipv6_ports() -> None:
    with pytest.raises(HelperFailed) as caught:
        slirp4netns.start(
            1, SlirpOptions(), ports=(PortMapping("::1", 80, 80, "tcp"),), api_socket="/x/y"
        )
    assert "[::1]:80: slirp4netns listens on IPv4 addresses only" in caught.value.message
    assert "--network=pasta" in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "protocol", "count"),
    [
        pytest.param(SlirpOptions(), "udp", 0, id="forwarder"),
        pytest.param(SlirpOptions(port_handler="slirp4netns"), "udp", 1, id="udp"),
        pytest.param(SlirpOptions(port_handler="slirp4netns"), "tcp", 0, id="tcp"),
        pytest.param(
            SlirpOptions(port_handler="slirp4netns", allow_host_loopback=True),
            "udp",
            0,
            id="loopback-allowed",
        ),
    ],
)
def test_slirp4netns_tells_what_udp_ports_lack(
    options: SlirpOptions, protocol: str, count: int
) -> None:
    assert len(slirp4netns.notes(options, [PortMapping("", 53, 53, protocol)])) == count


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        (PortMapping("", 81, 81, "udp"), False),
        (PortMapping("", 8081, 81, "tcp"), False),
        (PortMapping("", 8081, 81, "udp"), True),
    ],
)
def test_pasta_tells_what_renumbered_udp_ports_lack(mapping: PortMapping, told: bool) -> None:
    assert bool(pasta.notes([mapping])) is told


def test_pasta_publishes_nothing_by_itself() -> None:
    arguments = port_arguments((), ())
    assert arguments[:8] == ("-t", "none", "-u", "none", "-T", "none", "-U", "none")
    assert "--no-map-gw" in arguments


def test_pasta_publishes_what_is_asked() -> None:
    ports = (PortMapping("127.0.0.1", 8080, 80, "tcp"), PortMapping("", 53, 53, "udp"))
    arguments = port_arguments((), ports)
    assert arguments[:4] == ("-t", "127.0.0.1/8080:80", "-u", "53:53")


def test_pasta_obeys_the_users_arguments() -> None:
    arguments = port_arguments(("-T", "5432", "--map-gw", "-t", "auto"), ())
    assert "-T" not in arguments
    assert "-t" not in arguments
    assert "--no-map-gw" not in arguments
