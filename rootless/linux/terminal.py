"""The size of a terminal: ioctl_tty(2)."""

import fcntl
import struct
import termios


def set_window_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; its foreground processes get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
