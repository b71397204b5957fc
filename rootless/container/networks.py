"""User-defined networks: make, list, change, remove. What runs of them is in `networks_*`.

podman-network-create(1). Each network in use has a network namespace of its own, so networks are
always kept from each other.
"""

import hashlib
import os
import time

from rootless.container.logfile import timestamp
from rootless.errors import UsageError
from rootless.host.paths import Host
from slirp.network_address import Address, Subnet, parse_address, parse_subnet
from storage.containers import iter_views
from storage.errors import InUse, NameTaken
from storage.files import Lock
from storage.networks import (
    DEFAULT_NAME,
    NetworkRecord,
    check_network_name,
    find_network,
    list_networks,
    read_network,
    remove_network,
    write_network,
)
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# podman's pool: 10.89.0.0/24 to 10.255.255.0/24.
_POOL_FIRST, _POOL_LAST, _POOL_LENGTH = (10, 89), (10, 255), 24
# Loopback, multicast and what has no use (RFC 6890).
_SPECIAL = ("127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8", "::1/128", "ff00::/8", "fe80::/10")
_RESERVED = (
    "bridge", "container", "default", "host", "none", "ns", "pasta", "private", "slirp4netns",
)  # fmt: skip
_CHOICES = {
    "isolate": ("true", "1", "strict"),
    "no_default_route": ("true", "false", "1", "0"),
    "outgoing": ("slirp4netns", "pasta"),
}
_MTU_OPTION = "com.docker.network.driver.mtu"
_NAME_OPTION = "com.docker.network.bridge.name"
_ROUTES = "/proc/net/route"
_ADDRESSES6 = "/proc/net/if_inet6"


class NetworkRequest(NamedTuple):
    """What `network create` was given, as typed; the fields are its long options."""

    name: str = ""
    driver: str = "bridge"
    subnet: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    ip_range: tuple[str, ...] = ()
    ipv6: bool = False
    internal: bool = False
    disable_dns: bool = False
    dns: tuple[str, ...] = ()
    interface_name: str | None = None
    ipam_driver: str = "host-local"
    route: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    opt: tuple[str, ...] = ()
    ignore: bool = False


def create_network(host: Host, request: NetworkRequest) -> NetworkRecord:
    """Make a network and return its record; an existing one with `ignore`.

    Raises UsageError, InvalidNetwork, NameTaken.
    """
    name = request.name and _check_name(request.name)
    _check_drivers(request)
    options = _check_options(request.opt)
    labels = _pairs(request.label, "label")
    interface = request.interface_name or options.pop(_NAME_OPTION, "")
    _check_interface(interface)
    servers = tuple(str(parse_address(text, "--dns")) for text in request.dns)
    routes = tuple(_route(text) for text in request.route)
    wanted = _subnets(request)
    with Lock(host.layout.lock("networks")):
        existing = list_networks(host.layout)
        taken = {record.name for record in existing}
        if name in taken:
            if request.ignore:
                return read_network(host.layout, name)
            raise NameTaken(
                f"network name {name} already used: network already exists",
                remedy=f"use it, or remove it first: rpod network rm {name}",
            )
        used = [parse_subnet(s["subnet"]) for record in existing for s in record.subnets]
        subnets = _place(wanted, used, ipv6=request.ipv6)
        record = NetworkRecord(
            name=name or _free_name(taken, "podman"),
            id=hashlib.sha256(os.urandom(32)).hexdigest(),
            created_at=timestamp(time.time_ns()),
            interface=interface or _free_name({r.interface for r in existing}, "podman"),
            subnets=subnets,
            ipv6=any(":" in subnet["subnet"] for subnet in subnets),
            internal=request.internal,
            dns=not request.disable_dns,
            dns_servers=servers,
            labels=labels,
            options=options,
            routes=routes,
        )
        write_network(host.layout, record, new=True)
    return record


def _check_name(name: str) -> str:
    check_network_name(name)
    if name in _RESERVED:
        raise UsageError(
            f"network name {name}: it is the name of a network mode", remedy="use another name"
        )
    return name


