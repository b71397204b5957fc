"""The size of a terminal: ioctl_tty(2)."""

import fcntl
import sys

# asm-generic/ioctls.h. The termios module has some of them, and is a file to find at each start.
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCGPTN = 0x80045430


def set_window_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; its foreground processes get SIGWINCH."""
    size = b"".join(word.to_bytes(2, sys.byteorder) for word in (rows, columns, 0, 0))
    fcntl.ioctl(terminal, _TIOCSWINSZ, size)


def open_slave(master: int, flags: int) -> int:
    """Unlock a new terminal and open its other end, which needs no path."""
    fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
    return fcntl.ioctl(master, _TIOCGPTPEER, flags)


def terminal_number(master: int) -> int:
    """Return its number, the name of the other end in devpts."""
    return int.from_bytes(fcntl.ioctl(master, _TIOCGPTN, bytes(4)), sys.byteorder)


def take_control(slave: int) -> None:
    """Make it the controlling terminal of this process, the leader of a session."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
