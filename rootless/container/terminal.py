"""The caller's terminal: raw mode that is always undone, size, detach keys."""

import os
import termios

from rootless.errors import UsageError

_CONTROL = {chr(c): bytes([c - 96]) for c in range(ord("a"), ord("z") + 1)}
_CONTROL |= {"@": b"\0", "[": b"\x1b", "\\": b"\x1c", "]": b"\x1d", "^": b"\x1e", "_": b"\x1f"}


class RawTerminal:
    """Raw mode as a context manager; the old mode comes back on every way out."""

    __slots__ = ("_fd", "_saved")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[object] = []

    def __enter__(self) -> "RawTerminal":
        self._saved = termios.tcgetattr(self._fd)
        self.again()
        return self

    def again(self) -> None:
        """Set raw mode."""
        mode = termios.tcgetattr(self._fd)
        # cfmakeraw(3)
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = (mode[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN] = 1
        mode[6][termios.VTIME] = 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)

    def __exit__(self, *unused: object) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]


def size_of(fd: int) -> tuple[int, int]:
    """Return rows and columns; (0, 0) when it is no terminal."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return size.lines, size.columns


def parse_detach_keys(text: str) -> bytes:
    """Return the byte sequence of `ctrl-p,ctrl-q`; "" switches detaching off. Raises UsageError."""
    result = b""
    for word in text.split(",") if text else ():
        if len(word) == 1 and word.isascii():
            result += word.encode()
        elif word.startswith("ctrl-") and word[5:] in _CONTROL:
            result += _CONTROL[word[5:]]
        else:
            raise UsageError(
                f'invalid detach keys "{text}"',
                remedy="use letters and ctrl-x, separated by commas: ctrl-p,ctrl-q",
            )
    return result


class DetachKeys:
    """Looks for the sequence in what is typed; what only begins like it is passed on."""

    __slots__ = ("_keys", "_seen")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, and whether the sequence is complete."""
        if not self._keys:
            return data, False
        passed = bytearray()
        for value in data:
            self._seen += bytes([value])
            if self._keys.startswith(self._seen):
                if self._seen == self._keys:
                    return bytes(passed), True
                continue
            # Give back the oldest bytes until what is left may still be a beginning.
            while self._seen and not self._keys.startswith(self._seen):
                passed.append(self._seen[0])
                self._seen = self._seen[1:]
        return bytes(passed), False
