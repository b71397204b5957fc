"""The wire between a monitor and the child that becomes the container: one socket pair.

Messages keep their borders (SOCK_SEQPACKET). The child's end closes at exec: that is success.

    monitor -> child   b"m" the id maps are written     b"x" go on to exec
    child -> monitor   b"t" + descriptor of a pty master
                       b"r" the root file system stands; only b"x" is waited for
                       b"l" + descriptor of the listener of root emulation
                       b"f" a root has to be mounted from outside; b"m" answers
                       b"e" + JSON [step, path, errno]
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import struct

from rootless.sandbox.targets import StepError
from storage import lightjson as json

_MESSAGE_BYTES = 8192


class Channel:
    """One end of the wire."""

    __slots__ = ("_socket",)

    def __init__(self, end: "_socket.socket") -> None:
        self._socket = end

    @staticmethod
    def pair() -> "tuple[Channel, Channel]":
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        return Channel(ours), Channel(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes, fd: int = -1) -> None:
        ancillary = []
        if fd >= 0:
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
        self._socket.sendmsg([message], ancillary, _socket.MSG_NOSIGNAL)

    def send_error(self, error: StepError) -> None:
        text = json.dumps([error.step, error.path, error.number])
        self.send(b"e" + text.encode()[: _MESSAGE_BYTES - 1])

    def receive(self) -> tuple[bytes, int]:
        """Return one message and the descriptor that came with it, -1 for none; b"" at the end."""
        size = _socket.CMSG_SPACE(4)
        data, ancillary, _, _ = self._socket.recvmsg(_MESSAGE_BYTES, size, _socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                return data, int.from_bytes(payload[:4], "little")
        return data, -1

    def expect(self, message: bytes) -> None:
        """Wait for a message of the monitor; the end of the wire means that it is gone."""
        if self.receive()[0] != message:
            os._exit(1)


def parse_error(message: bytes) -> StepError:
    """Read an `e` message."""
    try:
        step, path, number = json.loads(message[1:])
        return StepError(str(step), str(path), int(number))
    except ValueError:
        return StepError("the child's report was cut off", "", 0)
