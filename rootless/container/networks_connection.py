"""A connection to the helper of a network: it says that the network is in use."""

import _socket
import os
import struct

from storage.layout import Layout
from storage.record import NamedTuple

_HELLO_BYTES = 64


class Connection(NamedTuple):
    """A connection to a network's helper, and the network's namespaces; -1 for none."""

    fd: int
    userns: int
    netns: int

    def close(self) -> None:
        """Close what there is."""
        for fd in self:
            if fd >= 0:
                os.close(fd)


def socket_name(directory: int) -> str:
    """Return a path of the helper's socket that is short enough (unix(7))."""
    return f"/proc/self/fd/{directory}/helper.sock"


def connect(layout: Layout, network_id: str) -> Connection | None:
    """Connect to the helper of a network; None when there is none."""
    try:
        directory = os.open(
            layout.network_run_dir(network_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return None
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(socket_name(directory))
        space = _socket.CMSG_SPACE(8)
        _data, ancillary, _, _ = sock.recvmsg(_HELLO_BYTES, space, _socket.MSG_CMSG_CLOEXEC)
    except OSError:
        sock.close()
        return None
    finally:
        os.close(directory)
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS and len(payload) == 8:
            userns, netns = struct.unpack("ii", payload)
            return Connection(sock.detach(), userns, netns)
    sock.close()
    return None
