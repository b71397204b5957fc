"""The entries of an image in a file with all their blobs, for an index of one's own."""

from storage.archive import check_archived, open_archive
from storage.archive_formats import (
    ArchivedImage,
    choose_image,
    describe_archived,
    entry_names,
    read_images,
    read_instance,
)
from storage.errors import InvalidArchive, StorageError
from storage.files import make_store
from storage.layout import Layout
from storage.oci.checks import as_object, get_list, parse_json
from storage.oci.descriptor import INDEX_TYPES, Descriptor
from storage.oci.index import Index
from storage.platform import Platform
from storage.scratch import Scratch
from storage.spool import Files, PlainDirectory
from storage.transports import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Document = dict[str, object]
    Entry = tuple[Document, ArchivedImage]

_NESTED_LIMIT = 4
# What says how an image is called in a layout says nothing of an image in a list.
_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")


def take_entries(
    layout: Layout,
    source: Source,
    *,
    every: bool,
    platform: Platform,
    environment: "Mapping[str, str]",
) -> "list[Document]":
    """Store an image of a file or a directory, or `every` one of its index; return descriptors.

    Nothing is unpacked. Raises PolicyRefused, InvalidArchive, InvalidDocument, DigestMismatch,
    NoMatchingPlatform, StoreUnusable, DiskFull.
    """
    make_store(layout)
    with Scratch(layout, "load") as scratch:
        files = open_archive(layout, source.path, source.path, scratch.path)
        try:
            found = _every(files, source) if every else []
            found = found or [({}, _one(files, source, platform))]
            for _, image in found:
                check_archived(layout, files, source.path, image, environment)
            return [_store(layout, files, entry, image) for entry, image in found]
        except StorageError as error:
            if files.where not in error.message:
                error.message = f"read {files.where}: {error.message}"
            raise


def _one(files: Files, source: Source, platform: Platform) -> ArchivedImage:
    images = read_images(files, platform)
    if source.wanted:
        return choose_image(images, source.wanted)
    if len(images) != 1:
        names = ", ".join(name for image in images for name in image.names)
        raise InvalidArchive(
            f"there are {len(images)} images in it", remedy=f"add which one: {names[:500]}"
        )
    return images[0]


def _every(files: Files, source: Source) -> "list[Entry]":
    """Return the images of an index; none where what is asked for is no index."""
    if files.find("index.json") is not None:
        return _below(files, _chosen_entries(files, source), 0)
    if not isinstance(files, PlainDirectory) or files.find("manifest.json") is None:
        return []
    document = files.document("manifest.json")
    if as_object(document, files.where).get("mediaType") not in INDEX_TYPES:
        return []
    return _below(files, _raw_entries(document, files.where), 0)


def _chosen_entries(files: Files, source: Source) -> "list[Document]":
    """Return the entry of index.json that is asked for; all when they are one unnamed list."""
    where = f"{files.where}: index.json"
    raw = _raw_entries(files.document("index.json"), where)
    entries = [Descriptor.from_json(entry, where) for entry in raw]
    if not source.wanted:
        is_list = all(one.platform and not entry_names(one, where) for one in entries)
        return raw if is_list or len({one.digest for one in entries}) == 1 else []
    found = []
    for number, (fields, entry) in enumerate(zip(raw, entries, strict=True)):
        names = entry_names(entry, where)
        short = (entry.annotations or {}).get(_NAMES[0])
        if source.wanted in (*names, short, f"@{number}"):
            found.append(fields)
    return found[:1]


def _raw_entries(document: object, where: str) -> "list[Document]":
    fields = as_object(document, where)
    Index.from_json(fields, where)
    return [as_object(entry, where) for entry in get_list(fields, "manifests", where)]


def _below(files: Files, entries: "list[Document]", depth: int) -> "list[Entry]":
    found: list[Entry] = []
    for fields in entries:
        where = f"{files.where}: {str(fields.get('digest'))[:19]}"
        entry = Descriptor.from_json(fields, where)
        # Attestations stand in an index for "unknown/unknown"; they are no images.
        if entry.platform is not None and entry.platform.architecture == "unknown":
            continue
        if depth >= _NESTED_LIMIT:
            raise InvalidArchive(f"load {files.where}: its indexes are nested too deeply")
        data = read_instance(files, entry.digest)
        document = parse_json(data, where)
        if entry.media_type in INDEX_TYPES:
            found += _below(files, _raw_entries(document, where), depth + 1)
        elif entry.digest not in {str(one.get("digest")) for one, _ in found}:
            found.append((fields, describe_archived(files, data, document, where)))
    return found


def _store(layout: Layout, files: Files, entry: "Document", image: ArchivedImage) -> "Document":
    """Keep the blobs of an image; return its descriptor, made when the index has none."""
    for member in image.members:
        files.adopt(layout, member)
    digest = image.write_manifest(layout)
    found = {**entry, "mediaType": image.manifest.media_type, "digest": digest,
             "size": len(image.manifest_bytes)}  # fmt: skip
    annotations = entry.get("annotations")
    if isinstance(annotations, dict):
        kept = {key: value for key, value in annotations.items() if key not in _NAMES}
        found.pop("annotations")
        found.update({"annotations": kept} if kept else {})
    if not entry.get("platform"):
        config = image.config
        platform = {"architecture": config.architecture, "os": config.os}
        found["platform"] = {**platform, **({"variant": config.variant} if config.variant else {})}
    return found
