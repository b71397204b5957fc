"""Small images put straight into a store, for tests that need no namespace."""

import hashlib
import io
import json
import os
import tarfile

from storage.blobs import write_blob
from storage.files import make_store
from storage.images import ImageRecord, commit_image
from storage.layer_set import LayerSet
from storage.layout import Layout
from storage.oci.descriptor import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor
from storage.oci.manifest import Manifest

KEY = "0123456789abcdef"


def new_store(directory: object) -> Layout:
    """Make an empty store below a directory."""
    layout = Layout(f"{directory}/store", f"{directory}/run")
    make_store(layout)
    return layout


def layer_tar(files: dict[str, bytes]) -> bytes:
    """Return a plain layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid = len(data), os.getuid(), os.getgid()
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def image_documents(
    layers: list[bytes], config: dict[str, object] | None = None
) -> tuple[bytes, bytes]:
    """Return manifest and configuration of a docker image with plain layers."""
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": config or {"Cmd": ["sh"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    data = json.dumps(document).encode()
    config_digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    manifest = Manifest(
        DOCKER_MANIFEST,
        Descriptor(DOCKER_CONFIG, config_digest, len(data)),
        tuple(
            Descriptor(DOCKER_LAYER, diff_id, len(layer))
            for diff_id, layer in zip(diff_ids, layers, strict=True)
        ),
        {},
    )
    return json.dumps(manifest.to_json()).encode(), data


def add_image(
    layout: Layout,
    name: str | None,
    files: list[dict[str, bytes]],
    *,
    config: dict[str, object] | None = None,
    key: str | None = KEY,
) -> ImageRecord:
    """Store, unpack and record an image with one layer for each set of files."""
    layers = [layer_tar(entry) for entry in files]
    manifest, document = image_documents(layers, config)
    for data in (*layers, document):
        write_blob(layout, data)
    digest = write_blob(layout, manifest)
    diff_ids = tuple(f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers)
    if key is not None:
        with LayerSet(layout, key, diff_ids) as unpacking:
            for position, layer in enumerate(layers):
                if not unpacking.is_unpacked(position):
                    unpacking.unpack(position, io.BytesIO(layer), DOCKER_LAYER)
            unpacking.finish()
    return commit_image(layout, manifest_digest=digest, name=name, map_key=key)
