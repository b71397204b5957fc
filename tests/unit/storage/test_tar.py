"""The reader against Python's own writer, against hand-made archives, and against noise."""

import io
import os
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InvalidLayer
from storage.tar import DIRECTORY, LINK, REGULAR, SYMLINK, Entry, TarReader

_part = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"),
    min_size=1,
    max_size=90,
).filter(lambda part: part not in (".", ".."))
_name = st.lists(_part, min_size=1, max_size=6).map("/".join)


@st.composite
def _members(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    found = []
    for name in draw(st.lists(_name, max_size=8)):
        info = tarfile.TarInfo(name)
        data = b""
        info.type = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]))
        if info.type == tarfile.REGTYPE:
            data = draw(st.binary(max_size=3000))
        if info.type == tarfile.SYMTYPE:
            info.linkname = draw(_name)
        info.size = len(data)
        info.mode = draw(st.integers(0, 0o7777))
        info.uid = draw(st.integers(0, 1 << 31))
        info.gid = draw(st.integers(0, 1 << 31))
        info.mtime = draw(st.integers(0, 1 << 34) | st.integers(0, 1 << 30).map(lambda n: n / 8))
        found.append((info, data))
    return found


def _written(members: list[tuple[tarfile.TarInfo, bytes]], format_: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _read(data: bytes, chunk: int = 4096) -> list[tuple[Entry, bytes]]:
    reader = TarReader(_chunks(data, chunk))
    found = []
    while (entry := reader.next_entry()) is not None:
        found.append((entry, b"".join(reader.data())))
    reader.drain()
    assert reader.offset == len(data)
    return found


@given(_members(), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers(1, 5000))
def test_reads_what_tarfile_writes(
    members: list[tuple[tarfile.TarInfo, bytes]], format_: int, chunk: int
) -> None:
    found = _read(_written(members, format_), chunk)
    assert len(found) == len(members)
    kinds = {tarfile.REGTYPE: REGULAR, tarfile.DIRTYPE: DIRECTORY, tarfile.SYMTYPE: SYMLINK}
    for (info, data), (entry, stored) in zip(members, found, strict=True):
        assert entry.name.rstrip(b"/") == info.name.rstrip("/").encode()
        assert entry.kind == kinds[info.type]
        assert (entry.mode, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert stored == data
        assert entry.size == len(data)
        if info.type == tarfile.SYMTYPE:
            assert entry.link == info.linkname.encode()
        wanted = info.mtime if format_ == tarfile.PAX_FORMAT else int(info.mtime)
        assert abs(entry.mtime_ns / 1e9 - wanted) < 1e-3


@given(_members(), st.data())
def test_unread_data_is_passed_over(
    members: list[tuple[tarfile.TarInfo, bytes]], data: st.DataObject
) -> None:
    reader = TarReader(_chunks(_written(members, tarfile.PAX_FORMAT), 700))
    names = []
    while (entry := reader.next_entry()) is not None:
        names.append(entry.name)
        if data.draw(st.booleans()):
            next(reader.data(), None)
    assert len(names) == len(members)


@settings(max_examples=300)
@given(
    _members(),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 20_000),
)
def test_broken_archives_are_read_or_refused(
    members: list[tuple[tarfile.TarInfo, bytes]], edits: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(_written(members, tarfile.PAX_FORMAT))
    for position, byte in edits:
        data[position % len(data)] = byte
    try:
        for entry, stored in _read(bytes(data[: end or None])):
            assert entry.size >= 0
            assert entry.segments is not None or len(stored) == entry.size
    except InvalidLayer as error:
        assert error.message


@given(st.binary(max_size=3000))
def test_noise_is_no_archive(data: bytes) -> None:
    try:
        found = _read(data)
    except InvalidLayer:
        return
    assert found == []


def _header(name: bytes = b"x", kind: bytes = b"0", size: bytes = b"0", **fields: bytes) -> bytes:
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = fields.get("mode", b"0000644\0")
    block[108:116] = fields.get("uid", b"0000000\0")
    block[116:124] = b"0000000\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = fields.get("mtime", b"00000000000\0")
    block[156:157] = kind
    block[257:265] = fields.get("magic", b"ustar\x0000")
    block[345 : 345 + len(fields.get("prefix", b""))] = fields.get("prefix", b"")
    tail = fields.get("tail", b"")
    if tail:
        block[386 : 386 + len(tail)] = tail
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


def test_ustar_prefix_is_joined() -> None:
    [(entry, _)] = _read(_header(b"base", prefix=b"some/long/prefix") + END)
    assert entry.name == b"some/long/prefix/base"


def test_base_256_numbers() -> None:
    uid = (0x80 << 56 | 3_000_000_000).to_bytes(8, "big")
    mtime = (-5).to_bytes(12, "big", signed=True)
    [(entry, _)] = _read(_header(uid=uid, mtime=mtime) + END)
    assert entry.uid == 3_000_000_000
    assert entry.mtime_ns == -5_000_000_000


def test_old_directory_is_told_by_its_slash() -> None:
    [(entry, _)] = _read(_header(b"d/", b"\0") + END)
    assert entry.kind == DIRECTORY


def test_links_have_no_data_whatever_their_size_says() -> None:
    found = _read(_header(b"l", b"1", b"00000001000\0") + _header(b"next") + END)
    assert [entry.kind for entry, _ in found] == [LINK, REGULAR]


def test_end_may_be_missing() -> None:
    assert len(_read(_header())) == 1
    assert len(_read(_header() + bytes(512))) == 1
    assert _read(b"") == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello world\n" * 100, "it is not a tar archive"),
        (_header()[:300], "in the middle of a block"),
        (_header(size=b"00000001000\0") + b"x" * 100, "in the middle of a file"),
        (_header(size=b"99999999999\0") + END, "is not a number"),
        (_header() + bytes(512) + _header() + END, "block of zeros is followed"),
        (_header(kind=b"x", size=b"00000000012\0") + b"99 path=x\n".ljust(512, b"\0"), "broken"),
        (_header(kind=b"x", size=b"77777777777\0"), "longer than any real one"),
        (_header(kind=b"L", size=b"00000000004\0") + b"name".ljust(512, b"\0"), "does not follow"),
        (_header(size=b"\xff" * 12) + END, "out of range"),
    ],
    ids=["text", "cut", "cut-file", "octal", "zeros", "pax", "huge-pax", "no-member", "negative"],
)
def test_broken_archive_says_what_is_wrong(data: bytes, why: str) -> None:
    with pytest.raises(InvalidLayer, match=why):
        _read(data)


