"""Hosts of registries: splitting their names, and telling which of them are this machine."""

import _socket

from storage.errors import RegistryUnreachable

_PORT_LIMIT = 1 << 16


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without port, can only be this machine."""
    host = host.strip("[]")
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return _socket.inet_pton(_socket.AF_INET, host)[0] == 127
    except (OSError, ValueError):
        pass
    try:
        return _socket.inet_pton(_socket.AF_INET6, host) == bytes(15) + b"\1"
    except (OSError, ValueError):
        return False


def split_host(text: str) -> tuple[str, int | None]:
    """Split HOST[:PORT] or [ADDRESS][:PORT]. Raises RegistryUnreachable."""
    host, _, port = text.partition(":")
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    if not host or (port and not (port.isascii() and port.isdigit() and int(port) < _PORT_LIMIT)):
        raise RegistryUnreachable(f"{text[:100]!r} is not a host")
    return host, int(port) if port else None
