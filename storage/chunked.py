"""zstd:chunked: a zstd stream in which every file is a frame, found by a table of contents.

Behind the frames of the archive lie three skippable ones, which other readers pass over: the table
(JSON, compressed), what an archive has besides the contents of its files (tar-split, compressed),
and a footer. Annotations of the layer say where the first two are and what the digest of the table
is. Readers refuse a table that does not say what the headers say, so an archive in which the two
could differ (`NotChunkable`) is better compressed as a whole.
"""

import base64
import hashlib
import json
import struct

from storage.crc64 import Crc64
from storage.tar_members import Member, RawTar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from zstandard import ZstdCompressor

PREFIX = "io.github.containers.zstd-chunked."
CHECKSUM, POSITION, TAR_SPLIT = (
    f"{PREFIX}manifest-checksum",
    f"{PREFIX}manifest-position",
    f"{PREFIX}tarsplit-position",
)
_SKIPPABLE = 0x184D2A50
_FRAME_HEADER = struct.Struct("<II")
_FOOTER = struct.Struct("<QQQQQQQ8s")
_MAGIC = b"GNUlInUx"
_TYPE = 1  # of the table: like that of CRFS
_FILE, _SEGMENT = 1, 2
_RAW_BYTES = 1 << 20


def is_chunked(annotations: dict[str, str] | None) -> bool:
    """Tell whether a layer says that it has a table of contents."""
    return bool(annotations) and CHECKSUM in (annotations or {})


def without_chunks(annotations: dict[str, str] | None) -> dict[str, str] | None:
    """Return the annotations of a layer that is compressed anew."""
    left = {key: value for key, value in (annotations or {}).items() if not key.startswith(PREFIX)}
    return left or None


class ChunkedEncoder:
    """Compresses one archive; `annotations` are complete when `encode` has come to its end."""

    def __init__(self, level: int) -> None:
        import zstandard

        self.annotations: dict[str, str] = {}
        self._zstd: ZstdCompressor = zstandard.ZstdCompressor(level=level)
        self._entries: list[dict[str, object]] = []
        self._split = _TarSplit(level)
        self._offset = 0

    def encode(self, chunks: "Iterator[bytes]") -> "Iterator[bytes]":
        """Yield the compressed stream of a tar archive. Raises NotChunkable, InvalidLayer."""
        for part in self._archive(RawTar(chunks)):
            self._offset += len(part)
            yield part
        table = json.dumps(
            {"version": 1, "entries": self._entries, "tarSplitDigest": self._split.finish()},
            separators=(",", ":"),
        ).encode()
        packed = self._zstd.compress(table)
        at = self._offset + _FRAME_HEADER.size
        split_at = at + len(packed) + _FRAME_HEADER.size
        split, plain = bytes(self._split.packed), self._split.plain_bytes
        self.annotations = {
            CHECKSUM: f"sha256:{hashlib.sha256(packed).hexdigest()}",
            POSITION: f"{at}:{len(packed)}:{len(table)}:{_TYPE}",
            TAR_SPLIT: f"{split_at}:{len(split)}:{plain}",
        }
        footer = _FOOTER.pack(
            at, len(packed), len(table), _TYPE, split_at, len(split), plain, _MAGIC
        )
        for data in (packed, split, footer):
            yield _FRAME_HEADER.pack(_SKIPPABLE, len(data)) + data

    def _archive(self, archive: RawTar) -> "Iterator[bytes]":
        """Yield the frames: what lies between files, and the contents of each."""
        between = b""
        while (member := archive.next_member()) is not None:
            self._split.segment(member.raw)
            between += member.raw
            entry = _table_entry(member)
            if member.size:
                yield self._zstd.compress(between)
                between = b""
                # The frame of the headers has been counted when the generator goes on.
                entry["offset"] = self._offset
                entry["digest"] = yield from self._contents(archive, member)
                entry["endOffset"] = self._offset
            else:
                self._split.file(member, b"")
            self._entries.append(entry)
            if len(between) > _RAW_BYTES:
                yield self._zstd.compress(between)
                between = b""
        for raw in archive.rest():
            self._split.segment(raw)
            between += raw
            if len(between) > _RAW_BYTES:
                yield self._zstd.compress(between)
                between = b""
        if between:
            yield self._zstd.compress(between)

    def _contents(self, archive: RawTar, member: Member) -> "Generator[bytes, None, str]":
        """Yield the frame of a file; the result is its digest."""
        digest, checksum = hashlib.sha256(), Crc64()
        frame = self._zstd.compressobj(size=member.size)
        for chunk in archive.contents():
            digest.update(chunk)
            checksum.update(chunk)
            part = frame.compress(chunk)
            if part:
                yield part
        yield frame.flush()
        self._split.file(member, checksum.digest())
        return f"sha256:{digest.hexdigest()}"


class _TarSplit:
    """The archive without the contents of files: lines of JSON, compressed."""

    def __init__(self, level: int) -> None:
        import zstandard

        self.packed = bytearray()
        self.plain_bytes = 0
        self._stream = zstandard.ZstdCompressor(level=level).compressobj()
        self._position = 0

    def segment(self, raw: bytes) -> None:
        """Add bytes that belong to no file."""
        if raw:
            self._add({"type": _SEGMENT, "payload": _text(raw)})

    def file(self, member: Member, checksum: bytes) -> None:
        """Add a member: its name, and what its contents are checked with."""
        size = {"size": member.size} if member.size else {}
        payload = _text(checksum) if checksum else None
        self._add({"type": _FILE, "name": member.name, **size, "payload": payload})

    def finish(self) -> str:
        """End the stream and return the digest of what is compressed."""
        self.packed += self._stream.flush()
        return f"sha256:{hashlib.sha256(self.packed).hexdigest()}"

    def _add(self, entry: dict[str, object]) -> None:
        line = json.dumps({**entry, "position": self._position}, separators=(",", ":")) + "\n"
        self._position += 1
        data = line.encode()
        self.plain_bytes += len(data)
        self.packed += self._stream.compress(data)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _table_entry(member: Member) -> dict[str, object]:
    """Return a member's line of the table; what is zero or empty is left out."""
    entry: dict[str, object] = {
        "type": member.kind,
        "name": member.name,
        "linkName": member.link,
        "mode": member.mode,
        "size": member.size,
        "uid": member.uid,
        "gid": member.gid,
        "modtime": member.modified,
        "accesstime": member.accessed,
        "changetime": member.changed,
        "devMajor": member.major,
        "devMinor": member.minor,
        "xattrs": {name: _text(value) for name, value in member.xattrs.items()},
    }
    return {key: value for key, value in entry.items() if value or key in ("type", "name")}
