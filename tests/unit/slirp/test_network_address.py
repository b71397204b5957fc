"""Addresses and subnets as numbers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.errors import InvalidNetwork
from slirp.network_address import Subnet, parse_address, parse_subnet


@given(st.ip_addresses())
def test_address_is_written_as_the_standard_library_has_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    ours = parse_address(str(address))
    assert (ours.version, ours.number) == (address.version, int(address))
    assert ipaddress.ip_address(str(ours)) == address
    assert ours.reversed_name == address.reverse_pointer


@given(st.ip_addresses(), st.integers(1, 128))
def test_subnet_is_the_standard_librarys(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    length = min(length, address.max_prefixlen)
    theirs = ipaddress.ip_network(f"{address}/{length}", strict=False)
    ours = parse_subnet(f"{address}/{length}", strict=False)
    assert (ours.first, ours.last) == (int(theirs[0]), int(theirs[-1]))
    assert ours.has(parse_address(str(address)))


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/0", "x/8", "10.0.0.1/24", "::/129"]
)
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(InvalidNetwork):
        parse_subnet(text)


def test_usable_addresses_leave_out_network_and_broadcast() -> None:
    subnet = parse_subnet("10.0.0.0/30")
    assert [str(subnet.address(number)) for number in subnet.usable] == ["10.0.0.1", "10.0.0.2"]


def test_overlap_is_seen_both_ways() -> None:
    small, large = parse_subnet("10.89.3.0/24"), parse_subnet("10.89.0.0/16")
    assert small.overlaps(large) and large.overlaps(small)
    assert not small.overlaps(Subnet(6, small.first, 24))
