"""Read tar archives as a stream: ustar, GNU and PAX, with sparse files and extended attributes.

Only what is unpacked is parsed, and everything is bounded: an archive comes from strangers.
Names and values stay bytes, as the kernel has them.
"""

import struct
import zlib
from collections.abc import Iterator

from storage.errors import InvalidLayer
from storage.pax import PaxHeaders, Segments, parse_pax, parse_sparse_map
from storage.record import NamedTuple

BLOCK = 512
REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6",
)  # fmt: skip
_HEADER_ONLY = frozenset((LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK, _GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"
_PLAIN = frozenset((REGULAR, b"\0", b"7"))
_META = frozenset((_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK))
_META_LIMIT_BYTES = 1 << 20
_SPARSE_MAP_BLOCKS = 1 << 12
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_ZEROS = bytes(BLOCK)
_ADLER_MODULUS = 65521
_NUMBERS_KEPT = 4096
_SECONDS_LIMIT = 1 << 34


class Entry(NamedTuple):
    """One member of an archive; `size` is that of the file, which may be sparse."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes
    xattrs: dict[bytes, bytes]
    segments: Segments | None


class TarReader:
    """Walks through an archive that arrives in chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._view = memoryview(b"")
        self._position = 0
        self._before = 0
        self._left = 0
        self._skip = 0
        self._global = PaxHeaders()
        self._numbers: dict[bytes, int] = {}
        self._last_block = b""

    @property
    def offset(self) -> int:
        """Bytes of the archive that have been read."""
        return self._before + self._position

    def next_entry(self) -> Entry | None:
        """Return the next member, None at the end. Raises InvalidLayer."""
        local = PaxHeaders()
        while True:
            header = self._next_header()
            if header is None:
                if local:
                    raise self._broken("it ends after a header for a member that does not follow")
                return None
            kind = header[7]
            if kind not in _META:
                return self._entry(header, local)
            data = self._meta(self._number(header[4]))
            if kind == _PAX:
                local.update(parse_pax(data, self._where()))
            elif kind == _PAX_GLOBAL:
                self._global.update(parse_pax(data, self._where()))
            else:
                key = b"path" if kind == _GNU_NAME else b"linkpath"
                local[key] = data.partition(b"\0")[0]

    def data(self) -> Iterator[memoryview]:
        """Yield the bytes of the current member; of a sparse one, its segments one by one."""
        while self._left:
            if self._position == len(self._buffer) and not self._fill():
                raise self._broken("it ends in the middle of a file")
            start = self._position
            end = min(start + self._left, len(self._buffer))
            self._left -= end - start
            self._position = end
            yield self._view[start:end]

    def drain(self) -> None:
        """Read to the end of the stream: its digest covers what follows the archive."""
        self._position = len(self._buffer)
        while self._fill():
            self._position = len(self._buffer)

    def _entry(self, header: tuple[bytes, ...], local: PaxHeaders) -> Entry:
        pax: PaxHeaders = self._global.merged(local) if self._global else local
        kind = header[7]
        name = header[0].partition(b"\0")[0]
        if header[9] == b"ustar\0" and header[15][0]:
            name = header[15].partition(b"\0")[0] + b"/" + name
        size = self._number(header[4])
        uid, gid = self._cached(header[2]), self._cached(header[3])
        mtime_ns = self._seconds(header[5]) * 1_000_000_000
        link = header[8].partition(b"\0")[0]
        xattrs: dict[bytes, bytes] = {}
        if pax:
            name = pax.get(b"path", name)
            link = pax.get(b"linkpath", link)
            size = pax.number(b"size", size, self._where())
            uid = pax.number(b"uid", uid, self._where())
            gid = pax.number(b"gid", gid, self._where())
            mtime_ns = pax.mtime_ns(mtime_ns)
            xattrs = pax.xattrs
        if kind in _PLAIN:
            kind = DIRECTORY if kind == b"\0" and name.endswith(b"/") else REGULAR
        stored = 0 if kind in _HEADER_ONLY else size
        self._left, self._skip = stored, -stored % BLOCK
        segments: Segments | None = None
        if kind == _GNU_SPARSE:
            kind = REGULAR
            segments, size = self._old_sparse(stored)
        elif pax and kind == REGULAR and pax.is_sparse:
            segments, name, size = self._pax_sparse(pax, name)
        return Entry(
            name, kind, self._cached(header[1]) & 0o7777, uid, gid,
            size if kind == REGULAR else 0, mtime_ns, link, xattrs, segments,
        )  # fmt: skip

    def _next_header(self) -> tuple[bytes, ...] | None:
        skip = self._left + self._skip
        if skip:
            self._discard(skip)
        block = self._take_block()
        if block is None:
            return None
        header = _HEADER.unpack(block)
        if block == _ZEROS:
            follower = self._take_block()
            if follower is not None and follower != _ZEROS:
                raise self._broken("a block of zeros is followed by something else")
            return None
        self._check(block, header[6])
        return header

    def _check(self, block: bytes, field: bytes) -> None:
        """Compare the checksum, in which its own field counts as spaces.

        The low half of Adler-32 is one plus the sum of the bytes, and costs next to nothing.
        """
        try:
            expected = int(field.strip(b" \0"), 8)
        except ValueError as error:
            raise self._no_tar("there is no header checksum") from error
        total = expected + sum(field) - 8 * 0x20
        if (zlib.adler32(block) & 0xFFFF) == (total + 1) % _ADLER_MODULUS:
            return
        # Ancient archives added the bytes as signed numbers.
        if sum(byte - 256 if byte > 127 else byte for byte in block) != (
            expected + sum(byte - 256 if byte > 127 else byte for byte in field) - 8 * 0x20
        ):
            raise self._no_tar("the header checksum is wrong")

    def _cached(self, field: bytes) -> int:
        value = self._numbers.get(field)
        if value is None:
            if len(self._numbers) > _NUMBERS_KEPT:
                self._numbers.clear()
            value = self._numbers[field] = self._number(field)
        return value

    def _number(self, field: bytes) -> int:
        """Read an octal or, with the highest bit set, a big-endian number, at least 0."""
        if field[0] & 0x80:
            value = int.from_bytes(field, "big", signed=field[0] == 0xFF)
            if field[0] != 0xFF:
                value &= (1 << (8 * len(field) - 1)) - 1
        else:
            text = field.partition(b"\0")[0].strip(b" ")
            try:
                value = int(text, 8) if text else 0
            except ValueError as error:
                raise self._broken(f"{text[:20]!r} is not a number") from error
        if not 0 <= value < 1 << 63:
            raise self._broken(f"the number {value} is out of range")
        return value

    def _seconds(self, field: bytes) -> int:
        if field[0] == 0xFF:
            return max(int.from_bytes(field, "big", signed=True), -_SECONDS_LIMIT)
        return min(self._number(field), _SECONDS_LIMIT)

    def _old_sparse(self, stored: int) -> tuple[Segments, int]:
        """GNU tar, "Old GNU Format": segments in the header and in blocks right after it."""
        block = self._last_block
        rows = [block[position : position + 24] for position in range(386, 482, 24)]
        size = self._number(block[483:495])
        extended = block[482]
        for _ in range(_SPARSE_MAP_BLOCKS):
            if not extended:
                break
            more = self._take_block()
            if more is None:
                raise self._broken("it ends in a sparse map")
            rows.extend(more[position : position + 24] for position in range(0, 504, 24))
            extended = more[504]
        pairs = [(self._number(row[:12]), self._number(row[12:])) for row in rows if row[0]]
        return self._checked(tuple(pairs), size, stored), size

    def _pax_sparse(self, pax: PaxHeaders, name: bytes) -> tuple[Segments, bytes, int]:
        """GNU tar, "PAX Format": versions 0.0 and 0.1 in the header, 1.0 before the data."""
        where = self._where()
        if pax.get(b"GNU.sparse.major") == b"1":
            pairs = self._stored_map()
        else:
            pairs = parse_sparse_map(pax, where)
        size = pax.number(b"GNU.sparse.realsize", pax.number(b"GNU.sparse.size", 0, where), where)
        name = pax.get(b"GNU.sparse.name", name)
        return self._checked(pairs, size, self._left), name, size

    def _stored_map(self) -> Segments:
        """Version 1.0: decimal lines, the count first, in whole blocks at the start of the data."""
        text = b""
        wanted = 1
        for _ in range(_SPARSE_MAP_BLOCKS):
            block = self._take_block() if self._left >= BLOCK else None
            if block is None:
                raise self._broken("it ends in a sparse map")
            self._left -= BLOCK
            text += block
            lines = text.split(b"\n")
            try:
                wanted = 1 + 2 * int(lines[0])
                if len(lines) > wanted:
                    numbers = [int(line) for line in lines[1:wanted]]
                    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
            except ValueError as error:
                raise self._broken("the sparse map is not made of numbers") from error
        raise self._broken("the sparse map is too long")

    def _checked(self, pairs: Segments, size: int, stored: int) -> Segments:
        end = 0
        for offset, length in pairs:
            if offset < end or length < 0 or offset + length > size:
                raise self._broken("the segments of a sparse file overlap or lie outside of it")
            end = offset + length
        if sum(length for _, length in pairs) != stored:
            raise self._broken("the segments of a sparse file are not what is stored of it")
        return pairs

    def _meta(self, size: int) -> bytes:
        if size > _META_LIMIT_BYTES:
            raise self._broken(f"a header of {size} bytes is longer than any real one")
        padded = size + -size % BLOCK
        while len(self._buffer) - self._position < padded:
            if not self._fill():
                raise self._broken("it ends in a header")
        start = self._position
        self._position += padded
        self._left = self._skip = 0
        return self._buffer[start : start + size]

    def _take_block(self) -> bytes | None:
        start = self._position
        while len(self._buffer) - start < BLOCK:
            if not self._fill():
                if self._position == len(self._buffer):
                    return None
                raise self._broken("it ends in the middle of a block")
            start = self._position
        self._position = start + BLOCK
        self._last_block = self._buffer[start : start + BLOCK]
        return self._last_block

    def _discard(self, count: int) -> None:
        """Pass over what is left of a member; the padding of the last one may be missing."""
        padding = self._skip
        self._left = self._skip = 0
        while count > len(self._buffer) - self._position:
            count -= len(self._buffer) - self._position
            self._position = len(self._buffer)
            if not self._fill():
                if count > padding:
                    raise self._broken("it ends in the middle of a file")
                return
        self._position += count

    def _fill(self) -> bool:
        """Append a chunk to what is not read yet; False at the end of the stream."""
        chunk = next(self._chunks, b"")
        if not chunk:
            return False
        self._before += self._position
        rest = self._buffer[self._position :]
        self._buffer = rest + chunk if rest else chunk
        self._view = memoryview(self._buffer)
        self._position = 0
        return True

    def _where(self) -> str:
        return f"tar archive, byte {self.offset}"

    def _no_tar(self, why: str) -> InvalidLayer:
        if self.offset <= BLOCK:
            return InvalidLayer(f"it is not a tar archive ({why})")
        return self._broken(why)

    def _broken(self, why: str) -> InvalidLayer:
        return InvalidLayer(f"{self._where()}: {why}")
