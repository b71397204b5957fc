"""Connect a container's network namespace to a network's, from the networks' user namespace.

Only there has a process rights over both. Nothing here imports.
"""

import os

from rootless.container.networks_prepare import VETH_PREFIX, mtu_of
from rootless.linux import syscalls
from slirp.netlink import Netlink
from slirp.network_address import parse_address, parse_subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.userns import IdRange
    from storage.containers import ContainerRecord
    from storage.networks import Endpoint, NetworkRecord

# podman's: each further network's default route is worse.
_METRIC = 100


def write_maps(pid: int, record: "ContainerRecord") -> None:
    """Write the id maps of a process that was made below this user namespace. Raises OSError."""
    for name, ranges in (("uid_map", record.uid_map), ("gid_map", record.gid_map)):
        lines = "".join(
            f"{inside} {here} {count}\n" for inside, here, count in translate(ranges, own_map(name))
        )
        if name == "gid_map" and _setgroups_denied():
            _write(f"/proc/{pid}/setgroups", b"deny")
        _write(f"/proc/{pid}/{name}", lines.encode())


def own_map(name: str) -> "tuple[IdRange, ...]":
    """Return a map of this process's user namespace."""
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return tuple((int(inside), int(outside), int(count)) for inside, outside, count in lines)


def translate(
    ranges: "tuple[IdRange, ...]", through: "tuple[IdRange, ...]"
) -> "tuple[IdRange, ...]":
    """Return a map to the host's ids as one to the ids of a namespace between. Raises OSError."""
    result = []
    for inside, outside, count in ranges:
        left = count
        while left:
            piece = next(
                ((a + outside - b, min(left, b + n - outside))
                 for a, b, n in through if b <= outside < b + n),
                None,
            )  # fmt: skip
            if piece is None:
                error = OSError(1, f"id {outside} of the host is not there")
                error.add_note("map user and group ids in the networks' user namespace")
                raise error
            here, size = piece
            result.append((inside, here, size))
            inside, outside, left = inside + size, outside + size, left - size
    return tuple(result)


def _setgroups_denied() -> bool:
    with open("/proc/self/setgroups", encoding="ascii") as file:
        return file.read().strip() == "deny"


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    except OSError as error:
        error.add_note(f"write {path}")
        raise
    finally:
        os.close(fd)


def wire(
    network: "NetworkRecord", endpoint: "Endpoint", netns: int, container: int, position: int
) -> None:
    """Make the interface of a container, with its addresses and routes; both ends up.

    `netns` and `container` are descriptors of network namespaces. Raises OSError.
    """
    mtu = mtu_of(network)
    mac = bytes.fromhex(endpoint.mac.replace(":", ""))
    # The name at this end is nobody's: the old end of a container that was restarted may linger.
    name = VETH_PREFIX + os.urandom(5).hex()
    syscalls.setns(netns, syscalls.CLONE_NEWNET)
    with Netlink() as netlink:
        pair = netlink.make_veth(name, endpoint.interface, container, mac=mac, mtu=mtu)
        netlink.bring_up(pair, master=netlink.index(network.interface))
    syscalls.setns(container, syscalls.CLONE_NEWNET)
    with Netlink() as netlink:
        index = netlink.index(endpoint.interface)
        _ignore_routers(endpoint.interface)
        for ip, prefix in ((endpoint.ip, endpoint.prefix), (endpoint.ip6, endpoint.prefix6)):
            if ip:
                subnet = parse_subnet(f"{ip}/{prefix}", strict=False)
                netlink.add_address(index, parse_address(ip), subnet)
        netlink.bring_up(index)
        _add_routes(netlink, index, network, endpoint, position)


def _add_routes(
    netlink: Netlink, index: int, network: "NetworkRecord", endpoint: "Endpoint", position: int
) -> None:
    metric = int(network.options.get("metric", _METRIC)) + position
    wants_default = network.options.get("no_default_route") not in ("true", "1")
    if wants_default and not network.internal:
        for text in (endpoint.gateway, endpoint.gateway6):
            if text:
                netlink.add_route(index, parse_address(text), metric=metric)
    for route in network.routes:
        gateway, to = parse_address(route["gateway"]), parse_subnet(route["destination"])
        if endpoint.ip if gateway.version == 4 else endpoint.ip6:
            netlink.add_route(index, gateway, to, metric=int(route["metric"] or metric))


def _ignore_routers(interface: str) -> None:
    """Take no routes from neighbours who say that they are routers."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/accept_ra", "w", encoding="ascii") as file:
            file.write("0")
    except OSError:
        return  # no IPv6 in this kernel, or /proc/sys that cannot be written


def unwire(endpoint: "Endpoint", container: int) -> None:
    """Take the interface of a network out of a container. Raises OSError."""
    syscalls.setns(container, syscalls.CLONE_NEWNET)
    with Netlink() as netlink:
        netlink.delete_link(netlink.index(endpoint.interface))


def has_interface(endpoint: "Endpoint", container: int) -> bool:
    """Whether the interface is there, with its address."""
    syscalls.setns(container, syscalls.CLONE_NEWNET)
    with Netlink() as netlink:
        if endpoint.interface not in netlink.names():
            return False
        addresses = [str(a) for a in netlink.addresses(netlink.index(endpoint.interface))]
        return all(ip in addresses for ip in (endpoint.ip, endpoint.ip6) if ip)
