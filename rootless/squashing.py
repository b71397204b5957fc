"""`image squash`: an image as one squashfs file that carries its configuration."""

import os

from rootless.errors import UsageError
from rootless.host.paths import Host
from rootless.host.squashfs_tools import write_squashfs
from rootless.images import default_key, ensure_unpacked
from storage.blobs import read_blob
from storage.images import ImageRecord, find_image
from storage.squashfs import SUFFIXES


def squash(
    host: Host, name: str, path: str, *, compression: str = "zstd", force: bool = False
) -> str:
    """Write an image to a file, which is there whole or not at all; return its absolute path.

    Raises ImageNotFound, UsageError, HostError, StoreUnusable, DiskFull.
    """
    path = os.path.abspath(path)
    if not path.endswith(SUFFIXES[:3]):
        raise UsageError(
            f"squash to {path}: the name of the file must end in {', '.join(SUFFIXES[:3])}",
            remedy=f"use {path}.sqfs",
        )
    if os.path.lexists(path) and not force:
        raise UsageError(f"squash to {path}: it exists", remedy="remove it, or use --force")
    write_image(host, find_image(host.layout, name), path, compression=compression)
    return path


def write_image(host: Host, record: ImageRecord, path: str, *, compression: str = "zstd") -> None:
    """Write an image to a file that is not there, or is replaced.

    Raises HostError, StoreUnusable, DiskFull.
    """
    key = default_key(host)
    ensure_unpacked(host, record, host.id_maps(), key)
    layers = [host.layout.layer_diff(key, chain) for chain in reversed(record.chain_ids)]
    config = read_blob(host.layout, record.config_digest)
    write_squashfs(host, layers, config, path, compression=compression)