def _check_drivers(request: NetworkRequest) -> None:
    if request.driver in ("macvlan", "ipvlan"):
        raise UsageError(
            f"--driver {request.driver}: it needs root, as it takes an interface of the host",
            remedy="use --driver bridge",
        )
    if request.driver != "bridge":
        raise UsageError(f"unsupported driver {request.driver}", remedy="use --driver bridge")
    if request.ipam_driver != "host-local":
        raise UsageError(
            f"--ipam-driver {request.ipam_driver}: nothing else would give addresses in the"
            " network's namespace",
            remedy="leave it out: rpod gives addresses of the subnet itself",
        )


def _check_options(texts: "Iterable[str]") -> dict[str, str]:
    """Return the options by name, docker's names turned into podman's. Raises UsageError."""
    options = _pairs(texts, "opt")
    if _MTU_OPTION in options:
        options["mtu"] = options.pop(_MTU_OPTION)
    for key, value in options.items():
        if key in ("mtu", "metric"):
            low, high = (68, 65535) if key == "mtu" else (0, 2**32 - 1)
            if not (value.isascii() and value.isdecimal() and low <= int(value) <= high):
                raise UsageError(f"--opt {key}={value}: must be {low} to {high}")
        elif key == "isolate" and value in ("false", "0"):
            raise UsageError(
                "--opt isolate=false: networks of rpod cannot reach each other",
                remedy="connect the container to both networks",
            )
        elif key in _CHOICES:
            if value not in _CHOICES[key]:
                raise UsageError(f"--opt {key}={value}: use one of {', '.join(_CHOICES[key])}")
        elif key != _NAME_OPTION:
            known = "mtu, metric, isolate, no_default_route, outgoing"
            raise UsageError(f"unsupported bridge network option {key}", remedy=f"known: {known}")
    return options


