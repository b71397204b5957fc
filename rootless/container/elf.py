"""What a shared library says of itself: its soname, and the versions of glibc that it needs.

System V ABI, object files: program headers, the dynamic section; Linux Standard Base, symbol
versioning. Only those parts of a file are read.
"""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]  # (offset, bytes)

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_STRTAB, _DT_STRSZ, _DT_SONAME = 5, 10, 14
_DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = (
    0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF,
)  # fmt: skip
_LIMIT = 1 << 24
_MOST = 4096
Version = tuple[int, ...]


class Library:
    """One 64-bit little-endian library; `needs` and `defines` are versions of GLIBC_, sorted."""

    __slots__ = ("defines", "needs", "soname")

    def __init__(self) -> None:
        self.soname = ""
        self.needs: list[Version] = []
        self.defines: list[Version] = []


def read_library(path: str) -> Library | None:
    """Return what a file says; None for what is no such library, or a damaged one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return parse_library(lambda offset, size: os.pread(fd, min(size, _LIMIT), offset))
    finally:
        os.close(fd)


def parse_library(read: "Read") -> Library | None:
    """Return what the bytes say; None for what is no such library, or a damaged one."""
    try:
        return _parse(read)
    except (struct.error, ValueError, IndexError, OverflowError, OSError):
        return None


def _parse(read: "Read") -> Library | None:
    head = read(0, 64)
    if head[:6] != b"\x7fELF\x02\x01":
        return None
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    raw = read(table, size * count)
    segments = [struct.unpack_from("<IIQQQQ", raw, size * number) for number in range(count)]
    loads = [(s[3], s[2], s[5]) for s in segments if s[0] == _PT_LOAD]
    tags: dict[int, int] = {}
    for kind, _, offset, _, _, length in segments:
        if kind == _PT_DYNAMIC:
            data = read(offset, length)
            for tag, value in struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]):
                tags.setdefault(tag, value)
    if _DT_STRTAB not in tags:
        return None
    names = read(_offset(loads, tags[_DT_STRTAB]), tags[_DT_STRSZ])
    result = Library()
    if _DT_SONAME in tags:
        result.soname = _text(names, tags[_DT_SONAME])
    if _DT_VERNEED in tags:
        result.needs = _needed(read, names, _offset(loads, tags[_DT_VERNEED]), tags)
    if _DT_VERDEF in tags:
        result.defines = _defined(read, names, _offset(loads, tags[_DT_VERDEF]), tags)
    return result


def _offset(loads: "list[tuple[int, int, int]]", address: int) -> int:
    """Return where in the file an address of the loaded library lies."""
    for start, offset, length in loads:
        if start <= address < start + length:
            return address - start + offset
    raise ValueError(address)


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode(errors="replace")


def _versions(texts: "set[str]") -> list[Version]:
    found = set()
    for text in texts:
        prefix, _, number = text.partition("GLIBC_")
        if not prefix and number.replace(".", "").isdecimal():
            found.add(tuple(int(part) for part in number.split(".")))
    return sorted(found)


def _needed(read: "Read", names: bytes, where: int, tags: dict[int, int]) -> list[Version]:
    texts = set()
    for _ in range(min(tags.get(_DT_VERNEEDNUM, 0), _MOST)):
        _, count, _, first, following = struct.unpack("<HHIII", read(where, 16))
        place = where + first
        for _ in range(min(count, _MOST)):
            _, _, _, name, further = struct.unpack("<IHHII", read(place, 16))
            texts.add(_text(names, name))
            place += further
        where += following
    return _versions(texts)


def _defined(read: "Read", names: bytes, where: int, tags: dict[int, int]) -> list[Version]:
    texts = set()
    for _ in range(min(tags.get(_DT_VERDEFNUM, 0), _MOST)):
        _, _, _, _, _, first, following = struct.unpack("<HHHHIII", read(where, 20))
        (name,) = struct.unpack("<I", read(where + first, 4))
        texts.add(_text(names, name))
        where += following
    return _versions(texts)
