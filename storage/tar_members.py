"""Members of a tar archive with the very bytes of their headers, for those who keep both.

Only what every reader understands alike is accepted: see `NotChunkable`.
"""

import posixpath
import struct
import time

from storage.errors import InvalidLayer
from storage.pax import PaxHeaders, parse_pax
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_KINDS = {
    b"0": "reg", b"\0": "reg", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block",
    b"5": "dir", b"6": "fifo",
}  # fmt: skip
_PAX, _GNU_NAME, _GNU_LINK = b"x", b"L", b"K"
_META_LIMIT_BYTES = 1 << 20
_USTAR, _GNU, _V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
_ZEROS = bytes(_BLOCK)
_SECONDS_LIMIT = 1 << 34


class NotChunkable(InvalidLayer):
    """The archive has something that readers of tables of contents see differently."""


class Member(NamedTuple):
    """One member; `raw` is all of the archive since the contents of the one before."""

    raw: bytes
    name: str
    kind: str
    link: str
    mode: int
    size: int
    uid: int
    gid: int
    modified: str
    accessed: str
    changed: str
    major: int
    minor: int
    xattrs: dict[str, bytes]


class RawTar:
    """Walks through an archive that arrives in chunks of any size."""

    def __init__(self, chunks: "Iterator[bytes]") -> None:
        self._chunks = chunks
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._padding = 0
        self._names: set[str] = set()
        self._trailer = b""

    def next_member(self) -> Member | None:
        """Return the next member, None at the end. Raises NotChunkable, InvalidLayer."""
        raw = self._take(self._padding)
        self._padding = 0
        pax, long_name, long_link = PaxHeaders(), b"", b""
        while True:
            block = self._take(_BLOCK, or_end=True)
            if block in (b"", _ZEROS):
                self._trailer = raw + block
                return None
            raw += block
            kind = block[156:157]
            if kind not in (_PAX, _GNU_NAME, _GNU_LINK):
                return self._member(raw, _HEADER.unpack(block), pax, long_name, long_link)
            size = _number(block[124:136])
            if size > _META_LIMIT_BYTES:
                raise NotChunkable(f"a header of {size} bytes")
            data = self._take(size + -size % _BLOCK)
            raw += data
            if kind == _PAX:
                pax = parse_pax(data[:size], "tar archive")
            elif kind == _GNU_NAME:
                long_name = data[:size].partition(b"\0")[0]
            else:
                long_link = data[:size].partition(b"\0")[0]

    def contents(self) -> "Iterator[bytes]":
        """Yield the contents of the current member. Raises InvalidLayer."""
        while self._left:
            if self._position == len(self._buffer) and not self._fill():
                raise InvalidLayer("the tar archive ends in the middle of a file")
            chunk = self._buffer[self._position : self._position + self._left]
            self._position += len(chunk)
            self._left -= len(chunk)
            yield chunk

    def rest(self) -> "Iterator[bytes]":
        """Yield what follows the last member."""
        yield self._trailer + self._buffer[self._position :]
        self._position = len(self._buffer)
        while self._fill():
            self._position = len(self._buffer)
            yield self._buffer

    def _member(
        self, raw: bytes, header: tuple[bytes, ...], pax: PaxHeaders, name: bytes, link: bytes
    ) -> Member:
        kind = _KINDS.get(header[7])
        _check_plain(header, pax, kind)
        name = pax.get(b"path") or name or _short_name(header)
        link = pax.get(b"linkpath") or link or header[8].partition(b"\0")[0]
        size = pax.number(b"size", _number(header[4]), "tar archive")
        if header[7] == b"\0" and name.endswith(b"/"):
            kind = "dir"
        if kind != "reg" and size:
            raise NotChunkable("a member without contents has a size")
        self._left, self._padding = size, -size % _BLOCK
        has_device = header[9] != _V7
        return Member(
            raw,
            self._new_name(_decoded(name)),
            str(kind),
            _decoded(link),
            _number(header[1]),
            size,
            pax.number(b"uid", _number(header[2]), "tar archive"),
            pax.number(b"gid", _number(header[3]), "tar archive"),
            _time(pax.get(b"mtime") or b"%d" % _number(header[5])),
            _time(pax.get(b"atime")),
            _time(pax.get(b"ctime")),
            _number(header[12]) if has_device else 0,
            _number(header[13]) if has_device else 0,
            {_decoded(key): value for key, value in pax.xattrs.items()},
        )

    def _new_name(self, name: str) -> str:
        clean = posixpath.normpath(name)
        if clean in self._names or not name:
            raise NotChunkable(f"{name!r} is in the archive twice")
        self._names.add(clean)
        return name

    def _take(self, count: int, *, or_end: bool = False) -> bytes:
        while len(self._buffer) - self._position < count:
            if not self._fill():
                if or_end and self._position == len(self._buffer):
                    return b""
                raise NotChunkable("the archive is not made of whole blocks")
        start = self._position
        self._position += count
        return self._buffer[start : start + count]

    def _fill(self) -> bool:
        chunk = next(self._chunks, b"")
        self._buffer = self._buffer[self._position :] + chunk
        self._position = 0
        return bool(chunk)


def _check_plain(header: tuple[bytes, ...], pax: PaxHeaders, kind: str | None) -> None:
    """Refuse kinds and fields that not everybody reads alike. Raises NotChunkable."""
    magic, tail = header[9], header[14]
    if kind is None:
        raise NotChunkable(f"a member of the kind {header[7]!r}")
    if pax.is_sparse:
        raise NotChunkable("a sparse file")
    if magic == _GNU and tail.strip(b"\0"):
        raise NotChunkable("times of access in an old header of GNU tar")
    if magic not in (_USTAR, _GNU, _V7):
        raise NotChunkable(f"headers of the kind {magic!r}")
    if magic == _USTAR and header[15].strip(b"\0"):
        raise NotChunkable("headers of star")
    if any(key.startswith(b"GNU.sparse") for key in pax):
        raise NotChunkable("a sparse file")


def _short_name(header: tuple[bytes, ...]) -> bytes:
    name = header[0].partition(b"\0")[0]
    prefix = header[14].partition(b"\0")[0] if header[9] == _USTAR else b""
    return prefix + b"/" + name if prefix else name


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotChunkable("a name that is not UTF-8") from error


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise NotChunkable("a number below zero")
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise NotChunkable(f"the number {text!r}") from error


def _time(text: bytes | None) -> str:
    """Return a moment as RFC 3339 writes it, "" for none. Raises NotChunkable."""
    if not text:
        return ""
    whole, _, fraction = text.partition(b".")
    if not whole.isdigit() or int(whole) >= _SECONDS_LIMIT or len(fraction) > 9:
        raise NotChunkable(f"the time {text!r}")
    if fraction and not fraction.isdigit():
        raise NotChunkable(f"the time {text!r}")
    digits = fraction.decode().rstrip("0")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(whole)))
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"
