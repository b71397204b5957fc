"""The documents of a built image: configuration and manifest, of the OCI or of docker."""

import json

from storage.blobs import write_blob
from storage.layout import Layout
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    layer_compression,
)
from storage.oci.manifest import Manifest
from storage.record import NamedTuple

_DOCKER_LAYERS = {"none": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD}


class BuiltImage(NamedTuple):
    """Everything that the documents say; `layers` with the OCI's media types, lowest first."""

    os: str
    architecture: str
    variant: str
    created: str
    author: str
    config: dict[str, object]
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    history: tuple[dict[str, object], ...]
    annotations: dict[str, str]
    docker: bool = False


class Documents(NamedTuple):
    """The digests of what has been written."""

    manifest_digest: str
    config_digest: str
    media_type: str
    manifest_size: int


def write_documents(layout: Layout, image: BuiltImage) -> Documents:
    """Write configuration and manifest: the same image gives the same bytes.

    Raises StoreUnusable, DiskFull.
    """
    document: dict[str, object] = {"created": image.created}
    if image.author:
        document["author"] = image.author
    document |= {"architecture": image.architecture, "os": image.os}
    if image.variant:
        document["variant"] = image.variant
    document |= {
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": list(image.diff_ids)},
        "history": list(image.history),
    }
    config = _encoded(document)
    config_digest = write_blob(layout, config)
    media_type, config_type, layers = OCI_MANIFEST, OCI_CONFIG, image.layers
    if image.docker:
        media_type, config_type = DOCKER_MANIFEST, DOCKER_CONFIG
        layers = tuple(
            layer._replace(media_type=_DOCKER_LAYERS[layer_compression(layer.media_type)])
            for layer in layers
        )
    manifest = Manifest(
        media_type,
        Descriptor(config_type, config_digest, len(config)),
        layers,
        {} if image.docker else image.annotations,
    )
    data = _encoded(manifest.to_json())
    return Documents(write_blob(layout, data), config_digest, media_type, len(data))


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
