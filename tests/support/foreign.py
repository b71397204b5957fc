"""A program for another architecture, written by hand: nothing has to be fetched for it."""

import struct

_BASE = 0x400000
_HEADERS_BYTES = 64 + 56
_AT_FDCWD = -100
_CALLS = {"mkdirat": 34, "write": 64, "exit": 93}
_SVC = 0xD4000001


def arm64_program(says: bytes, makes: bytes) -> bytes:
    """Return an executable for arm64 that makes a directory, writes a line, and ends with 0."""
    count = 14
    words = [
        _negative(0, _AT_FDCWD), _address(1, 1, count, len(says)), _number(2, 0o755),
        _number(8, _CALLS["mkdirat"]), _SVC,
        _number(0, 1), _address(1, 6, count, 0), _number(2, len(says)),
        _number(8, _CALLS["write"]), _SVC,
        _number(0, 0), _number(8, _CALLS["exit"]), _SVC, _SVC,
    ]  # fmt: skip
    assert len(words) == count
    text = struct.pack(f"<{count}I", *words) + says + makes + b"\0"
    size = _HEADERS_BYTES + len(text)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    entry = _BASE + _HEADERS_BYTES
    header += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + text


def _number(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register


def _negative(register: int, value: int) -> int:
    return 0x92800000 | ~value << 5 | register


def _address(register: int, position: int, count: int, offset: int) -> int:
    """Return an ADR of what lies `offset` bytes behind all `count` instructions."""
    distance = 4 * (count - position) + offset
    return 0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | register
