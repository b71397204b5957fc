"""How many bytes came and went through published ports, in a file of two numbers.

The container's own counters do not have them: inside, they travel over its loopback interface.
"""

import os

_SIZE = 8
_EVERY_S = 0.5


class Traffic:
    """Counts of one container; what a forwarder before has written is kept. `fd` -1 is no file."""

    __slots__ = ("_fd", "_is_new", "_received", "_sent", "_written_s")

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd
        self._received, self._sent = decode(os.pread(fd, 2 * _SIZE, 0)) if fd >= 0 else (0, 0)
        self._is_new = False
        self._written_s = 0.0

    def add(self, received: int, sent: int) -> None:
        """Count bytes to and from the container."""
        self._received += received
        self._sent += sent
        self._is_new = self._fd >= 0

    def wait_s(self, now_s: float) -> float:
        """Return when `write` is due, -1 for never."""
        return max(0.0, self._written_s + _EVERY_S - now_s) if self._is_new else -1

    def write(self, now_s: float, *, at_once: bool = False) -> None:
        """Write the numbers if they have changed, some times in a second."""
        if self._is_new and (at_once or now_s - self._written_s >= _EVERY_S):
            self._is_new = False
            self._written_s = now_s
            both = (self._received, self._sent)
            try:
                os.pwrite(self._fd, b"".join(one.to_bytes(_SIZE, "little") for one in both), 0)
            except OSError:
                return  # a full disk: numbers for people, no reason to end


def decode(data: bytes) -> tuple[int, int]:
    """Return bytes received and sent; zeros from what is no such file."""
    if len(data) != 2 * _SIZE:
        return 0, 0
    return int.from_bytes(data[:_SIZE], "little"), int.from_bytes(data[_SIZE:], "little")
