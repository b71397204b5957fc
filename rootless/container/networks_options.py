"""The grammar of --network for user-defined networks, and what belongs to it.

    --network NAME[:ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,alias=NAME,interface_name=NAME]

Repeated for several networks. podman-run(1), --network, --ip, --mac-address, --network-alias.
"""

from rootless.errors import UsageError
from slirp.network_address import parse_address, parse_subnet
from storage.networks import DEFAULT_NAME, NetworkRecord, find_network
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host

# The default network by another name.
_MODES = ("slirp4netns", "pasta", "none", "host", "container", "ns", "private", "default", "")
BRIDGE = "bridge"


class Attachment(NamedTuple):
    """What was asked for in one network; "" is for rpod to choose."""

    name: str
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    interface: str = ""

    @classmethod
    def from_json(cls, raw: dict[str, object]) -> "Attachment":
        """Read an entry of a container's record."""
        aliases = raw["aliases"]
        assert isinstance(aliases, list | tuple)
        ip, ip6, mac, interface = (str(raw[key]) for key in ("ip", "ip6", "mac", "interface"))
        return cls(str(raw["name"]), ip, ip6, mac, tuple(aliases), interface)


def split_networks(texts: "tuple[str, ...]") -> tuple[str, ...]:
    """Return the values of --network one by one: `a,b` is two networks. Raises UsageError."""
    result: list[str] = []
    for text in texts:
        result += text.split(",") if "," in text and ":" not in text else [text]
    if len(result) > 1:
        for text in result:
            mode = text.partition(":")[0]
            if mode in _MODES:
                raise UsageError(
                    "cannot set multiple networks without bridge network mode, selected mode"
                    f" {mode}: invalid argument",
                    remedy="only networks of `rpod network create` go together",
                )
    return tuple(result)


def check_no_network(request: "ContainerRequest") -> None:
    """Refuse what only a user-defined network can give. Raises UsageError."""
    for option, value in (
        ("ip", request.ip),
        ("ip6", request.ip6),
        ("mac-address", request.mac_address),
        ("network-alias", request.network_alias),
    ):
        if value:
            raise UsageError(
                f"--{option}: networks and static ip/mac address can only be used with Bridge mode"
                " networking",
                remedy="add --network NAME of a network made with `rpod network create`",
            )


def attachments(
    host: "Host", request: "ContainerRequest", texts: "tuple[str, ...]"
) -> tuple[Attachment, ...]:
    """Return what the options ask for; the networks exist, the addresses fit.

    Raises UsageError, InvalidNetwork, NetworkNotFound.
    """
    found = [_parse(text) for text in texts]
    records = [find_network(host.layout, entry.name) for entry in found]
    found = [entry._replace(name=r.name) for entry, r in zip(found, records, strict=True)]
    names = [entry.name for entry in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--network {name}: given more than once")
    for option, field, value in (
        ("ip", "ip", request.ip),
        ("ip6", "ip6", request.ip6),
        ("mac-address", "mac", request.mac_address),
    ):
        if value:
            if len(found) > 1:
                raise UsageError(
                    f"--{option} can only be set for a single network",
                    remedy=f"use --network NAME:{field}={value}",
                )
            found = [_with(found[0], field, value)]
    aliases = tuple(check_alias(name) for name in request.network_alias)
    found = [entry._replace(aliases=(*entry.aliases, *aliases)) for entry in found]
    checked = [check_attachment(e, r) for e, r in zip(found, records, strict=True)]
    return tuple(name_interfaces(checked))


def _parse(text: str) -> Attachment:
    name, colon, rest = text.partition(":")
    if name == BRIDGE:
        name = DEFAULT_NAME
    if colon and not rest:
        raise UsageError(f"--network {text}: no options after the colon")
    entry = Attachment(name)
    for item in rest.split(",") if rest else ():
        key, separator, value = item.partition("=")
        if not separator or not value:
            raise UsageError(f"--network {name}: {item!r} is not OPTION=VALUE")
        if key == "alias":
            entry = entry._replace(aliases=(*entry.aliases, check_alias(value)))
        elif key in ("ip", "ip6", "mac"):
            entry = _with(entry, key, value)
        elif key == "interface_name":
            entry = entry._replace(interface=value)
        else:
            raise UsageError(
                f"--network {name}: unknown option {key!r}",
                remedy="known: ip, ip6, mac, alias, interface_name",
            )
    return entry


def _with(entry: Attachment, field: str, value: str) -> Attachment:
    if field == "ip":
        return entry._replace(ip=value)
    return entry._replace(ip6=value) if field == "ip6" else entry._replace(mac=value)


def check_alias(name: str) -> str:
    """Return a name that others may ask for. Raises UsageError."""
    good = name and len(name) < 254 and all(c.isalnum() or c in "-_." for c in name)
    if not good or not name.isascii():
        raise UsageError(f"--network-alias {name!r}: not a host name")
    return name


def check_attachment(entry: Attachment, record: NetworkRecord) -> Attachment:
    """Return it with addresses in their usual form. Raises UsageError, InvalidNetwork."""
    ip = _check_address(entry.ip, 4, record) if entry.ip else ""
    ip6 = _check_address(entry.ip6, 6, record) if entry.ip6 else ""
    mac = _check_mac(entry.mac) if entry.mac else ""
    if entry.interface:
        bad = any(c in "/: %" or not c.isprintable() for c in entry.interface)
        if bad or entry.interface in (".", "..", "lo") or len(entry.interface.encode()) > 15:
            raise UsageError(f"interface_name={entry.interface}: not a name for an interface")
    return entry._replace(ip=ip, ip6=ip6, mac=mac)


def _check_address(text: str, version: int, record: NetworkRecord) -> str:
    address = parse_address(text, f"network {record.name}: address")
    if address.version != version:
        raise UsageError(f"network {record.name}: {text} is not an IPv{version} address")
    for entry in record.subnets:
        subnet = parse_subnet(entry["subnet"])
        if not subnet.has(address):
            continue
        first, last = subnet.usable
        if not first <= address.number <= last or str(address) == entry["gateway"]:
            raise UsageError(
                f"network {record.name}: {text} is the address of the network itself",
                remedy=f"choose another one in {subnet}",
            )
        return str(address)
    raise UsageError(
        f'requested static ip {text} not in any subnet on network "{record.name}"',
        remedy=f"its subnets: {', '.join(s['subnet'] for s in record.subnets)}",
    )


def _check_mac(text: str) -> str:
    parts = text.replace("-", ":").lower().split(":")
    if len(parts) != 6 or not all(len(p) == 2 and set(p) <= set("0123456789abcdef") for p in parts):
        raise UsageError(f"mac {text}: not six pairs of hexadecimal digits")
    if int(parts[0], 16) & 1 or not any(int(part, 16) for part in parts):
        raise UsageError(f"mac {text}: not the address of one interface (RFC 7042)")
    return ":".join(parts)


def name_interfaces(entries: "list[Attachment]") -> "list[Attachment]":
    """Give eth0, eth1, ... to those without a name. Raises UsageError for one given twice."""
    taken = [entry.interface for entry in entries if entry.interface]
    for name in taken:
        if taken.count(name) > 1:
            raise UsageError(f"interface_name={name}: given more than once")
    result = []
    for entry in entries:
        if not entry.interface:
            number = 0
            while f"eth{number}" in taken:
                number += 1
            entry = entry._replace(interface=f"eth{number}")
            taken.append(entry.interface)
        result.append(entry)
    return result
