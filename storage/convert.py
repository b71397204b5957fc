"""An image in another form: docker's or the OCI's manifest, layers compressed in another way.

What a layer inflates to stays, so its diff id and the configuration do. The converted image is
stored like any other, but never recorded: `discard` hands it to the garbage collection.
"""

import hashlib
import json

from storage.blobs import BlobWriter, blob_size, open_blob, read_blob, write_blob
from storage.chunked import is_chunked, without_chunks
from storage.errors import DigestMismatch, InvalidDocument
from storage.gone import discard_record
from storage.images import ImageRecord, describe_image
from storage.inflate import inflate, peek
from storage.layout import Layout
from storage.lists import describe_list
from storage.oci.checks import as_object, get_list, parse_json
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    layer_compression,
)
from storage.oci.manifest import Manifest
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class _Compressor(Protocol):
        def compress(self, data: bytes, /) -> bytes: ...
        def flush(self) -> bytes: ...


OCI, DOCKER = "oci", "v2s2"
FORMS = (OCI, DOCKER)
_LISTS = {OCI: OCI_INDEX, DOCKER: DOCKER_LIST}
GZIP, ZSTD, CHUNKED = "gzip", "zstd", "zstd:chunked"
COMPRESSIONS = (GZIP, ZSTD, CHUNKED)
LEVELS = {GZIP: (1, 9), ZSTD: (1, 22), CHUNKED: (1, 22)}
_OCI_LAYERS = {"none": OCI_LAYER, GZIP: OCI_LAYER_GZIP, ZSTD: OCI_LAYER_ZSTD}
_OCI_LAYERS[CHUNKED] = OCI_LAYER_ZSTD
_DOCKER_LAYERS = {"none": DOCKER_LAYER, GZIP: DOCKER_LAYER_GZIP}
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3
_GZIP_WINDOW = 31


class Wanted(NamedTuple):
    """The form to have; empty strings, and a level of None, leave what is there."""

    form: str = ""
    compression: str = ""
    level: int | None = None


def check_wanted(wanted: Wanted) -> None:
    """Refuse what does not go together. Raises InvalidDocument."""
    if wanted.form == DOCKER and wanted.compression in (ZSTD, CHUNKED):
        raise InvalidDocument(
            "docker's manifests, schema 2, have no zstd layers",
            remedy="leave the format out, or say --format oci",
        )
    if wanted.level is not None:
        first, last = LEVELS[wanted.compression or GZIP]
        if not first <= wanted.level <= last:
            raise InvalidDocument(
                f"compression level {wanted.level}: {wanted.compression or GZIP} has"
                f" {first} to {last}"
            )


def convert_image(layout: Layout, record: ImageRecord, wanted: Wanted) -> ImageRecord:
    """Return the image in the form that is wanted; the image itself when it has it already.

    Raises BlobMissing, DigestMismatch, InvalidDocument, InvalidLayer, DiskFull.
    """
    check_wanted(wanted)
    if wanted == Wanted():
        return record
    where = f"manifest {record.manifest_digest[:19]}"
    manifest = Manifest.from_json(
        parse_json(read_blob(layout, record.manifest_digest), where), where
    )
    layers = tuple(
        _convert_layer(layout, layer, diff_id, wanted)
        for layer, diff_id in zip(manifest.layers, record.diff_ids, strict=True)
    )
    form = wanted.form or (DOCKER if manifest.media_type == DOCKER_MANIFEST else OCI)
    if form == DOCKER and any(_compression(layer) == ZSTD for layer in layers):
        if wanted.form == DOCKER:
            layers = tuple(
                _convert_layer(layout, layer, diff_id, Wanted(DOCKER, GZIP))
                if _compression(layer) == ZSTD
                else layer
                for layer, diff_id in zip(layers, record.diff_ids, strict=True)
            )
        else:
            form = OCI
    converted = manifest._replace(layers=layers)
    converted = converted.as_oci() if form == OCI else _as_docker(converted)
    if converted == manifest:
        return record
    data = json.dumps(converted.to_json(), separators=(",", ":")).encode()
    return describe_image(layout, write_blob(layout, data))


def convert_list(
    layout: Layout, record: ImageRecord, wanted: Wanted, *, images: bool = True
) -> ImageRecord:
    """Return an index in the form that is wanted, with its `images` in that form.

    An entry keeps what it says besides (platform, annotations). Raises what `convert_image` raises.
    """
    check_wanted(wanted)
    where = f"index {record.manifest_digest[:19]}"
    document = as_object(parse_json(read_blob(layout, record.manifest_digest), where), where)
    converted = dict(document)
    converted["mediaType"] = _LISTS.get(wanted.form, record.media_type)
    views: list[str] = []
    if images:
        converted["manifests"] = [
            _convert_entry(layout, as_object(entry, where), wanted, views)
            for entry in get_list(document, "manifests", where)
        ]
    if converted == document or wanted == Wanted():
        return record
    data = json.dumps(converted, separators=(",", ":"), ensure_ascii=False).encode()
    made = describe_list(layout, write_blob(layout, data))
    return made._replace(layer_digests=(*made.layer_digests, *views))


