"""Store a layer in one pass: archive, digest, compression, blob and unpacked tree at once.

gzip comes from the fastest library that is there, whose bytes may differ between machines. Where
the same build has to give the same digest everywhere it comes from zlib.
"""

import os
import zlib
from collections.abc import Iterator
from typing import Protocol

from storage.blobs import BlobWriter
from storage.errors import InvalidLayer, from_os_error
from storage.layers import LayerBuilder, chain_ids, has_layer, layer_lock
from storage.layout import Layout
from storage.oci.descriptor import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from storage.pack import END, Packer
from storage.record import NamedTuple
from storage.unpack import UnpackResult, unpack_tar

_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_ZSTD_LEVEL = 3
_BLOCK_BYTES = 1 << 19
_MEDIA_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class WrittenLayer(NamedTuple):
    """A layer that has been stored: its blob, and the digest of its archive."""

    digest: str
    size: int
    diff_id: str
    media_type: str
    size_bytes: int


class LayerForm(NamedTuple):
    """How a layer is stored: none, gzip or zstd; with the same bytes on every machine or not."""

    compression: str = "gzip"
    same_everywhere: bool = False


def _compressor(form: LayerForm) -> _Compressor:
    if form.compression == "none":
        return _Plain()
    if form.compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    if not form.same_everywhere:
        try:
            from isal import isal_zlib
        except ImportError:
            pass
        else:
            fast: _Compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
            return fast
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def write_layer(
    layout: Layout,
    map_key: str,
    below: tuple[str, ...],
    chunks: Iterator[bytes],
    form: LayerForm,
) -> WrittenLayer:
    """Store an archive as a layer on top of the diff ids `below`, blob and unpacked tree.

    Runs as root of the map's user namespace. Raises StoreUnusable, DiskFull, and what `chunks` do.
    """
    building = f"sha256:{os.urandom(32).hex()}"
    with LayerBuilder(layout, map_key, building) as builder, BlobWriter(layout) as writer:
        pieces = _stored(_blocks(chunks), writer, form)
        result = unpack_tar(pieces, diff_id=None, target=builder.diff)
        digest = writer.commit()
        if result.missing_links:
            raise InvalidLayer(f"a hard link to nothing: {result.missing_links[0][0]}")
        _publish(layout, map_key, below, builder, result)
        return WrittenLayer(
            digest,
            writer.size_bytes,
            result.diff_id,
            _MEDIA_TYPES[form.compression],
            result.size_bytes,
        )


def adopt_layer(
    layout: Layout,
    map_key: str,
    below: tuple[str, ...],
    upper: str,
    packer: Packer,
    form: LayerForm,
) -> WrittenLayer:
    """Make the upper directory of an overlay a layer: one pass over it writes the blob.

    `upper` lies in the store and becomes the unpacked layer by a rename. Raises StoreUnusable,
    DiskFull.
    """
    import hashlib

    building = f"sha256:{os.urandom(32).hex()}"
    archive = hashlib.sha256()
    with LayerBuilder(layout, map_key, building) as builder, BlobWriter(layout) as writer:
        try:
            top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for block in _stored(_blocks(pack_upper(packer, top)), writer, form):
                    archive.update(block)
            finally:
                os.close(top)
            os.rmdir(builder.diff)
            os.rename(upper, builder.diff)
        except OSError as error:
            raise from_os_error(f"store the layer in {upper}", error) from error
        digest = writer.commit()
        diff_id = f"sha256:{archive.hexdigest()}"
        result = UnpackResult(diff_id, packer.size_bytes, packer.entries, (), ())
        _publish(layout, map_key, below, builder, result)
        return WrittenLayer(
            digest,
            writer.size_bytes,
            diff_id,
            _MEDIA_TYPES[form.compression],
            packer.size_bytes,
        )


def pack_upper(packer: Packer, top: int) -> Iterator[bytes]:
    """Yield the archive of an upper directory that is open."""
    yield from packer.tree(top, b"")
    yield END


def _publish(
    layout: Layout,
    map_key: str,
    below: tuple[str, ...],
    builder: LayerBuilder,
    result: UnpackResult,
) -> None:
    chain = chain_ids((*below, result.diff_id))[-1]
    with layer_lock(layout, chain):
        if not has_layer(layout, map_key, chain):
            builder.publish_as(chain, result)


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in larger pieces."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= _BLOCK_BYTES:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


def _stored(blocks: Iterator[bytes], writer: BlobWriter, form: LayerForm) -> Iterator[bytes]:
    """Yield blocks on their way into the blob."""
    compressor = _compressor(form)
    for block in blocks:
        writer.write(compressor.compress(block))
        yield block
    writer.write(compressor.flush())
