"""Digests of files that have been read before, known by inode, size and times.

A record of 80 bytes for each file, in one file for each tree that is read (a context directory, the
layers of the store). Losing it costs time only. A file is believed to be unchanged when device,
inode, size, modification and change time are; it is not recorded when it changed so shortly before
it was read that a further change could have left the same times.
"""

import hashlib
import os
import struct
import time

from storage.errors import from_os_error
from storage.files import write_file

_MAGIC = b"rpod-digests-1\n"
_ROW = struct.Struct("<QQQqq32s")
_ROWS_LIMIT = 2_000_000
_GRACE_NS = 50_000_000
_COARSE_GRACE_NS = 2_500_000_000
_SECOND_NS = 1_000_000_000
_CHECK_BYTES = 32

Key = tuple[int, int, int, int, int]


def stat_key(found: os.stat_result) -> Key:
    """Return what identifies the content of a file as long as nobody sets clocks back."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class StatCache:
    """Digests by stat key; `save` keeps those that were used or added since `load`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[Key, bytes] = {}
        self._used: dict[Key, bytes] = {}
        self._added = False
        self._version: tuple[int, int] | None = None

    def load(self) -> "StatCache":
        """Read the file if it is a new one; one that is missing or broken counts as empty."""
        try:
            with open(self._path, "rb") as file:
                found = os.fstat(file.fileno())
                version = (found.st_ino, found.st_mtime_ns)
                if version == self._version:
                    return self
                self._version = version
                data = file.read(len(_MAGIC) + _CHECK_BYTES + _ROWS_LIMIT * _ROW.size)
        except OSError:
            return self
        rows = data[len(_MAGIC) + _CHECK_BYTES :]
        check = data[len(_MAGIC) : len(_MAGIC) + _CHECK_BYTES]
        if data.startswith(_MAGIC) and hashlib.sha256(rows).digest() == check:
            self._known.update(
                ((dev, ino, size, mtime, ctime), digest)
                for dev, ino, size, mtime, ctime, digest in _ROW.iter_unpack(rows)
            )
        return self

    def get(self, key: Key) -> bytes | None:
        """Return the digest of a file, None when it has to be read."""
        digest = self._known.get(key)
        if digest is not None:
            self._used[key] = digest
        return digest

    def put(self, key: Key, digest: bytes, started_ns: int) -> None:
        """Remember what was read of a file; `started_ns` is the time before its first byte."""
        _, _, _, mtime_ns, ctime_ns = key
        is_coarse = mtime_ns % _SECOND_NS == 0 and ctime_ns % _SECOND_NS == 0
        grace_ns = _COARSE_GRACE_NS if is_coarse else _GRACE_NS
        if max(mtime_ns, ctime_ns) + grace_ns < started_ns:
            self._used[key] = digest
            self._known[key] = digest
            self._added = True

    def save(self) -> None:
        """Write what this build has used, if it is not what the file has. Raises StoreUnusable."""
        if not self._path or (not self._added and len(self._used) == len(self._known)):
            return
        rows = b"".join(
            _ROW.pack(*key, digest) for key, digest in list(self._used.items())[:_ROWS_LIMIT]
        )
        data = _MAGIC + hashlib.sha256(rows).digest() + rows
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_file(self._path, data, mode=0o600, sync=False)
            self._added = False
        except OSError as error:
            raise from_os_error(f"write {self._path}", error) from error


def now_ns() -> int:
    """Return the time on the clock that file systems use."""
    return time.time_ns()
