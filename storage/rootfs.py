"""Make an image of one layer out of a plain root file system."""

import io
import json
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from storage.blobs import BlobWriter, write_blob
from storage.errors import InvalidArchive, InvalidLayer, from_os_error
from storage.events import BLOB_DONE, NOTE, UNPACK_DONE, Event, ignore
from storage.files import make_store
from storage.images import ImageRecord, commit_image, rfc3339_now
from storage.inflate import Source, peek
from storage.layers import LayerBuilder, has_layer
from storage.layout import Layout
from storage.limits import inflate_limited, layer_limits
from storage.oci.descriptor import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
)
from storage.oci.manifest import Manifest
from storage.platform import host_platform
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.unpack import UnpackResult, unpack_tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.events import Events
    from storage.platform import Platform

Config = dict[str, object]
Changes = Callable[[Config], Config]
"""What makes the configuration of the image out of an empty one."""

_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_KEPT_AS_IS = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Layer(NamedTuple):
    digest: str
    size: int
    media_type: str
    unpacked: UnpackResult


def import_rootfs(
    layout: Layout,
    source: str | None,
    map_key: str,
    *,
    reference: str | None = None,
    changes: Changes | None = None,
    message: str = "",
    platform: "Platform | None" = None,
    events: "Events | None" = None,
) -> ImageRecord:
    """Make an image from a tar archive, compressed or not, or a directory; None is stdin.

    A short name becomes a local one. What is compressed with gzip or zstd is stored as it is,
    anything else with gzip. Raises InvalidArchive, InvalidReference, InvalidDocument,
    StoreUnusable, DiskFull.
    """
    tell = events or ignore
    name = None
    if reference:
        name = str(parse_reference(reference, default_registry=LOCAL_REGISTRY))
    config = changes({}) if changes is not None else {}
    make_store(layout)
    where = source if source is not None else "standard input"
    # Until its digest is known the layer is built under a name of its own.
    building = f"sha256:{os.urandom(32).hex()}"
    with LayerBuilder(layout, map_key, building) as builder:
        layer = _store_layer(layout, where, source, builder.diff)
        if not has_layer(layout, map_key, layer.unpacked.diff_id):
            builder.publish_as(layer.unpacked.diff_id, layer.unpacked)
    tell(Event(BLOB_DONE, layer.digest, layer.size, layer.size))
    for note in layer.unpacked.notes:
        tell(Event(NOTE, layer.digest, text=note))
    tell(Event(UNPACK_DONE, layer.digest, layer.size, layer.size))
    manifest_digest = _write_manifest(
        layout, layer, config, message or f"Imported from {where}", platform or host_platform()
    )
    return commit_image(layout, manifest_digest=manifest_digest, name=name, map_key=map_key)


def _store_layer(layout: Layout, where: str, source: str | None, target: str) -> _Layer:
    if source is not None and os.path.isdir(source):
        from storage.tar_writer import tar_directory

        return _unpack(layout, _Pieces(tar_directory(source, without=layout.store)), where, target)
    try:
        file = open_source(source)
    except OSError as error:
        raise InvalidArchive(f"import {where}: {error.strerror}") from error
    with file:
        return _unpack(layout, file, where, target)


def open_source(source: str | None) -> io.FileIO:
    """Open an archive; None is standard input. Raises OSError, InvalidArchive for a terminal."""
    if source is not None:
        return open(os.open(source, os.O_RDONLY | os.O_CLOEXEC), "rb", buffering=0)
    if os.isatty(0):
        raise InvalidArchive(
            "read an archive: standard input is a terminal",
            remedy="name a file, or redirect standard input: < FILE",
        )
    return open(os.dup(0), "rb", buffering=0)


def _unpack(layout: Layout, source: Source, where: str, target: str) -> _Layer:
    """Store and unpack the one layer in one pass."""
    limits = layer_limits(layout)
    with BlobWriter(layout) as writer:
        try:
            compression, start = peek(source)
            if compression in _KEPT_AS_IS:
                chunks = inflate_limited(_Tee(start, writer), compression, limits)
            else:
                chunks = _compressed(inflate_limited(start, compression, limits), writer)
            result = unpack_tar(chunks, diff_id=None, target=target, limits=limits)
        except InvalidLayer as error:
            raise InvalidArchive(
                f"import {where}: {error.message}",
                remedy=error.remedy or "give a tar archive of a root file system, or a directory",
            ) from error
        except OSError as error:
            raise from_os_error(f"import {where}", error) from error
        if result.missing_links:
            link, linked = result.missing_links[0]
            raise InvalidArchive(f"import {where}: hard link {link}: {linked} is not in it")
        if not result.entries:
            raise InvalidArchive(
                f"import {where}: it is empty",
                remedy="give a tar archive of a root file system, or a directory",
            )
        digest = writer.commit()
        media_type = _KEPT_AS_IS.get(compression, OCI_LAYER_GZIP)
        return _Layer(digest, writer.size_bytes, media_type, result)


class _Tee:
    """Keeps what is read, to the end: after the last member there may be padding."""

    def __init__(self, source: Source, writer: BlobWriter) -> None:
        self._source = source
        self._writer = writer

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        chunk = self._source.read(size)
        self._writer.write(chunk)
        return chunk


class _Pieces:
    """A source made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def _compressed(chunks: Iterator[bytes], writer: BlobWriter) -> Iterator[bytes]:
    compressor = _gzip_compressor()
    for chunk in chunks:
        writer.write(compressor.compress(chunk))
        yield chunk
    writer.write(compressor.flush())


def _gzip_compressor() -> _Compressor:
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)


def _write_manifest(
    layout: Layout, layer: _Layer, config: dict[str, object], message: str, platform: "Platform"
) -> str:
    created = rfc3339_now()
    document: dict[str, object] = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.unpacked.diff_id]},
        "history": [{"created": created, "created_by": "rpod import", "comment": message}],
    }
    if platform.variant:
        document["variant"] = platform.variant
    data = json.dumps(document, separators=(",", ":")).encode()
    config_digest = write_blob(layout, data)
    manifest = Manifest(
        OCI_MANIFEST,
        Descriptor(OCI_CONFIG, config_digest, len(data)),
        (Descriptor(layer.media_type, layer.digest, layer.size),),
        {},
    )
    return write_blob(layout, json.dumps(manifest.to_json(), separators=(",", ":")).encode())
