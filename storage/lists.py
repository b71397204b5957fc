"""Indexes of the store's own: `manifest create` and what edits them.

An index is an entry like an image: a blob, a record of its kind in `images/`, and names. It cannot
be changed, as no blob can: an edit writes another one, to which the names move in one step. Its
record lists every blob that its entries need, so the garbage collection knows nothing of indexes.
"""

import json

from storage.blobs import has_blob, read_blob, write_blob
from storage.digest import hex_of
from storage.errors import BlobMissing, ImageNotFound, InvalidReference, NameTaken
from storage.files import Lock
from storage.images import ImageRecord, find_entry, record_entry, rfc3339_now
from storage.layout import Layout
from storage.names import name_target
from storage.oci.checks import as_object, get_list, parse_json
from storage.oci.descriptor import INDEX_TYPES, OCI_INDEX
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.reference import LOCAL_REGISTRY, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Document = dict[str, object]

_LOCK = "lists"


def create_list(
    layout: Layout, name: str, entries: "Sequence[Document]", *, amend: bool = False
) -> ImageRecord:
    """Make an index of descriptors under a new name; with `amend` add to one that is there.

    Raises NameTaken, InvalidReference, BlobMissing.
    """
    reference = parse_reference(name, default_registry=LOCAL_REGISTRY)
    if reference.digest is not None:
        raise InvalidReference(f"make the list {name!r}: a name to give cannot have a digest")
    full = str(reference)
    with Lock(layout.lock(_LOCK)):
        if name_target(layout, full):
            known = find_entry(layout, full)
            if not (amend and known.is_index):
                raise NameTaken(
                    f"make the list {full}: the name is already in use",
                    remedy=f"remove it (rpod manifest rm {full}), or use --amend",
                )
            document = _read(layout, known)
        else:
            known = None
            document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        for entry in entries:
            put_entry(document, entry)
        return _record(layout, document, known, (full,))


def find_list(layout: Layout, text: str) -> ImageRecord:
    """Find an index. Raises ImageNotFound for an image, too."""
    record = find_entry(layout, text)
    if not record.is_index:
        raise ImageNotFound(
            f"{text}: it is an image, and no list of manifests", remedy="see rpod manifest create"
        )
    return record


def read_list(layout: Layout, text: str) -> "Document":
    """Return the document of an index. Raises ImageNotFound, InvalidDocument."""
    return _read(layout, find_list(layout, text))


def edit_list(layout: Layout, text: str, change: "Callable[[Document], None]") -> ImageRecord:
    """Let `change` edit the document of an index, and give its names to the result.

    Raises ImageNotFound, BlobMissing, InvalidDocument, and what `change` raises.
    """
    with Lock(layout.lock(_LOCK)):
        known = find_list(layout, text)
        document = _read(layout, known)
        change(document)
        return _record(layout, document, known, ())


def put_entry(document: "Document", entry: "Document") -> None:
    """Add a descriptor; one with the same digest is replaced, in its place."""
    entries = get_list(document, "manifests", "index")
    for position, known in enumerate(entries):
        if isinstance(known, dict) and known.get("digest") == entry["digest"]:
            entries[position] = entry
            return
    entries.append(entry)


def entry_of(document: "Document", digest: str, where: str) -> "Document":
    """Return the descriptor with a digest. Raises ImageNotFound."""
    for entry in get_list(document, "manifests", where):
        fields = as_object(entry, where)
        if fields.get("digest") == digest:
            return fields
    raise ImageNotFound(f"{where}: no entry has the digest {digest}")


def describe_entry(record: ImageRecord, size: int) -> "Document":
    """Return the descriptor of an image for an index."""
    platform = {"architecture": record.architecture, "os": record.os}
    if record.variant:
        platform["variant"] = record.variant
    return {
        "mediaType": record.media_type,
        "digest": record.manifest_digest,
        "size": size,
        "platform": platform,
    }


def _read(layout: Layout, record: ImageRecord) -> "Document":
    where = f"index {record.manifest_digest[:19]}"
    return as_object(parse_json(read_blob(layout, record.manifest_digest), where), where)


def _record(
    layout: Layout, document: "Document", known: ImageRecord | None, names: tuple[str, ...]
) -> ImageRecord:
    """Store an index and record it. Raises BlobMissing, InvalidDocument."""
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    digest = write_blob(layout, data)
    with Lock(layout.lock("images"), shared=True):
        record = describe_list(layout, digest)
        record_entry(layout, record, names, instead_of=known.manifest_digest if known else "")
    return record


def describe_list(layout: Layout, digest: str) -> ImageRecord:
    """Describe an index whose blobs are in the store. Raises BlobMissing, InvalidDocument."""
    where = f"index {digest[:19]}"
    data = read_blob(layout, digest)
    index = Index.from_json(parse_json(data, where), where)
    now = rfc3339_now()
    return ImageRecord(
        image_id=hex_of(digest),
        manifest_digest=digest,
        config_digest=digest,
        media_type=index.media_type,
        diff_ids=(),
        chain_ids=(),
        layer_digests=_blobs_of(layout, index),
        layer_media_types=(),
        size_bytes=len(data),
        created=now,
        architecture="",
        os="",
        variant="",
        labels={},
        added_at=now,
        view_digest=digest,
    )


def _blobs_of(layout: Layout, index: Index) -> tuple[str, ...]:
    """Return every blob that the entries need. Raises BlobMissing, InvalidDocument."""
    found: dict[str, None] = {}
    for entry in index.manifests:
        where = f"manifest {entry.digest[:19]}"
        document = parse_json(read_blob(layout, entry.digest), where)
        found[entry.digest] = None
        if entry.media_type in INDEX_TYPES:
            found.update(dict.fromkeys(_blobs_of(layout, Index.from_json(document, where))))
            continue
        manifest = Manifest.from_json(document, where)
        for blob in (manifest.config, *manifest.layers):
            if not has_blob(layout, blob.digest):
                raise BlobMissing(f"{where}: its blob {blob.digest} is not in the store")
            found[blob.digest] = None
    return tuple(found)
