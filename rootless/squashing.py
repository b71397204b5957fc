"""`image squash`: an image as one squashfs file that carries its configuration."""

import os

from rootless.container.single_file import run_tool
from rootless.errors import HostError, UsageError
from rootless.host.paths import Host
from rootless.host.programs import find_program, install_command
from rootless.images import default_key, ensure_unpacked
from rootless.linux.userns import run_in_userns
from rootless.sandbox.root import mount_overlay
from storage.blobs import read_blob
from storage.errors import from_os_error
from storage.images import ImageRecord, find_image
from storage.scratch import Scratch
from storage.squashfs import SUFFIXES, trailer

COMPRESSIONS = ("gzip", "lz4", "zstd", "xz")
_ZSTD_LEVEL = 6


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
    write_squashfs(host, find_image(host.layout, name), path, compression)
    return path


def write_squashfs(host: Host, record: ImageRecord, path: str, compression: str) -> None:
    """Write the squashfs of an image beside `path`, then let it appear there.

    Raises HostError, StoreUnusable, DiskFull.
    """
    program = find_program("mksquashfs", host.environ)
    if program is None:
        raise HostError(
            "make a squashfs: squashfs-tools is not installed", remedy=install_command("mksquashfs")
        )
    key = default_key(host)
    ensure_unpacked(host, record, host.id_maps(), key)
    layers = [host.layout.layer_diff(key, chain) for chain in reversed(record.chain_ids)]
    config = read_blob(host.layout, record.config_digest)
    unfinished = f"{path}.{os.getpid()}.tmp"
    options = ["-noappend", "-no-progress", "-quiet", "-comp", compression]
    if compression == "zstd":
        options += ["-Xcompression-level", str(_ZSTD_LEVEL)]
    options += ["-processors", str(len(os.sched_getaffinity(0)))]
    try:
        with Scratch(host.layout, "squash") as scratch:
            merged = f"{scratch.path}/merged"
            os.mkdir(merged, 0o755)
            os.mkdir(f"{merged}/empty", 0o755)

            def work(_: object) -> object:
                # An overlay without a writable layer has at least two.
                mount_overlay(merged, [*layers, f"{merged}/empty"], read_only=True)
                return run_tool([program, merged, unfinished, *options])

            problem = run_in_userns(work, host.id_maps(), new_mounts=True)
        if problem:
            raise HostError(f"make {path}: {problem}", remedy="see whether the disk is full")
        with open(unfinished, "ab") as file:
            file.write(trailer(config))
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error
    finally:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