def test_wrong_checksum_is_refused() -> None:
    block = bytearray(_header())
    block[0] ^= 1
    with pytest.raises(InvalidLayer, match="checksum is wrong"):
        _read(bytes(block) + END)


def test_signed_checksum_of_ancient_archives() -> None:
    block = bytearray(_header(b"\xe9t\xe9"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(b - 256 if b > 127 else b for b in block)
    [(entry, _)] = _read(bytes(block) + END)
    assert entry.name == b"\xe9t\xe9"


def _pax(records: list[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    data = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length += len(str(length)) - len(str(rest))
        data += b"%d %s=%s\n" % (length, key, value)
    return _header(b"pax", kind, b"%011o\0" % len(data)) + data + bytes(-len(data) % 512)


def test_extended_attributes_and_times() -> None:
    archive = _pax([(b"SCHILY.xattr.user.a", b"\0\xff\n="), (b"mtime", b"-1.25")]) + _header() + END
    [(entry, _)] = _read(archive)
    assert entry.xattrs == {b"user.a": b"\0\xff\n="}
    assert entry.mtime_ns == -1_250_000_000


def test_global_headers_hold_until_replaced() -> None:
    archive = (
        _pax([(b"uid", b"7")], b"g") + _header(b"a") + _pax([(b"uid", b"8")]) + _header(b"b")
        + _header(b"c") + END
    )  # fmt: skip
    assert [entry.uid for entry, _ in _read(archive)] == [7, 8, 7]


def test_nul_in_a_long_name_is_refused() -> None:
    with pytest.raises(InvalidLayer, match="broken extended header"):
        _read(_pax([(b"path", b"a\0b")]) + _header() + END)


SEGMENTS = ((1024, 512), (4096, 3))
DATA = b"A" * 512 + b"end"
PADDED = DATA + bytes(-len(DATA) % 512)
SIZE = b"%011o\0" % len(DATA)


def _old_gnu() -> bytes:
    rows = b"".join(b"%011o\0%011o\0" % row for row in SEGMENTS).ljust(96, b"\0")
    return (
        _header(kind=b"S", size=SIZE, magic=b"ustar  \0", tail=rows + b"\0" + b"%011o\0" % 5000)
        + PADDED
    )


def _old_gnu_extended() -> bytes:
    rows = b"%011o\0%011o\0" % SEGMENTS[0]
    more = (b"%011o\0%011o\0" % SEGMENTS[1]).ljust(512, b"\0")
    tail = rows.ljust(96, b"\0") + b"\1" + b"%011o\0" % 5000
    return _header(kind=b"S", size=SIZE, magic=b"ustar  \0", tail=tail) + more + PADDED


def _pax_00() -> bytes:
    records = [(b"GNU.sparse.size", b"5000"), (b"GNU.sparse.numblocks", b"2")]
    for offset, length in SEGMENTS:
        records += [
            (b"GNU.sparse.offset", b"%d" % offset),
            (b"GNU.sparse.numbytes", b"%d" % length),
        ]
    return _pax(records) + _header(size=SIZE) + PADDED


def _pax_01() -> bytes:
    records = [(b"GNU.sparse.size", b"5000"), (b"GNU.sparse.name", b"real"),
               (b"GNU.sparse.map", b"1024,512,4096,3")]  # fmt: skip
    return _pax(records) + _header(size=SIZE) + PADDED


def _pax_10() -> bytes:
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
               (b"GNU.sparse.name", b"real"), (b"GNU.sparse.realsize", b"5000")]  # fmt: skip
    table = b"2\n1024\n512\n4096\n3\n".ljust(512, b"\0")
    return _pax(records) + _header(size=b"%011o\0" % (512 + len(DATA))) + table + PADDED


@pytest.mark.parametrize(
    "member", [_old_gnu(), _old_gnu_extended(), _pax_00(), _pax_01(), _pax_10()],
    ids=["old-gnu", "old-gnu-extended", "pax-0.0", "pax-0.1", "pax-1.0"],
)  # fmt: skip
def test_sparse_files(member: bytes) -> None:
    found = _read(member + _header(b"next") + END, 100)
    entry, stored = found[0]
    assert entry.segments == SEGMENTS
    assert entry.size == 5000
    assert stored == DATA
    assert found[1][0].name == b"next"


@pytest.mark.parametrize(
    "table",
    [b"1024,512", b"0,515,0,1", b"1024,512,4096", b"4999,512,5511,3", b"a,b", b"1024,512,4096,-3"],
)
def test_broken_sparse_map_is_refused(table: bytes) -> None:
    records = [(b"GNU.sparse.size", b"5000"), (b"GNU.sparse.map", table)]
    with pytest.raises(InvalidLayer, match="sparse"):
        _read(_pax(records) + _header(size=SIZE) + PADDED + END)


def test_a_million_header_bytes_cost_no_memory() -> None:
    """Meta headers are bounded one by one, however many there are."""
    one = _pax([(b"comment", os.urandom(1000))])
    reader = TarReader(one for _ in range(2000))
    with pytest.raises(InvalidLayer, match="does not follow"):
        reader.next_entry()
