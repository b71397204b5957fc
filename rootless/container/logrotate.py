"""A log that is kept below a size: `--log-opt max-size=`, `max-file=`.

When the file is full it becomes FILE.1, or goes when max-file is 1, and a new one begins. Whoever
reads a log holds a shared lock on the file that it is reading. The writer rotates again only when
nobody reads the file before the current one any more, so a reader that follows never misses a file;
but one that has stopped must not fill the disk: it is left behind when the file has outgrown its
size by _PATIENCE_BYTES. A line that has begun ends in the same file.
"""

import fcntl
import os

from rootless.container.logfile import LogWriter
from storage.errors import NO_LOCKS

_PATIENCE_BYTES = 8 << 20
_LEAST_STEP_BYTES = 4096


class RotatingLog(LogWriter):
    """Writes records, and rotates between chunks."""

    __slots__ = ("_files", "_limit_bytes", "_path", "_previous", "_size", "_unfinished")

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        super().__init__(path)
        self._path = path
        self._limit_bytes = limit_bytes
        self._files = files
        self._previous = -1
        self._unfinished: set[str] = set()
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes, now_ns: int) -> None:
        """Write one chunk. Raises OSError."""
        # Short lines grow by what is written before each.
        step = max(_LEAST_STEP_BYTES, self._limit_bytes // 16)
        for at in range(0, len(data), step):
            self._write_part(stream, data[at : at + step], now_ns)

    def _write_part(self, stream: str, data: bytes, now_ns: int) -> None:
        if self._size >= self._limit_bytes:
            end = data.find(b"\n") + 1 if stream in self._unfinished else 0
            if (end or stream not in self._unfinished) and self._may_rotate():
                self._append(stream, data[:end], now_ns)
                self._rotate()
                data = data[end:]
        self._append(stream, data, now_ns)

    def _append(self, stream: str, data: bytes, now_ns: int) -> None:
        if not data:
            return
        super().write(stream, data, now_ns)
        self._size = os.fstat(self._fd).st_size
        if data.endswith(b"\n"):
            self._unfinished.discard(stream)
        else:
            self._unfinished.add(stream)

    def _may_rotate(self) -> bool:
        if self._previous < 0 or self._size >= self._limit_bytes + _PATIENCE_BYTES:
            return True
        try:
            fcntl.flock(self._previous, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        return True

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            try:
                os.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                continue
        if self._files == 1:
            os.unlink(self._path)
        if self._previous >= 0:
            os.close(self._previous)
        self._previous = self._fd
        self._open(self._path)
        self._size = 0


def older_files(path: str) -> list[str]:
    """Return the rotated files of a log, the oldest first."""
    number = 1
    while os.path.exists(f"{path}.{number}"):
        number += 1
    return [f"{path}.{one}" for one in range(number - 1, 0, -1)]
