"""Images in memory, as odd as a test needs them, in the form in which registries store them."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
HOST_ARCHITECTURE = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Image(NamedTuple):
    """An image in memory: what is stored under which digest, and what a tag stands for."""

    data: bytes
    media_type: str
    blobs: Mapping[str, bytes]
    children: Mapping[str, tuple[bytes, str]] = {}

    @property
    def digest(self) -> str:
        return sha256(self.data)

    @property
    def layers(self) -> list[str]:
        return [str(layer["digest"]) for layer in json.loads(self.data)["layers"]]

    @property
    def config(self) -> str:
        return str(json.loads(self.data)["config"]["digest"])


def make_image(
    layers: Iterable[bytes],
    *,
    config: Mapping[str, object] | None = None,
    compression: str = "gzip",
    docker: bool = False,
    architecture: str = HOST_ARCHITECTURE,
    variant: str = "",
) -> Image:
    """Make an image of plain tar archives; `config` replaces members of the configuration.

    `compression` is gzip, zstd, none, or stored: gzip that makes nothing smaller, and takes no
    time.
    """
    blobs: dict[str, bytes] = {}
    diff_ids, descriptors = [], []
    for layer in layers:
        diff_ids.append(sha256(layer))
        data = _compress(layer, compression)
        kind = "gzip" if compression == "stored" else compression
        media_type = OCI_LAYER if kind == "none" else f"{OCI_LAYER}+{kind}"
        descriptors.append(_descriptor(DOCKER_LAYER_GZIP if docker else media_type, data))
        blobs[sha256(data)] = data
    document: dict[str, object] = {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    if variant:
        document["variant"] = variant
    raw = json.dumps({**document, **(config or {})}).encode()
    blobs[sha256(raw)] = raw
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, raw),
        "layers": descriptors,
    }
    return Image(json.dumps(manifest).encode(), media_type, blobs)


def make_index(images: Mapping[str, Image]) -> Image:
    """Make an index of OS/ARCHITECTURE[/VARIANT] -> image."""
    entries: list[dict[str, object]] = []
    blobs: dict[str, bytes] = {}
    for platform, image in images.items():
        system, architecture, *variant = platform.split("/")
        entry = _descriptor(image.media_type, image.data)
        described = {"os": system, "architecture": architecture}
        if variant:
            described["variant"] = variant[0]
        entries.append({**entry, "platform": described})
        blobs.update(image.blobs)
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    children = {image.digest: (image.data, image.media_type) for image in images.values()}
    return Image(data, OCI_INDEX, blobs, children)


def change_manifest(image: Image, change: Callable[[dict[str, object]], None]) -> Image:
    """Return an image whose manifest has been changed; its blobs are as they were."""
    manifest = json.loads(image.data)
    change(manifest)
    return image._replace(data=json.dumps(manifest).encode())


def _compress(data: bytes, compression: str) -> bytes:
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(data)
    if compression in ("gzip", "stored"):
        return gzip.compress(data, int(compression == "gzip"), mtime=0)
    return data


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}
