"""The attach protocol between a monitor and its clients: one byte of kind, four of length.

A stream socket in the run root (0600, in a directory of 0700) or a socket pair of the command that
started the container; both speak the same.

    monitor -> client   OUT, ERR data; STARTED {"pid", "notes"}; FAILED {class, message, remedy};
                        EXIT code
    client -> monitor   IN data; EOF; RESIZE rows, columns; LEAVE (detach keys: keep stdin open);
                        BROKEN kind (its OUT or ERR goes nowhere any more); ROOT, answered by any
                        byte that a descriptor of the root comes with (`root_lending`);
                        GO [attach, rows, columns]: the command of a prepared container may run
    both ways           NETWORKS: the networks have changed; they have been looked at
                        PUBLISH [add or rm, mapping] answered by PUBLISHED [errno, mapping]
"""

import struct

from storage import lightjson as json
from storage.record import NamedTuple

OUT, ERR, STARTED, FAILED, EXIT, PUBLISHED = 1, 2, 3, 4, 5, 6
IN, EOF, RESIZE, LEAVE, BROKEN, PUBLISH = 10, 11, 12, 13, 14, 15
NETWORKS = 20
ROOT = 21
GO = 22

HEADER = struct.Struct("!BI")
MAX_PAYLOAD_BYTES = 1 << 20


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


def frame_json(kind: int, value: object) -> bytes:
    return frame(kind, json.dumps(value).encode())


def frame_resize(rows: int, columns: int) -> bytes:
    return frame(RESIZE, struct.pack("!HH", rows, columns))


# The first message of a client to its monitor, which comes with the lock of the container.
START_BYTES = 4096


class StartOptions(NamedTuple):
    """How a container is started this time. `console_size` is rows and columns.

    `hold`: it is only prepared, and waits for GO.
    """

    attach: bool
    console_size: tuple[int, int] = (0, 0)
    interactive: bool = False
    restart_count: int = 0
    listen_fds: int = 0
    hold: bool = False


class Reader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the complete frames. Raises ValueError for a length that nobody sends."""
        self._data += data
        frames = []
        start = 0
        size = HEADER.size
        while len(self._data) - start >= size:
            kind, length = HEADER.unpack_from(self._data, start)
            if length > MAX_PAYLOAD_BYTES:
                raise ValueError(f"frame of {length} bytes")
            if len(self._data) - start - size < length:
                break
            frames.append((kind, bytes(self._data[start + size : start + size + length])))
            start += size + length
        del self._data[:start]
        return frames
