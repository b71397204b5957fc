"""The text of a container's /etc/hosts (hosts(5); podman-run(1), --add-host).

The host's own file is no base: it names the host's addresses and interests, and its names for
127.0.0.1 would be wrong inside.
"""

import _socket

from slirp.errors import InvalidNetwork
from slirp.record import NamedTuple
from slirp.resolv import is_address

_LOOPBACK = (
    ("127.0.0.1", ("localhost", "localhost.localdomain")),
    ("::1", ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")),
)
_HOST_NAMES = ("host.containers.internal", "host.docker.internal")


class HostEntry(NamedTuple):
    address: str
    names: tuple[str, ...]


def parse_add_host(text: str, host_address: str = "") -> HostEntry:
    """Return one --add-host: `name[;name...]:address`, also docker's `name=address`.

    The address may be `host-gateway`, which is `host_address`. Raises InvalidNetwork.
    """
    colon, equals = text.find(":"), text.find("=")
    separator = "=" if equals >= 0 and (colon < 0 or equals < colon) else ":"
    names_text, _, address = text.partition(separator)
    names = tuple(names_text.split(";"))
    if not address or not all(_is_name(name) for name in names):
        raise InvalidNetwork(
            f"--add-host {text}: must be NAME[;NAME...]:ADDRESS", remedy="for example db:10.0.0.7"
        )
    if address == "host-gateway":
        if not host_address:
            raise InvalidNetwork(
                f"--add-host {text}: this host has no address that the container can reach",
                remedy="give the address itself",
            )
        return HostEntry(host_address, names)
    address = address.removeprefix("[").removesuffix("]")
    if not is_address(address):
        raise InvalidNetwork(f"--add-host {text}: {address!r} is not an IP address")
    return HostEntry(address, names)


def hosts_text(
    *,
    own_address: str,
    own_names: tuple[str, ...],
    add_hosts: tuple[HostEntry, ...] = (),
    host_address: str = "",
) -> str:
    """Return the container's file; what the user added goes first, as the first match counts.

    `own_names` are the host name and the container's name; `host_address` is where the container
    reaches the host, "" when it cannot.
    """
    entries = [*add_hosts]
    entries += [HostEntry(address, names) for address, names in _LOOPBACK]
    own = tuple(dict.fromkeys(name for name in own_names if name))
    if own and own_address:
        entries.append(HostEntry(own_address, own))
    added = {name for entry in add_hosts for name in entry.names}
    host_names = tuple(name for name in _HOST_NAMES if name not in added)
    if host_address and host_names:
        entries.append(HostEntry(host_address, host_names))
    return "".join(f"{entry.address}\t{' '.join(entry.names)}\n" for entry in entries)


def find_host_address() -> str:
    """Return the address from which this host reaches the world, "" when it does not.

    Connecting a datagram socket sends nothing; it only asks the routing table.
    """
    # RFC 5737 and RFC 3849: documentation addresses, routed like any other.
    for family, target in ((_socket.AF_INET, "198.51.100.1"), (_socket.AF_INET6, "2001:db8::1")):
        try:
            sock = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        except OSError:
            continue
        try:
            sock.connect((target, 9))
            address: str = sock.getsockname()[0]
        except OSError:
            continue
        finally:
            sock.close()
        return address
    return ""


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not any(c in name for c in " #:=/")
