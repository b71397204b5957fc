"""Where the forwarder connects to in the container, and from which address.

The source is the client's own address. Where that cannot be - a client on the host's loopback
must not look like a process of the container, a link-local address has no meaning inside - it is
the address by which the container knows the host.
"""

import _socket
import errno

from slirp.record import NamedTuple

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
SOL_IP, SOL_IPV6 = 0, 41
_MAPPED = "::ffff:"


class Target(NamedTuple):
    """A container's addresses, "" for none; the gateways stand for the host.

    `lazy6` is given to lo of the container when the first IPv6 client comes and `address6` is "".
    """

    address: str = ""
    gateway: str = ""
    address6: str = ""
    gateway6: str = ""
    lazy6: str = ""

    def to_text(self) -> str:
        """Return it as one word."""
        return ",".join(self)

    @classmethod
    def from_text(cls, text: str) -> "Target":
        """Read what `to_text` wrote."""
        return cls(*text.split(","))


class Attempt(NamedTuple):
    """One way to reach the server: (family, source address, destination address)."""

    family: int
    source: str
    destination: str


def attempts(target: Target, client: str) -> list[Attempt]:
    """Return the ways to reach the server for a client, the best first."""
    client = client.removeprefix(_MAPPED) if "." in client else client
    is_six = ":" in client
    own = (target.address, target.address6, target.lazy6)
    is_hidden = client in own or client == "::1" or client.startswith("127.")
    is_hidden = is_hidden or client.startswith("0.") or "%" in client
    is_hidden = is_hidden or client.lower().startswith("fe80:")
    result = []
    if not is_hidden:
        if is_six and (address := target.address6 or target.lazy6):
            result.append(Attempt(_socket.AF_INET6, client, address))
        elif not is_six and target.address:
            result.append(Attempt(_socket.AF_INET, client, target.address))
    if target.address and target.gateway and (is_hidden or is_six):
        result.append(Attempt(_socket.AF_INET, target.gateway, target.address))
    elif target.address6 and target.gateway6 and not result:
        result.append(Attempt(_socket.AF_INET6, target.gateway6, target.address6))
    return result


def transparent_socket(attempt: Attempt, kind: int, port: int) -> _socket.socket:
    """Return a socket bound to the client's address inside the container's network.

    When its port is in use there (two published ports lead to one server) another is taken.
    """
    flags = kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    sock = _socket.socket(attempt.family, flags)
    try:
        if attempt.family == _socket.AF_INET:
            sock.setsockopt(SOL_IP, IP_TRANSPARENT, 1)
        else:
            sock.setsockopt(SOL_IPV6, IPV6_TRANSPARENT, 1)
        if kind == _socket.SOCK_STREAM:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        try:
            sock.bind((attempt.source, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            sock.bind((attempt.source, 0))
    except OSError:
        sock.close()
        raise
    return sock