def _pairs(texts: "Iterable[str]", option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise UsageError(f"--{option} {text!r}: not KEY=VALUE")
        pairs[key] = value
    return pairs


def _check_interface(name: str) -> None:
    # netdevice(7): 15 bytes; dev_valid_name(): no blanks, / or :.
    bad = any(letter in "/: %" or not letter.isprintable() for letter in name)
    if name in (".", "..", "lo") or bad or len(os.fsencode(name)) > 15:
        raise UsageError(f"--interface-name {name}: not a name for an interface")


def _route(text: str) -> dict[str, str]:
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise UsageError(f"--route {text}: not DESTINATION,GATEWAY[,METRIC]")
    to, gateway = parse_subnet(parts[0], "--route"), parse_address(parts[1], "--route")
    if to.version != gateway.version:
        raise UsageError(f"--route {text}: the gateway is of the other IP version")
    metric = parts[2] if len(parts) == 3 else ""
    if metric and not (metric.isdecimal() and int(metric) < 2**32):
        raise UsageError(f"--route {text}: the metric is no number")
    return {"destination": str(to), "gateway": str(gateway), "metric": metric}


# --- subnets


def _subnets(request: NetworkRequest) -> list[dict[str, str]]:
    """Return the subnets that were given, each with its gateway and range; both checked."""
    result = []
    for option, values in (("gateway", request.gateway), ("ip-range", request.ip_range)):
        if len(values) > len(request.subnet):
            raise UsageError(
                f"--{option} {values[len(request.subnet)]}: there is no --subnet for it",
                remedy=f"give each --{option} a --subnet",
            )
    for position, text in enumerate(request.subnet):
        subnet = parse_subnet(text, "--subnet", strict=False)
        first, last = subnet.usable
        if any(subnet.overlaps(parse_subnet(other)) for other in _SPECIAL):
            raise UsageError(f"--subnet {text}: such addresses never leave a host, or are groups")
        if last - first < 1:
            raise UsageError(f"--subnet {text}: no room for a gateway and a container")
        gateway = subnet.address(first)
        if position < len(request.gateway):
            gateway = _inside(request.gateway[position], subnet, "--gateway")
        start, end = "", ""
        if position < len(request.ip_range):
            start, end = _range(request.ip_range[position], subnet)
        result.append({"subnet": str(subnet), "gateway": str(gateway), "start": start, "end": end})
    return result


def _inside(text: str, subnet: Subnet, what: str) -> Address:
    address = parse_address(text, what)
    first, last = subnet.usable
    if not subnet.has(address) or not first <= address.number <= last:
        raise UsageError(f"{what} {text}: not an address for a host in subnet {subnet}")
    return address


def _range(text: str, subnet: Subnet) -> tuple[str, str]:
    """Return the first and the last address of --ip-range: a subnet, or FIRST-LAST."""
    low, high = subnet.usable
    if "-" in text:
        first_text, _, last_text = text.partition("-")
        first = _inside(first_text, subnet, "--ip-range").number
        last = _inside(last_text, subnet, "--ip-range").number
    else:
        part = parse_subnet(text, "--ip-range", strict=False)
        if part.version != subnet.version or part.first < subnet.first or part.last > subnet.last:
            raise UsageError(f"--ip-range {text}: not inside subnet {subnet}")
        first, last = max(part.usable[0], low), min(part.last, high)
    if first > last:
        raise UsageError(f"--ip-range {text}: the first address is behind the last")
    return str(subnet.address(first)), str(subnet.address(last))


def _place(
    wanted: list[dict[str, str]], used: list[Subnet], *, ipv6: bool
) -> tuple[dict[str, str], ...]:
    """Check what was given against what is used, and choose what was not given."""
    on_host = _host_subnets()
    chosen: list[Subnet] = []
    for entry in wanted:
        subnet = parse_subnet(entry["subnet"])
        for other in (*used, *on_host, *chosen):
            if subnet.overlaps(other):
                raise UsageError(
                    f"subnet {subnet} is already used on the host or by another config",
                    remedy=f"it overlaps {other}: choose another, or leave --subnet out",
                )
        chosen.append(subnet)
    result = list(wanted)
    if not wanted:
        result.append(_entry(_free_subnet([*used, *on_host])))
    if ipv6 and all(":" not in entry["subnet"] for entry in result):
        # RFC 4193: a /48 of our own at random, its first subnet.
        prefix = int.from_bytes(b"\xfd" + os.urandom(5) + bytes(10), "big")
        result.append(_entry(Subnet(6, prefix, 64)))
    return tuple(result)


def _entry(subnet: Subnet) -> dict[str, str]:
    gateway = subnet.address(subnet.usable[0])
    return {"subnet": str(subnet), "gateway": str(gateway), "start": "", "end": ""}


def _free_subnet(used: list[Subnet]) -> Subnet:
    first = (_POOL_FIRST[0] << 24) + (_POOL_FIRST[1] << 16)
    last = (_POOL_LAST[0] << 24) + (_POOL_LAST[1] << 16) + 0xFF00
    for number in range(first, last + 1, 1 << (32 - _POOL_LENGTH)):
        subnet = Subnet(4, number, _POOL_LENGTH)
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    raise UsageError(
        "could not find free subnet from subnet pools", remedy="give one with --subnet"
    )


def _host_subnets() -> list[Subnet]:
    """Return where the host has routes, default ones left out: a network there would hide it."""
    found = []
    for line in _lines(_ROUTES)[1:]:
        # proc(5), route: interface, destination, gateway, flags, ..., mask; in host byte order.
        fields = line.split()
        number, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            found.append(Subnet(4, number, mask.bit_count()))
    for line in _lines(_ADDRESSES6):
        fields = line.split()
        length, scope = int(fields[2], 16), fields[3]
        if scope == "00" and length:
            number = int(fields[0], 16) >> (128 - length) << (128 - length)
            found.append(Subnet(6, number, length))
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().splitlines()
    except OSError:
        return []  # a kernel without IPv6, say


def _free_name(taken: set[str], prefix: str) -> str:
    number = 1
    while f"{prefix}{number}" in taken:
        number += 1
    return f"{prefix}{number}"


# --- the others


def network_users(host: Host) -> dict[str, list[str]]:
    """Return the ids of the containers that name each network, whether they run or not."""
    users: dict[str, list[str]] = {}
    for view in iter_views(host.layout):
        for entry in view.record.networks:
            users.setdefault(str(entry["name"]), []).append(view.record.id)
    return users


def remove(host: Host, text: str, *, force: bool = False, timeout_s: int | None = None) -> str:
    """Remove a network, with `force` the containers in it first; return its name.

    Raises NetworkNotFound, InUse, UsageError.
    """
    record = find_network(host.layout, text)
    if record.is_default:
        raise UsageError(f"default network {DEFAULT_NAME} cannot be removed")
    if force:
        from rootless.container.ending import remove as remove_container

        for container_id in network_users(host).get(record.name, ()):
            remove_container(host, container_id, force=True, timeout_s=timeout_s)
    with Lock(host.layout.lock("networks")):
        users = network_users(host).get(record.name, ())
        if users:
            raise InUse(
                f'"{record.name}" has associated containers with it. Use -f to forcibly delete'
                " containers and pods: network is being used",
                remedy=f"remove them first: rpod rm {' '.join(user[:12] for user in users)}",
            )
        remove_network(host.layout, record)
    return record.name


def update_dns(
    host: Host, text: str, *, add: "Sequence[str]" = (), drop: "Sequence[str]" = ()
) -> NetworkRecord:
    """Change the servers to which a network's DNS forwards; containers see it at once.

    Raises NetworkNotFound, InvalidNetwork, UsageError.
    """
    added = [str(parse_address(server, "--dns-add")) for server in add]
    dropped = [str(parse_address(server, "--dns-drop")) for server in drop]
    with Lock(host.layout.lock("networks")):
        record = find_network(host.layout, text)
        if record.is_default or not record.dns:
            raise UsageError(f"network {record.name} has no DNS of its own: nothing to change")
        for server in dropped:
            if server not in record.dns_servers:
                raise UsageError(f"--dns-drop {server}: network {record.name} does not have it")
        kept = [server for server in record.dns_servers if server not in dropped]
        record = record._replace(dns_servers=tuple(dict.fromkeys((*kept, *added))))
        write_network(host.layout, record, new=False)
    return record


def make_document(host: Host, record: NetworkRecord) -> dict[str, object]:
    """Return the document of `network inspect`, with podman's field names."""
    from storage.networks import live_endpoints

    subnets = []
    for entry in record.subnets:
        subnet: dict[str, object] = {"subnet": entry["subnet"], "gateway": entry["gateway"]}
        if entry["start"]:
            subnet["lease_range"] = {"start_ip": entry["start"], "end_ip": entry["end"]}
        subnets.append(subnet)
    document: dict[str, object] = {
        "name": record.name,
        "id": record.id,
        "driver": "bridge",
        "network_interface": record.interface,
        "created": record.created_at,
        "subnets": subnets,
        "ipv6_enabled": record.ipv6,
        "internal": record.internal,
        "dns_enabled": record.dns,
    }
    if record.routes:
        document["routes"] = [
            {
                "destination": route["destination"],
                "gateway": route["gateway"],
                **({"metric": int(route["metric"])} if route["metric"] else {}),
            }
            for route in record.routes
        ]
    if record.dns_servers:
        document["network_dns_servers"] = list(record.dns_servers)
    if record.labels:
        document["labels"] = record.labels
    if record.options:
        document["options"] = record.options
    document["ipam_options"] = {"driver": "host-local"}
    document["containers"] = {
        endpoint.container_id: {
            "name": endpoint.names[0],
            "interfaces": {
                endpoint.interface: {
                    "subnets": [
                        {"ipnet": f"{ip}/{prefix}", "gateway": gateway}
                        for ip, prefix, gateway in (
                            (endpoint.ip, endpoint.prefix, endpoint.gateway),
                            (endpoint.ip6, endpoint.prefix6, endpoint.gateway6),
                        )
                        if ip
                    ],
                    "mac_address": endpoint.mac,
                }
            },
        }
        for endpoint in live_endpoints(host.layout, record.id)
    }
    return document
