"""Find where the last lines of a log begin, reading it from its end.

A line may have several records: all but the last are P records of its stream, and records of the
other stream may lie between them. So a record begins a line when the record of its stream before it
is no P record (`rootless.container.logfile`).
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Record = tuple[int, bytes, bytes]

_CHUNK_BYTES = 1 << 18
# How far to look for the record before one of a stream that is rarely written to.
_LOOK_BACK_BYTES = 1 << 20
_HEAD_BYTES = 64


def find_tail(fd: int, wanted: int) -> int:
    """Return the offset at which the last `wanted` lines of a log begin."""
    if wanted <= 0:
        return os.fstat(fd).st_size
    starts: list[int] = []
    undecided: dict[bytes, int] = {}
    for begin, records in _chunks_backwards(fd):
        for position, stream, kind in records:
            if kind != b"P" and stream in undecided:
                starts.append(undecided[stream])
            undecided[stream] = position
        if len(starts) < wanted:
            continue
        starts = sorted(starts, reverse=True)[:wanted]
        later = [position for position in undecided.values() if position > starts[-1]]
        if not later or starts[-1] - begin > _LOOK_BACK_BYTES:
            return sorted(starts + later, reverse=True)[wanted - 1]
    starts = sorted([*starts, *undecided.values()], reverse=True)
    return starts[wanted - 1] if len(starts) >= wanted else 0


def _chunks_backwards(fd: int) -> "Iterator[tuple[int, list[Record]]]":
    """Give (offset, records from the last to the first) of each part of the file."""
    begin = os.fstat(fd).st_size
    rest = b""
    while begin > 0:
        step = min(begin, _CHUNK_BYTES)
        begin -= step
        data = os.pread(fd, step, begin) + rest
        first = data.find(b"\n") + 1 if begin else 0
        rest = data[:first] if first else data
        if first or not begin:
            yield begin + first, _records_backwards(data[first:], begin + first)


def _records_backwards(data: bytes, begin: int) -> "list[Record]":
    result = []
    position = begin + len(data)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
        position -= 1
    for line in reversed(lines):
        position -= len(line)
        fields = line[:_HEAD_BYTES].split(b" ", 3)
        if len(fields) >= 3:
            result.append((position, fields[1], fields[2]))
        position -= 1
    return result
