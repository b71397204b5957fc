"""Published ports with the client's true address: the host's side.

A port is bound here, in the host's network, by the process that publishes it: what is in the way
is known at once, and connections queue in the kernel until the forwarder takes them. The
forwarder (`slirp.forward_loop`) is a fork that has entered the container's network namespace.
"""

import _socket
import errno

from slirp.errors import PortUnavailable
from slirp.model import PortMapping
from slirp.ports import port_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BACKLOG = 4096
_KEEPALIVE_S = 300
_RECEIVE_BYTES = 1 << 20


def listen_all(
    mappings: "Iterable[PortMapping]",
) -> list[tuple[PortMapping, _socket.socket]]:
    """Bind every mapping and return it with its host port; port 0 becomes a free one.

    Raises PortUnavailable, and nothing is bound then.
    """
    bound: list[tuple[PortMapping, _socket.socket]] = []
    mappings = tuple(mappings)
    taken = {(mapping.protocol, mapping.host_port) for mapping in mappings}
    try:
        # Those that were asked for first, so that no random one takes their place.
        for mapping in sorted(mappings, key=lambda mapping: mapping.host_port == 0):
            bound.append(_listen_new(mapping, taken))
    except BaseException:
        for _, sock in bound:
            sock.close()
        raise
    return bound


def _listen_new(
    mapping: PortMapping, taken: set[tuple[str, int]]
) -> tuple[PortMapping, _socket.socket]:
    while True:
        sock = listen(mapping)
        port: int = sock.getsockname()[1]
        if mapping.host_port or (mapping.protocol, port) not in taken:
            return mapping._replace(host_port=port), sock
        sock.close()  # another address' port, asked for by its number


def listen(mapping: PortMapping) -> _socket.socket:
    """Bind one mapping; no address is every one, IPv6 as well where the host has it.

    Raises PortUnavailable.
    """
    if mapping.host_ip:
        return _open(mapping, ":" in mapping.host_ip, mapping.host_ip)
    try:
        return _open(mapping, True, "::")
    except PortUnavailable as error:
        cause = error.__cause__
        missing = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
        if not isinstance(cause, OSError) or cause.errno not in missing:
            raise
    return _open(mapping, False, "0.0.0.0")  # noqa: S104 - what --publish means


def _open(mapping: PortMapping, is_six: bool, address: str) -> _socket.socket:
    from slirp import forward_udp as udp

    family = _socket.AF_INET6 if is_six else _socket.AF_INET
    kind = _socket.SOCK_STREAM if mapping.protocol == "tcp" else _socket.SOCK_DGRAM
    sock = None
    try:
        sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
        if is_six:
            sock.setsockopt(udp.SOL_IPV6, 26, int(bool(mapping.host_ip)))  # IPV6_V6ONLY
        if kind == _socket.SOCK_STREAM:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            # Inherited by the connections.
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        else:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _RECEIVE_BYTES)
            if is_six:
                sock.setsockopt(udp.SOL_IPV6, udp.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(udp.SOL_IP, udp.IP_PKTINFO, 1)
        sock.bind((address, mapping.host_port))
        if kind == _socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise port_error(mapping, error) from error
    return sock