def _convert_entry(
    layout: Layout, entry: dict[str, object], wanted: Wanted, views: list[str]
) -> dict[str, object]:
    """Return the entry of a converted image; to `views` goes what its record alone names."""
    digest = str(entry["digest"])
    if entry.get("mediaType") in INDEX_TYPES:
        there = convert_list(layout, describe_list(layout, digest), wanted)
    else:
        there = convert_image(layout, describe_image(layout, digest), wanted)
    views.append(there.view_digest)
    return {
        **entry,
        "mediaType": there.media_type,
        "digest": there.manifest_digest,
        "size": blob_size(layout, there.manifest_digest),
    }


def discard(layout: Layout, record: ImageRecord) -> None:
    """Let the next garbage collection have what a converted image has for itself."""
    discard_record(layout, record)


def _compression(layer: Descriptor) -> str:
    return layer_compression(layer.media_type)


def _as_docker(manifest: Manifest) -> Manifest:
    layers = tuple(
        layer._replace(media_type=_DOCKER_LAYERS[_compression(layer)], annotations=None)
        for layer in manifest.layers
    )
    config = manifest.config._replace(media_type=DOCKER_CONFIG, annotations=None)
    return Manifest(DOCKER_MANIFEST, config, layers, {})


def _convert_layer(layout: Layout, layer: Descriptor, diff_id: str, wanted: Wanted) -> Descriptor:
    """Return a layer in the wanted compression; inflated and compressed anew only where needed."""
    compression = wanted.compression or (GZIP if wanted.level is not None else "")
    if not compression or (wanted.level is None and _has(layer, compression)):
        return layer
    if compression != CHUNKED:
        return _compress_layer(layout, layer, diff_id, wanted._replace(compression=compression))
    from storage.tar_members import NotChunkable

    try:
        return _compress_layer(layout, layer, diff_id, wanted)
    except NotChunkable:
        # What is wanted is a layer that every reader understands; without a table of contents it
        # is one, too.
        return _convert_layer(layout, layer, diff_id, wanted._replace(compression=ZSTD))


def _has(layer: Descriptor, compression: str) -> bool:
    """Tell whether a layer is compressed as wanted: one with a table of contents is zstd, too."""
    if compression == CHUNKED:
        return is_chunked(layer.annotations)
    return _compression(layer) == compression


def _compress_layer(layout: Layout, layer: Descriptor, diff_id: str, wanted: Wanted) -> Descriptor:
    digest = hashlib.sha256()
    annotations = without_chunks(layer.annotations) or {}
    with open(open_blob(layout, layer.digest), "rb", buffering=0) as source:
        found, start = peek(source)
        plain = _digested(inflate(start, found), digest)
        with BlobWriter(layout) as writer:
            for part in _compressed(plain, wanted, annotations):
                writer.write(part)
            if f"sha256:{digest.hexdigest()}" != diff_id:
                raise DigestMismatch(
                    f"layer {layer.digest}: its content does not have the digest {diff_id}",
                    remedy="pull or load the image again",
                )
            stored = writer.commit()
            size = writer.size_bytes
    return Descriptor(
        _OCI_LAYERS[wanted.compression], stored, size, annotations=annotations or None
    )


def _digested(chunks: "Iterable[bytes]", digest: "hashlib._Hash") -> "Iterator[bytes]":
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _compressed(
    chunks: "Iterator[bytes]", wanted: Wanted, annotations: dict[str, str]
) -> "Iterator[bytes]":
    """Yield the compressed stream; what its reader has to know goes to `annotations`."""
    if wanted.compression == CHUNKED:
        from storage.chunked import ChunkedEncoder

        encoder = ChunkedEncoder(wanted.level or _ZSTD_LEVEL)
        yield from encoder.encode(chunks)
        annotations.update(encoder.annotations)
        return
    compressor = _compressor(wanted.compression, wanted.level)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def _compressor(compression: str, level: int | None) -> "_Compressor":
    if compression == ZSTD:
        import zstandard

        # pzstd's threads would make the result depend on the machine.
        return zstandard.ZstdCompressor(level=level or _ZSTD_LEVEL).compressobj()
    import zlib

    return zlib.compressobj(level or _GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
