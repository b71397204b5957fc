"""The grammar of --publish and --expose, and the choice of free host ports.

    [[ip:][host port[-last]]:]container port[-last][/protocol]

As podman and docker have it: an IPv6 address stands in brackets, an empty or missing host port is
chosen at random, ranges must have the same length.
"""

import _socket
import errno

from slirp.errors import InvalidPort, PortUnavailable
from slirp.model import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PROTOCOLS = ("tcp", "udp")
_LOW_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
# Every IPv4 address: what --publish means when it names none.
_ANY = "0.0.0.0"  # noqa: S104


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Return the mappings that one --publish asks for.

    Raises InvalidPort.
    """
    rest, protocols = _split_protocols(text)
    host_ip, host, container = _split_address(text, rest)
    first, count = _parse_range(text, container, "container")
    if host in ("", "0"):
        host_ports = [0] * count
    else:
        host_first, host_count = _parse_range(text, host, "host")
        if host_count != count:
            raise InvalidPort(
                f"publish {text}: {host_count} host ports for {count} container ports",
                remedy="give both ranges the same length",
            )
        host_ports = list(range(host_first, host_first + host_count))
    return tuple(
        PortMapping(host_ip, host_port, first + offset, protocol)
        for protocol in protocols
        for offset, host_port in enumerate(host_ports)
    )


def parse_publish_all(texts: "Iterable[str]") -> tuple[PortMapping, ...]:
    """Return the mappings of several --publish, each once.

    Raises InvalidPort, also when two of them want the same host port for different ports.
    """
    mappings: list[PortMapping] = []
    for text in texts:
        for mapping in parse_publish(text):
            if mapping not in mappings or mapping.host_port == 0:
                mappings.append(mapping)
    _check_conflicts(mappings)
    return tuple(mappings)


def parse_exposed(text: str) -> tuple[tuple[int, str], ...]:
    """Return (port, protocol) of one --expose or one key of an image's ExposedPorts.

    Raises InvalidPort.
    """
    rest, protocols = _split_protocols(text, option="expose")
    first, count = _parse_range(text, rest, "container", option="expose")
    return tuple((port, protocol) for protocol in protocols for port in range(first, first + count))


def publish_exposed(
    exposed: "Iterable[str]", published: "Iterable[PortMapping]"
) -> tuple[PortMapping, ...]:
    """Return mappings with random host ports for the exposed ports that have none (-P)."""
    known = {(mapping.container_port, mapping.protocol) for mapping in published}
    result = []
    for text in exposed:
        for port, protocol in parse_exposed(text):
            if (port, protocol) not in known:
                known.add((port, protocol))
                result.append(PortMapping("", 0, port, protocol))
    return tuple(result)


def choose_host_ports(mappings: "Iterable[PortMapping]") -> tuple[PortMapping, ...]:
    """Replace each host port 0 by one that is free now.

    Raises PortUnavailable.
    """
    mappings = tuple(mappings)
    taken = {(mapping.protocol, mapping.host_port) for mapping in mappings}
    # Held until all are chosen, so that no port is handed out twice.
    held: list[_socket.socket] = []
    chosen = []
    try:
        for mapping in mappings:
            while mapping.host_port == 0:
                sock = _bind(mapping)
                held.append(sock)
                port: int = sock.getsockname()[1]
                if (mapping.protocol, port) not in taken:
                    mapping = mapping._replace(host_port=port)
            chosen.append(mapping)
    finally:
        for sock in held:
            sock.close()
    return tuple(chosen)


def _bind(mapping: PortMapping) -> _socket.socket:
    family = _socket.AF_INET6 if ":" in mapping.host_ip else _socket.AF_INET
    kind = _socket.SOCK_STREAM if mapping.protocol == "tcp" else _socket.SOCK_DGRAM
    sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    try:
        if kind == _socket.SOCK_STREAM:
            # As the forwarder does: connections of an earlier one in TIME_WAIT are no hindrance.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((mapping.host_ip or _ANY, mapping.host_port))
        if kind == _socket.SOCK_STREAM:
            sock.listen(1)
    except OSError as error:
        sock.close()
        raise port_error(mapping, error) from error
    return sock


def check_host_port(mapping: PortMapping) -> None:
    """Take the host port for a moment.

    Raises PortUnavailable with the reason and, when it can be seen, the owner.
    """
    _bind(mapping).close()


def port_error(mapping: PortMapping, error: OSError) -> PortUnavailable:
    """Explain why a host port could not be taken."""
    doing = f"publish {mapping.host_text}/{mapping.protocol}"
    if error.errno == errno.EADDRINUSE:
        from slirp.owners import port_owner

        owner = port_owner(mapping.protocol, mapping.host_port)
        return PortUnavailable(
            f"{doing}: address already in use{f' by {owner}' if owner else ''}",
            remedy="choose another host port, or leave it out to get a free one",
        )
    if error.errno == errno.EACCES:
        lowest = _lowest_port()
        return PortUnavailable(
            f"{doing}: a regular user may not listen on ports below {lowest}",
            remedy=f"use a host port from {lowest} on, or ask for: sudo sysctl "
            f"net.ipv4.ip_unprivileged_port_start={mapping.host_port}",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return PortUnavailable(
            f"{doing}: this host has no address {mapping.host_ip}",
            remedy="use one of its addresses (ip address), or leave the address out",
        )
    return PortUnavailable(f"{doing}: {error.strerror}")


def _lowest_port() -> int:
    try:
        with open(_LOW_PORTS, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def _split_protocols(text: str, *, option: str = "publish") -> tuple[str, tuple[str, ...]]:
    rest, separator, names = text.partition("/")
    if not separator:
        return rest, ("tcp",)
    protocols = tuple(dict.fromkeys(names.lower().split(",")))
    for name in protocols:
        if name == "sctp":
            raise InvalidPort(
                f"{option} {text}: sctp cannot be forwarded by a regular user",
                remedy="use tcp or udp, or --network=host",
            )
        if name not in _PROTOCOLS:
            raise InvalidPort(f"{option} {text}: unknown protocol {name!r}", remedy="tcp or udp")
    return rest, protocols


def _split_address(text: str, rest: str) -> tuple[str, str, str]:
    """Return host address, host port or range, container port or range."""
    if rest.startswith("["):
        address, separator, ports = rest[1:].partition("]:")
        if not separator:
            raise InvalidPort(
                f"publish {text}: an IPv6 address is followed by a colon and a port",
                remedy="for example [::1]:8080:80",
            )
        parts = ports.split(":")
        if len(parts) == 1:
            parts = ["", *parts]
        if len(parts) != 2:
            raise InvalidPort(f"publish {text}: too many colons")
        return _check_address(text, address, _socket.AF_INET6), parts[0], parts[1]
    parts = rest.split(":")
    if len(parts) == 1:
        return "", "", parts[0]
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3:
        if not parts[0]:
            raise InvalidPort(f"publish {text}: the host address is empty")
        return _check_address(text, parts[0], _socket.AF_INET), parts[1], parts[2]
    raise InvalidPort(
        f"publish {text}: too many colons", remedy="write an IPv6 address in brackets"
    )


def _check_address(text: str, address: str, family: int) -> str:
    try:
        packed = _socket.inet_pton(family, address)
    except (OSError, ValueError):
        raise InvalidPort(f"publish {text}: {address!r} is not an IP address") from None
    return _socket.inet_ntop(family, packed)


def _parse_range(text: str, ports: str, whose: str, *, option: str = "publish") -> tuple[int, int]:
    first_text, separator, last_text = ports.partition("-")
    first = _parse_port(text, first_text, whose, option)
    last = _parse_port(text, last_text, whose, option) if separator else first
    if last < first:
        raise InvalidPort(f"{option} {text}: the {whose} port range {ports} ends before it begins")
    return first, last - first + 1


def _parse_port(text: str, port: str, whose: str, option: str) -> int:
    if not port:
        raise InvalidPort(f"{option} {text}: the {whose} port is missing")
    # Five digits bound the work; isdecimal alone takes digits of every script.
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InvalidPort(f"{option} {text}: {whose} port {port!r} is not between 1 and 65535")
    return int(port)


def _check_conflicts(mappings: "Iterable[PortMapping]") -> None:
    seen: dict[tuple[str, int], list[PortMapping]] = {}
    for mapping in mappings:
        if mapping.host_port == 0:
            continue
        others = seen.setdefault((mapping.protocol, mapping.host_port), [])
        for other in others:
            if _overlap(mapping.host_ip, other.host_ip):
                raise InvalidPort(
                    f"publish: {other.text} and {mapping.text} want the same host port",
                    remedy="give one of them another host port or address",
                )
        others.append(mapping)


def _overlap(one: str, two: str) -> bool:
    if (":" in one) != (":" in two):
        return False
    every = ("", _ANY, "::")
    return one == two or one in every or two in every
