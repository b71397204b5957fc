"""What the monitor tells the forwarder of its container's ports (`slirp.forward_loop`)."""

import _socket
import sys

from slirp.model import PortMapping


def key_of(mapping: PortMapping) -> str:
    """Return the word that names a mapping to the forwarder."""
    return f"{mapping.host_text}/{mapping.protocol}"


def send_add(control: _socket.socket, mapping: PortMapping, fd: int) -> None:
    """Give the forwarder a bound socket. Raises OSError when it is gone."""
    text = f"add {key_of(mapping)} {mapping.protocol} {mapping.container_port}"
    rights = fd.to_bytes(4, sys.byteorder)
    control.sendmsg(
        [text.encode()],
        [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)],
        _socket.MSG_NOSIGNAL,
    )


def send_remove(control: _socket.socket, mapping: PortMapping) -> None:
    """Let the forwarder close a port. Raises OSError when it is gone."""
    control.send(f"rm {key_of(mapping)}".encode(), _socket.MSG_NOSIGNAL)


def send_routes(control: _socket.socket) -> None:
    """Let the forwarder make its routes again: an interface was lost. Raises OSError."""
    control.send(b"routes", _socket.MSG_NOSIGNAL)
