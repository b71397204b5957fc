"""Messages of ours to the kernel, read back with pyroute2, in a real network namespace."""

import errno
import os

import pytest

from rootless.linux import syscalls
from slirp.masquerade import masquerade
from slirp.netlink import IPV4_FORWARDING, IPV4_PROXY_ARP, Netlink
from slirp.network_address import parse_address, parse_subnet
from tests.conftest import InAccount
from tests.kernel.namespaces import in_own_namespace

_MAC = bytes.fromhex("020000000001")


def _new_network() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNET)


def test_bridge_and_pair_are_as_pyroute2_sees_them(in_account: InAccount) -> None:
    def inside() -> dict[str, object]:
        from pyroute2 import IPRoute

        _new_network()
        subnet, subnet6 = parse_subnet("10.77.0.0/24"), parse_subnet("fd77::/64")
        with Netlink() as netlink:
            bridge = netlink.make_bridge("br0", mac=_MAC, mtu=1400)
            netlink.add_address(bridge, parse_address("10.77.0.1"), subnet)
            netlink.add_address(bridge, parse_address("fd77::1"), subnet6)
            netlink.bring_up(bridge)
            netlink.configure_ipv4(bridge, {IPV4_FORWARDING: 1, IPV4_PROXY_ARP: 1})
            own = os.open("/proc/self/ns/net", os.O_RDONLY)
            pair = netlink.make_veth("far", "near", own, mac=b"\2\0\0\0\0\2", mtu=1400)
            netlink.bring_up(pair, master=bridge)
            netlink.add_route(bridge, parse_address("10.77.0.9"), metric=7)
            names = netlink.names()
            own_addresses = [str(address) for address in netlink.addresses(bridge)]
        with IPRoute() as reader:
            link = reader.get_links(bridge)[0]
            far = reader.get_links(pair)[0]
            near = reader.get_links(reader.link_lookup(ifname="near")[0])[0]
            addresses = {
                f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}"
                for a in reader.get_addr(index=bridge)
            }
            (route,) = reader.get_default_routes(family=2)
        with open("/proc/sys/net/ipv4/conf/br0/forwarding", encoding="ascii") as file:
            forwarding = file.read().strip()
        return {
            "kind": link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND"),
            "mac": link.get_attr("IFLA_ADDRESS"),
            "mtus": [link.get_attr("IFLA_MTU"), far.get_attr("IFLA_MTU")],
            "up": link["state"],
            "master": far.get_attr("IFLA_MASTER") == bridge,
            "near": near.get_attr("IFLA_ADDRESS"),
            "addresses": {"10.77.0.1/24", "fd77::1/64"} <= addresses,
            "ours": {"10.77.0.1", "fd77::1"} <= set(own_addresses),
            "names": sorted(names),
            "gateway": [route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_PRIORITY")],
            "forwarding": forwarding,
        }

    assert in_account(lambda: in_own_namespace(inside)) == {
        "kind": "bridge",
        "mac": "02:00:00:00:00:01",
        "mtus": [1400, 1400],
        "up": "up",
        "master": True,
        "near": "02:00:00:00:00:02",
        "addresses": True,
        "ours": True,
        "names": ["br0", "far", "lo", "near"],
        "gateway": ["10.77.0.9", 7],
        "forwarding": "1",
    }


def test_error_has_its_number_and_says_what_was_done(in_account: InAccount) -> None:
    def inside() -> list[object]:
        _new_network()
        with Netlink() as netlink:
            try:
                netlink.index("gone")
            except OSError as error:
                return [error.errno, error.__notes__[0]]
        return []

    assert in_account(lambda: in_own_namespace(inside)) == [
        errno.ENODEV,
        "look for interface gone",
    ]


def test_rule_is_there_and_takes_effect_once(in_account: InAccount) -> None:
    def inside() -> int:
        from pyroute2.nftables.main import NFTables

        _new_network()
        masquerade("br0")
        with NFTables(nfgen_family=1) as reader:
            return len(list(reader.get_rules()))

    assert in_account(lambda: in_own_namespace(inside)) == 1


@pytest.mark.parametrize("name", ["lo", "x" * 40])
def test_interface_that_cannot_be_made_is_an_error(in_account: InAccount, name: str) -> None:
    def inside() -> bool:
        _new_network()
        with Netlink() as netlink:
            try:
                netlink.make_bridge(name, mac=_MAC, mtu=1500)
            except OSError:
                return True
        return False

    assert in_account(lambda: in_own_namespace(inside)) is True
