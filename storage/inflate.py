"""Inflate streams: gzip (several members, zeros after them), zstd, bzip2, xz, or nothing.

What comes out at a time is bounded, however far the input expands.
"""

from collections.abc import Iterator
from typing import Protocol

from storage.errors import InvalidLayer

IN_BYTES = 1 << 17
OUT_BYTES = 1 << 19
_XZ_MEMORY_BYTES = 256 << 20
_ZSTD_WINDOW_BYTES = 128 << 20
_MAGIC_LENGTH = 6
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"


class Source(Protocol):
    """Where compressed bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end; raises when the bytes are not as promised."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Pushback:
    """A source whose first bytes have been looked at."""

    __slots__ = ("_first", "_source")

    def __init__(self, first: bytes, source: Source) -> None:
        self._first = first
        self._source = source

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        if not self._first:
            return self._source.read(size)
        part, self._first = self._first[:size], self._first[size:]
        return part


def detect(first: bytes) -> str:
    """Name the compression of a stream by its first bytes: none, gzip, zstd, bzip2 or xz."""
    if first.startswith(b"\x1f\x8b"):
        return "gzip"
    if first.startswith(_ZSTD_MAGIC) or first[1:4] == _ZSTD_SKIPPABLE:
        return "zstd"
    if first.startswith(b"BZh"):
        return "bzip2"
    if first.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return "none"


def peek(source: Source) -> tuple[str, Pushback]:
    """Find out the compression of a stream, and return it with a source that starts over."""
    first = b""
    while len(first) < _MAGIC_LENGTH:
        part = source.read(IN_BYTES)
        if not part:
            break
        first += part
    return detect(first), Pushback(first, source)


def inflate(source: Source, compression: str) -> Iterator[bytes]:
    """Yield the inflated bytes in chunks. Raises InvalidLayer, and what `source.read` raises."""
    match compression:
        case "none":
            while chunk := source.read(OUT_BYTES):
                yield chunk
        case "zstd":
            yield from _inflate_zstd(source)
        case _:
            yield from _inflate_members(source, compression)


def _inflate_zstd(source: Source) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    reader = decompressor.stream_reader(
        source,  # type: ignore[arg-type]  # only its read is called
        read_size=IN_BYTES,
        read_across_frames=True,
    )
    while True:
        try:
            chunk = reader.read(OUT_BYTES)
        except zstandard.ZstdError as error:
            raise InvalidLayer(f"inflate zstd: {error}") from error
        if not chunk:
            return
        yield chunk


def _inflate_members(source: Source, compression: str) -> Iterator[bytes]:
    inflater, failures = _inflater(compression)
    pending = b""
    started = False
    while True:
        if not pending and inflater.needs_input:
            pending = source.read(IN_BYTES)
            if not pending:
                break
        try:
            chunk = inflater.decompress(pending, OUT_BYTES)
        except failures as error:
            raise InvalidLayer(f"inflate {compression}: {error}") from error
        started = True
        pending = b""
        if chunk:
            yield chunk
        if inflater.eof:
            # Tools pad members with zeros to the size of a block.
            pending = inflater.unused_data.lstrip(b"\0")
            while not pending:
                more = source.read(IN_BYTES)
                if not more:
                    return
                pending = more.lstrip(b"\0")
            inflater, failures = _inflater(compression)
    if started:
        raise InvalidLayer(f"inflate {compression}: the stream ends too early")


def _inflater(compression: str) -> tuple[_Inflater, tuple[type[Exception], ...]]:
    if compression == "gzip":
        return _gzip_inflater()
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Decompressor(), (OSError, ValueError)
    if compression == "xz":
        import lzma

        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES), (lzma.LZMAError,)
    raise InvalidLayer(f"inflate: {compression} is not a known compression")


def _gzip_inflater() -> tuple[_Inflater, tuple[type[Exception], ...]]:
    try:
        from isal import igzip_lib
    except ImportError:
        import zlib

        from storage.zlib_inflater import ZlibInflater

        return ZlibInflater(), (zlib.error,)
    inflater: _Inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    failure: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # wrong in its stub
    return inflater, (failure, EOFError)
