"""Give addresses of a network to containers; the caller holds the network's lock.

An address belongs to a container for as long as its monitor lives, which the kernel knows. So there
is nothing to give back, and nothing to lose.
"""

import os

from slirp.errors import InvalidNetwork
from slirp.network_address import Address, parse_address, parse_subnet
from storage.files import read_file, write_file
from storage.networks import Endpoint, NetworkRecord, live_endpoints, write_endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.networks_options import Attachment
    from storage.containers import ContainerRecord
    from storage.layout import Layout

_SHORT_ID = 12


def take_addresses(
    layout: "Layout",
    network: NetworkRecord,
    wanted: "Attachment",
    record: "ContainerRecord",
    hostname: str,
) -> Endpoint:
    """Choose the container's addresses in a network, write them down and return them.

    Raises InvalidNetwork when one is taken or all are.
    """
    there = live_endpoints(layout, network.id, sweep=True)
    others = [endpoint for endpoint in there if endpoint.container_id != record.id]
    owners = {address: e for e in others for address in (e.ip, e.ip6) if address}
    names = (record.name, record.id[:_SHORT_ID], hostname)
    servers = record.request.get("dns", ())
    endpoint = Endpoint(
        container_id=record.id,
        network=network.name,
        network_id=network.id,
        names=tuple(dict.fromkeys(name for name in names if name)),
        aliases=wanted.aliases,
        interface=wanted.interface,
        mac=wanted.mac,
        dns_servers=tuple(str(s) for s in servers) if isinstance(servers, list | tuple) else (),
    )
    for position, entry in enumerate(network.subnets):
        subnet = parse_subnet(entry["subnet"])
        fixed = wanted.ip if subnet.version == 4 else wanted.ip6
        if (endpoint.ip if subnet.version == 4 else endpoint.ip6) or (
            fixed and not subnet.has(parse_address(fixed))
        ):
            continue  # one address of each version
        if fixed:
            if fixed in owners:
                raise InvalidNetwork(
                    f"network {network.name}: IP address {fixed} is already in use by container"
                    f" {owners[fixed].names[0]}",
                    remedy="choose another one, or leave the choice to rpod",
                )
            address = parse_address(fixed)
        else:
            address = _next_free(layout, network, position, owners)
        if subnet.version == 4:
            endpoint = endpoint._replace(
                ip=str(address), prefix=subnet.length, gateway=entry["gateway"]
            )
        else:
            endpoint = endpoint._replace(
                ip6=str(address), prefix6=subnet.length, gateway6=entry["gateway"]
            )
    if not endpoint.mac:
        endpoint = endpoint._replace(mac=_mac_for(endpoint.ip or endpoint.ip6))
    if any(e.mac == endpoint.mac for e in others):
        raise InvalidNetwork(f"network {network.name}: MAC address {endpoint.mac} is in use")
    write_endpoint(layout, endpoint)
    return endpoint


def _next_free(
    layout: "Layout", network: NetworkRecord, position: int, owners: dict[str, Endpoint]
) -> Address:
    """Return the first free address behind the last that was given: old ones rest for a while."""
    entry = network.subnets[position]
    subnet = parse_subnet(entry["subnet"])
    first, last = subnet.usable
    if entry["start"]:
        first, last = (parse_address(entry[key]).number for key in ("start", "end"))
    path = f"{layout.network_run_dir(network.id)}/last{position}"
    taken = {
        parse_address(text).number for text in owners if (":" in text) == (subnet.version == 6)
    }
    taken.add(parse_address(entry["gateway"]).number)
    count = last - first + 1
    start = _read_last(path) + 1
    start = start if first <= start <= last else first
    # One more than are taken is enough to find a free one: an IPv6 subnet is not walked through.
    for step in range(min(count, len(taken) + 1)):
        number = first + (start - first + step) % count
        if number not in taken:
            write_file(path, b"%d" % number, mode=0o600, sync=False)
            return subnet.address(number)
    raise InvalidNetwork(
        f"network {network.name}: no free address left in {subnet}",
        remedy="remove containers, or make a network with a larger --subnet or --ip-range",
    )


def _read_last(path: str) -> int:
    try:
        return int(read_file(path))
    except (FileNotFoundError, ValueError):
        return -1


def _mac_for(text: str) -> str:
    """Return a hardware address that goes with an address, so that neighbours may remember both.

    Two containers of a network have different addresses, and with that different ones of these.
    """
    address = parse_address(text)
    tail = address.packed[-4:] if address.version == 4 else os.urandom(4)
    return "02:42:" + ":".join(f"{byte:02x}" for byte in tail)
