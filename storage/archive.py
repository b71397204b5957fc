"""Images out of files: archives of docker and podman, OCI image layouts, root file systems."""

import os

from storage.archive_formats import ArchivedImage, choose_image, read_images
from storage.blobs import has_blob
from storage.digest import digest_of
from storage.errors import BlobMissing, InvalidArchive, StorageError
from storage.events import BLOB_DONE, BLOB_EXISTS, Event, ignore
from storage.files import make_store
from storage.images import ImageRecord, commit_image
from storage.layout import Layout
from storage.limits import layer_limits
from storage.platform import Platform
from storage.policy import GPG, check_source_policy
from storage.rootfs import Changes, import_rootfs, open_source
from storage.scratch import Scratch
from storage.spool import Files, OciDirectory, PlainDirectory, Spool
from storage.unpacking import unpack_stored
from storage.verify import Signature, check_demands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.events import Events

_ATTEMPTS = 5

__all__ = ["Changes", "import_rootfs", "load_archive"]


def load_archive(
    layout: Layout,
    source: str | None,
    map_key: str,
    events: "Events | None" = None,
    *,
    wanted: str = "",
    platform: Platform | None = None,
    environment: "Mapping[str, str] | None" = None,
) -> list[ImageRecord]:
    """Store and unpack every image of an archive, or the `wanted` one; None is standard input.

    Takes what docker save and podman save write, OCI archives, each compressed or not, and
    directories: OCI image layouts, and those of the `dir` transport.
    Of an image for several platforms the one for `platform` is taken, this host's by default.
    Images that the policy of the user in `environment` does not let in are refused. Raises
    PolicyRefused, InvalidArchive, InvalidDocument, InvalidLayer, NoMatchingPlatform,
    DigestMismatch, StoreUnusable, DiskFull.
    """
    make_store(layout)
    where = source if source is not None else "standard input"
    with Scratch(layout, "load") as scratch:
        files = open_archive(layout, where, source, scratch.path)
        return load_files(
            layout,
            files,
            source,
            map_key,
            events=events,
            wanted=wanted,
            platform=platform,
            environment=environment,
        )


def load_files(
    layout: Layout,
    files: Files,
    source: str | None,
    map_key: str,
    *,
    events: "Events | None" = None,
    wanted: str = "",
    platform: Platform | None = None,
    environment: "Mapping[str, str] | None" = None,
) -> list[ImageRecord]:
    """Store and unpack the images of an archive that has been read; see `load_archive`."""
    try:
        images = read_images(files, platform)
        if not images:
            raise InvalidArchive("there is no image in it")
        if wanted:
            images = [choose_image(images, wanted)]
        if environment is not None:
            for image in images:
                check_archived(layout, files, source, image, environment)
        return [_store(layout, files, image, map_key, events or ignore) for image in images]
    except StorageError as error:
        if files.where not in error.message:
            error.message = f"load {files.where}: {error.message}"
        raise


def open_archive(layout: Layout, where: str, source: str | None, scratch: str) -> Files:
    """Read an archive, or look at a directory. Raises InvalidArchive, StoreUnusable, DiskFull."""
    if source is not None and os.path.isdir(source):
        is_layout = os.path.exists(f"{source}/index.json")
        return (OciDirectory if is_layout else PlainDirectory)(where, source, scratch)
    spool = Spool(where)
    try:
        file = open_source(source)
    except OSError as error:
        raise InvalidArchive(f"load {where}: {error.strerror}") from error
    with file:
        try:
            spool.fill(file, scratch, layer_limits(layout))
        except InvalidArchive as error:
            raise InvalidArchive(
                f"load {error.message}",
                remedy=error.remedy
                or "give an archive of `podman save` or `docker save`, or an OCI archive",
            ) from error
    return spool


def check_archived(
    layout: Layout,
    files: Files,
    source: str | None,
    image: ArchivedImage,
    environment: "Mapping[str, str]",
) -> None:
    """Refuse an image that the user's policy does not let in. Raises PolicyRefused."""
    if isinstance(files, PlainDirectory):
        transport = "dir"
    elif isinstance(files, OciDirectory):
        transport = "oci"
    else:
        transport = "docker-archive" if files.find("index.json") is None else "oci-archive"
    text = f"{transport}:{source or '-'}"
    names = image.names or ("",)
    for name in names:
        demands = check_source_policy(transport, source or "", name, environment)
        signatures = _signatures(files) if transport == "dir" else ()
        digest = digest_of(image.manifest_bytes)
        check_demands(layout, demands, signatures, digest, text, None)


def _signatures(files: Files) -> tuple[Signature, ...]:
    """The `dir` transport keeps simple signatures beside the manifest."""
    found: list[Signature] = []
    while (member := files.find(f"signature-{len(found) + 1}")) is not None:
        found.append(Signature(GPG, files.read(member)))
    return tuple(found)


def _store(
    layout: Layout, files: Files, image: ArchivedImage, map_key: str, events: "Events"
) -> ImageRecord:
    for _ in range(_ATTEMPTS - 1):
        try:
            return _store_once(layout, files, image, map_key, events)
        except BlobMissing:
            # Somebody removed an image with the same blobs or layers meanwhile.
            continue
    return _store_once(layout, files, image, map_key, events)


def _store_once(
    layout: Layout, files: Files, image: ArchivedImage, map_key: str, events: "Events"
) -> ImageRecord:
    for member in image.members:
        kind = BLOB_EXISTS if has_blob(layout, member.digest) else BLOB_DONE
        files.adopt(layout, member)
        events(Event(kind, member.digest, member.size, member.size))
    manifest_digest = image.write_manifest(layout)
    layers = tuple((layer.digest, layer.media_type) for layer in image.manifest.layers)
    unpack_stored(layout, map_key, image.config.diff_ids, layers, events)
    record = commit_image(
        layout,
        manifest_digest=manifest_digest,
        name=image.names[0] if image.names else None,
        map_key=map_key,
    )
    for name in image.names[1:]:
        record = commit_image(layout, manifest_digest=manifest_digest, name=name, map_key=map_key)
    return record._replace(names=image.names)
