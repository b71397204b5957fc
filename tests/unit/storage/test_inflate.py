import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidLayer
from storage.inflate import OUT_BYTES, detect, inflate, peek
from storage.readahead import ReadAhead
from storage.zlib_inflater import ZlibInflater


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": _zstd,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
}


class Dribble:
    """Gives its bytes in pieces of any size."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._file = io.BytesIO(data)
        self._random = random.Random(seed)

    def read(self, size: int, /) -> bytes:
        return self._file.read(self._random.randint(1, min(size, 1000)))


def _inflated(data: bytes, seed: int = 0) -> bytes:
    compression, source = peek(Dribble(data, seed))
    return b"".join(inflate(source, compression))


@given(st.sampled_from(sorted(COMPRESSORS)), st.binary(max_size=5000), st.integers(0, 99))
def test_comes_out_as_it_went_in(compression: str, data: bytes, seed: int) -> None:
    data = b"tar" + data
    packed = COMPRESSORS[compression](data)
    assert detect(packed) == compression
    assert _inflated(packed, seed) == data


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_several_members_are_one_stream(compression: str) -> None:
    pack = COMPRESSORS[compression]
    assert _inflated(pack(b"one ") + pack(b"two")) == b"one two"


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_zeros_after_the_end_are_padding(compression: str) -> None:
    assert _inflated(COMPRESSORS[compression](b"data") + bytes(5000)) == b"data"


def test_zstd_skippable_frames_are_passed_over() -> None:
    frame = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"
    packed = _zstd(b"data")
    assert _inflated(packed + frame) == b"data"
    assert _inflated(frame + packed) == b"data"


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_cut_stream_is_an_error(compression: str) -> None:
    packed = COMPRESSORS[compression](random.Random(1).randbytes(4000))
    with pytest.raises(InvalidLayer, match=rf"inflate {compression}: .*too early"):
        _inflated(packed[:-100])


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_damaged_stream_is_an_error(compression: str) -> None:
    packed = bytearray(COMPRESSORS[compression](random.Random(1).randbytes(4000)))
    packed[20:60] = bytes(40)
    with pytest.raises(InvalidLayer, match=f"inflate {compression}: "):
        _inflated(bytes(packed))


def test_garbage_after_gzip_is_an_error() -> None:
    with pytest.raises(InvalidLayer, match="inflate gzip"):
        _inflated(gzip.compress(b"data") + b"garbage")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_bombs_come_out_in_bounded_chunks(compression: str) -> None:
    packed = COMPRESSORS[compression](bytes(30 << 20))
    assert len(packed) < 1 << 20
    sizes = [len(chunk) for chunk in inflate(io.BytesIO(packed), compression)]
    assert sum(sizes) == 30 << 20
    assert max(sizes) <= OUT_BYTES


def test_zlib_serves_where_isal_is_missing() -> None:
    data = random.Random(2).randbytes(100_000) + bytes(100_000)
    packed = gzip.compress(data) + b"next"
    inflater = ZlibInflater()
    found = b""
    position = 0
    while not inflater.eof:
        more = b""
        if inflater.needs_input:
            more = packed[position : position + 777]
            position += 777
        piece = inflater.decompress(more, 1000)
        assert len(piece) <= 1000
        found += piece
    assert found == data
    assert (inflater.unused_data + packed[position:]).endswith(b"next")
    with pytest.raises(zlib.error):
        ZlibInflater().decompress(b"\x1f\x8b\x08 nonsense" * 5, 10)


def test_read_ahead_hands_over_chunks_and_errors() -> None:
    def produce() -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        raise InvalidLayer("broken")

    ahead = ReadAhead(produce())
    assert (next(ahead), next(ahead)) == (b"a", b"b")
    with pytest.raises(InvalidLayer, match="broken"):
        next(ahead)
    ahead.close()


def test_read_ahead_stops_when_nobody_reads() -> None:
    given_out = []

    def produce() -> Iterator[bytes]:
        for number in range(1000):
            given_out.append(number)
            yield b"x"

    ahead = ReadAhead(produce())
    next(ahead)
    ahead.close()
    assert len(given_out) < 20
