"""zstd:chunked: what readers of the table of contents, and all others, find in it."""

import base64
import hashlib
import io
import json
import struct
import tarfile
from typing import NamedTuple

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.chunked import CHECKSUM, POSITION, TAR_SPLIT, ChunkedEncoder
from storage.crc64 import Crc64
from storage.inflate import inflate
from storage.tar_members import NotChunkable
from tests.support import images
from tests.support.images import File

_KINDS = {tarfile.REGTYPE: "reg", tarfile.LNKTYPE: "hardlink", tarfile.SYMTYPE: "symlink",
          tarfile.DIRTYPE: "dir", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char"}  # fmt: skip


class Encoded(NamedTuple):
    blob: bytes
    annotations: dict[str, str]


def encode(data: bytes, *, step: int = 1 << 19) -> Encoded:
    encoder = ChunkedEncoder(3)
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    return Encoded(b"".join(encoder.encode(chunks)), encoder.annotations)


def inflated(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def region(found: Encoded, key: str) -> tuple[bytes, int]:
    """Return what an annotation points to, and how long it is without compression."""
    at, length, plain, *_ = map(int, found.annotations[key].split(":"))
    return found.blob[at : at + length], plain


def table(found: Encoded) -> tuple[list[dict[str, object]], str]:
    packed, plain = region(found, POSITION)
    assert found.annotations[CHECKSUM] == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    data = inflated(packed)
    assert len(data) == plain
    document = json.loads(data)
    assert document["version"] == 1
    return document["entries"], document["tarSplitDigest"]


def content(found: Encoded, entry: dict[str, object]) -> bytes:
    """Return a file as a reader of the table gets it: its frame alone."""
    if not entry.get("size"):
        return b""
    start, end = entry["offset"], entry["endOffset"]
    assert isinstance(start, int)
    assert isinstance(end, int)
    data = inflated(found.blob[start:end])
    assert entry["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data


def slow_crc64(data: bytes) -> bytes:
    state = (1 << 64) - 1
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0xD800000000000000 if state & 1 else 0)
    return (state ^ (1 << 64) - 1).to_bytes(8, "big")


def assembled(found: Encoded) -> bytes:
    """Put the archive together again, from tar-split and the files of the table."""
    entries, digest = table(found)
    packed, plain = region(found, TAR_SPLIT)
    assert digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    data = inflated(packed)
    assert len(data) == plain
    files = {str(entry["name"]): content(found, entry) for entry in entries}
    out = b""
    for number, line in enumerate(data.splitlines()):
        part = json.loads(line)
        assert part["position"] == number
        payload = base64.b64decode(part["payload"] or "")
        if part["type"] == 2:
            out += payload
            continue
        assert part.get("size", 0) == len(files[part["name"]])
        assert payload == (slow_crc64(files[part["name"]]) if files[part["name"]] else b"")
        out += files[part["name"]]
    return out


LAYER = [
    images.directory("dir"),
    File("dir/file", b"text " * 5000, 0o640, uid=7, gid=8),
    File("dir/empty", b""),
    images.symlink("dir/link", "file"),
    File("dir/hard", kind=tarfile.LNKTYPE, link="dir/file"),
    File("dir/.wh.gone", b""),
    File("dir/" + "long" * 60, b"x"),
    File("dir/ü", b"y" * 513),
]


def test_every_reader_sees_the_archive() -> None:
    data = images.tar(LAYER)
    found = encode(data)
    assert b"".join(inflate(io.BytesIO(found.blob), "zstd")) == data
    assert assembled(found) == data


def test_the_footer_says_what_the_annotations_say() -> None:
    found = encode(images.tar(LAYER))
    magic, size, *numbers, mark = struct.unpack("<II7Q8s", found.blob[-72:])
    assert (magic, size, mark) == (0x184D2A50, 64, b"GNUlInUx")
    at, packed, plain, kind, split_at, split, split_plain = numbers
    assert found.annotations[POSITION] == f"{at}:{packed}:{plain}:{kind}"
    assert found.annotations[TAR_SPLIT] == f"{split_at}:{split}:{split_plain}"


def test_the_table_says_what_the_headers_say() -> None:
    data = images.tar(LAYER)
    entries, _ = table(encode(data))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert len(members) == len(entries)
    for member, entry in zip(members, entries, strict=True):
        assert entry["type"] == _KINDS[member.type]
        assert str(entry["name"]).rstrip("/") == member.name
        assert entry.get("linkName", "") == member.linkname
        assert entry.get("mode", 0) == member.mode
        assert entry.get("size", 0) == member.size
        assert (entry.get("uid", 0), entry.get("gid", 0)) == (member.uid, member.gid)


def test_attributes_and_fractions_of_seconds_are_kept() -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"SCHILY.xattr.user.x": "v\u00fc", "mtime": "12.250", "atime": "3"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    ((entry,), _) = table(encode(out.getvalue()))
    assert entry["xattrs"] == {"user.x": base64.b64encode("v\u00fc".encode()).decode()}
    assert entry["modtime"] == "1970-01-01T00:00:12.25Z"
    assert entry["accesstime"] == "1970-01-01T00:00:03Z"


def _gnu(name: bytes, kind: bytes = b"0", size: int = 0) -> bytes:
    member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


END = bytes(1024)


@pytest.mark.parametrize(
    "data",
    [
        _gnu(b"a") + _gnu(b"./a") + END,
        _gnu(b"\xff") + END,
        _gnu(b"a", b"S") + END,
        _gnu(b"a", b"7") + END,
        _gnu(b"a", b"1", 512) + bytes(512) + END,
        _gnu(b"g", b"g") + END,
        (_gnu(b"a")[:345] + b"1".rjust(12, b"0") + _gnu(b"a")[357:]) + END,
        images.tar([File("a", b"b" * 100)])[:700],
    ],
    ids=["twice", "bytes", "sparse", "contiguous", "sized-link", "global", "old-times", "cut"],
)
def test_what_readers_see_differently_gets_no_table(data: bytes) -> None:
    with pytest.raises(NotChunkable):
        encode(data)


_FILES = st.dictionaries(
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
    .filter(lambda name: name not in (".", "..")),
    st.binary(max_size=2000),
    max_size=6,
)  # fmt: skip


@settings(deadline=None)  # a machine at work takes its time
@given(_FILES, st.integers(1, 3000), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_any_archive_is_put_together_again(files: dict[str, bytes], step: int, form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    found = encode(out.getvalue(), step=step)
    assert b"".join(inflate(io.BytesIO(found.blob), "zstd")) == out.getvalue()
    assert assembled(found) == out.getvalue()


@given(st.binary(max_size=300), st.integers(0, 300))
def test_checksum_is_the_one_of_the_definition(data: bytes, cut: int) -> None:
    checksum = Crc64()
    checksum.update(data[:cut])
    checksum.update(data[cut:])
    assert checksum.digest() == slow_crc64(data)
