"""Make an image of a base and one further layer: what `commit` writes."""

import hashlib
import json
import zlib
from collections.abc import Iterator

from storage.blobs import BlobWriter, read_blob, write_blob
from storage.digest import hex_of
from storage.images import ImageRecord, rfc3339_now
from storage.layout import Layout
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    layer_compression,
)
from storage.oci.manifest import Manifest
from storage.record import NamedTuple

_DOCKER_LAYERS = {"none": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD}
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31


class Commit(NamedTuple):
    """What the new image says about itself; `config` is the whole `config` of its document.

    With `squash` the new layer takes the place of those of the base, whose history goes, too.
    """

    config: dict[str, object]
    author: str = ""
    message: str = ""
    created_by: str = ""
    docker: bool = False
    squash: bool = False


class NewLayer(NamedTuple):
    """A layer that has been stored."""

    digest: str
    size: int
    diff_id: str


def store_layer(layout: Layout, chunks: Iterator[bytes]) -> NewLayer:
    """Compress and store the archive of a layer. Raises StoreUnusable, DiskFull."""
    digest = hashlib.sha256()
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    with BlobWriter(layout) as writer:
        for chunk in chunks:
            digest.update(chunk)
            writer.write(compressor.compress(chunk))
        writer.write(compressor.flush())
        stored = writer.commit()
        return NewLayer(stored, writer.size_bytes, f"sha256:{digest.hexdigest()}")


def write_commit(layout: Layout, base: ImageRecord, layer: NewLayer, commit: Commit) -> str:
    """Write configuration and manifest; return the manifest's digest.

    Raises BlobMissing, InvalidDocument.
    """
    document = _document(layout, base, layer, commit)
    data = json.dumps(document, separators=(",", ":")).encode()
    config_digest = write_blob(layout, data)
    below: tuple[Descriptor, ...] = ()
    if not commit.squash:
        raw = json.loads(read_blob(layout, base.manifest_digest))
        below = Manifest.from_json(raw, "manifest of the base").as_oci().layers
    layers = (*below, Descriptor(OCI_LAYER_GZIP, layer.digest, layer.size))
    config = Descriptor(OCI_CONFIG, config_digest, len(data))
    manifest = Manifest(OCI_MANIFEST, config, layers, {})
    if commit.docker:
        manifest = _as_docker(manifest)
    return write_blob(layout, json.dumps(manifest.to_json(), separators=(",", ":")).encode())


def _document(
    layout: Layout, base: ImageRecord, layer: NewLayer, commit: Commit
) -> dict[str, object]:
    document = json.loads(read_blob(layout, base.config_digest))
    created = rfc3339_now()
    step: dict[str, object] = {"created": created, "created_by": commit.created_by}
    document["created"] = created
    document.pop("author", None)
    if commit.author:
        document["author"] = step["author"] = commit.author
    if commit.message:
        step["comment"] = commit.message
    document["config"] = commit.config
    # The container of a build long ago; it says nothing about this image.
    for key in ("container", "container_config", "comment"):
        document.pop(key, None)
    if commit.docker:
        document["comment"] = commit.message
        document["parent"] = f"sha256:{hex_of(base.config_digest)}"
    diff_ids, history = list(base.diff_ids), list(document.get("history") or [])
    if commit.squash:
        document.pop("parent", None)
        diff_ids, history = [], []
    document["rootfs"] = {"type": "layers", "diff_ids": [*diff_ids, layer.diff_id]}
    document["history"] = [*history, step]
    assert isinstance(document, dict)
    return document


def _as_docker(manifest: Manifest) -> Manifest:
    """Return the manifest with docker's media types."""
    layers = tuple(
        layer._replace(media_type=_DOCKER_LAYERS[layer_compression(layer.media_type)])
        for layer in manifest.layers
    )
    config = manifest.config._replace(media_type=DOCKER_CONFIG)
    return manifest._replace(media_type=DOCKER_MANIFEST, config=config, layers=layers)
