"""A container's log: the text format of Kubernetes (CRI), which podman calls k8s-file.

2026-01-31T12:00:00.000000000+00:00 stdout F a whole line
2026-01-31T12:00:00.000000000+00:00 stderr P the start of a line that goes on in the next record
"""

import os
import time

STDOUT, STDERR = "stdout", "stderr"


def timestamp(now_ns: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, fraction = divmod(now_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}+00:00"


class LogWriter:
    """Appends chunks of a stream; all lines of a chunk get the time at which it was read."""

    __slots__ = ("_fd",)

    def __init__(self, path: str) -> None:
        self._open(path)

    def _open(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, stream: str, data: bytes, now_ns: int) -> None:
        """Write one chunk. Raises OSError (a full disk)."""
        head = f"{timestamp(now_ns)} {stream} ".encode()
        whole, newline, rest = data.rpartition(b"\n")
        record = b""
        if newline:
            record = head + b"F " + whole.replace(b"\n", b"\n" + head + b"F ") + b"\n"
        if rest:
            record += head + b"P " + rest + b"\n"
        view = memoryview(record)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        os.close(self._fd)
