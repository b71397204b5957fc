"""Which bytes on the disk files have in common: FIEMAP, the kernel's list of a file's extents.

Copies that share their bytes (FICLONE, on btrfs, xfs, bcachefs) each claim them in `st_blocks`; the
extents that the file system calls shared are told apart by where they lie.
Documentation/filesystems/fiemap.rst of the kernel.
"""

import os
import struct
from bisect import bisect_right

_FIEMAP = 0xC020660B
# start, length, flags, mapped extents, room for extents, reserved
_HEAD = struct.Struct("=QQIIII")
# logical, physical, length, reserved, flags, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")
_ROOM = 64
_END = (1 << 64) - 1
_LAST, _UNKNOWN, _SHARED = 0x1, 0x2, 0x2000
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# FICLONE is unknown to them: nothing has to be asked there.
_NEVER_SHARE = ("ext2", "ext3", "ext4", "tmpfs", "ramfs")


class SharedExtents:
    """Extents of a file system that several files have, as far as they have been seen."""

    __slots__ = ("_ends", "_is_on", "_starts")

    def __init__(self, directory: str) -> None:
        """Nothing is looked at where the file system of `directory` shares nothing."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._is_on = _type_of(directory) not in _NEVER_SHARE

    def counted_before(self, path: str) -> int:
        """Return how many bytes of a regular file have been seen in others; note all it shares."""
        if not self._is_on:
            return 0
        try:
            descriptor = os.open(path, _OPEN)
        except OSError:
            return 0  # removed just now, or not ours to read
        try:
            return sum(
                length - self._add(physical, physical + length)
                for physical, length in _shared_extents(descriptor)
            )
        except OSError:
            # EOPNOTSUPP, ENOTTY: this file system does not tell; it is the same for all its files.
            self._is_on = False
            return 0
        finally:
            os.close(descriptor)

    def _add(self, start: int, end: int) -> int:
        """Note a range of the disk; return how many bytes of it are new."""
        first = bisect_right(self._ends, start)
        last = first
        known = 0
        joined_start, joined_end = start, end
        while last < len(self._starts) and self._starts[last] < end:
            known += min(end, self._ends[last]) - max(start, self._starts[last])
            joined_start = min(joined_start, self._starts[last])
            joined_end = max(joined_end, self._ends[last])
            last += 1
        self._starts[first:last] = [joined_start]
        self._ends[first:last] = [joined_end]
        return end - start - known


def _shared_extents(descriptor: int) -> list[tuple[int, int]]:
    """Return place and length of the extents that other files have, too. Raises OSError."""
    import fcntl

    found = []
    start = 0
    while True:
        buffer = bytearray(_HEAD.size + _ROOM * _EXTENT.size)
        _HEAD.pack_into(buffer, 0, start, _END - start, 0, 0, _ROOM, 0)
        fcntl.ioctl(descriptor, _FIEMAP, buffer)
        count = _HEAD.unpack_from(buffer)[3]
        flags = _LAST
        for number in range(count):
            logical, physical, length, flags = _EXTENT.unpack_from(
                buffer, _HEAD.size + number * _EXTENT.size
            )
            start = logical + length
            if flags & _SHARED and not flags & _UNKNOWN:
                found.append((physical, length))
        if flags & _LAST:
            return found


def _type_of(directory: str) -> str:
    """Return the type of a file system, empty when it cannot be told (of subvolumes, in btrfs)."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == wanted:
                return rest.split()[0]
    return ""
