"""Images in the store: one record for each manifest, one small file for each name.

On the path of `rpod run`: loads nothing heavy at import. Truth about names lies in `names/`;
`index.json` is a view for other tools, written after each change and never read here.
"""

import errno
import os
import time

from storage import lightjson as json
from storage.blobs import adopt_blob, has_blob, read_blob, write_blob
from storage.digest import hex_of
from storage.errors import (
    Ambiguous,
    BlobMissing,
    ImageNotFound,
    InUse,
    InvalidDocument,
    InvalidReference,
    from_os_error,
)
from storage.files import Lock, is_store, read_file, write_file
from storage.image_record import ImageRecord as ImageRecord
from storage.image_record import all_digests as all_digests
from storage.layout import Layout
from storage.names import (
    delete_name,
    image_names,
    list_names,
    listdir,
    name_target,
    set_name,
)
from storage.oci.checks import parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, local_candidates, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.oci.manifest import Manifest

REF_NAME = "org.opencontainers.image.ref.name"
_HEX = frozenset("0123456789abcdef")
_ID_LENGTH = 64


def find_image(layout: Layout, text: str, *, all_names: bool = False) -> ImageRecord:
    """Find an image as `find_entry` does; of an index the image for this platform.

    Raises ImageNotFound, Ambiguous, InvalidReference, NoMatchingPlatform.
    """
    record = find_entry(layout, text)
    if record.is_index:
        record = _choose_instance(layout, text, record)
    return _with_all_names(layout, record) if all_names else record


def find_entry(layout: Layout, text: str, *, all_names: bool = False) -> ImageRecord:
    """Find an image or an index by name, name@digest, digest, or a beginning of its id.

    A short name stands for, in this order: localhost/NAME, docker.io/library/NAME, and any name
    that ends in /NAME. Raises ImageNotFound, Ambiguous, InvalidReference.
    """
    record = _find_by_name(layout, text) or _find_by_id(layout, text)
    if record is None and layout.additional:
        record = _find_shared(layout, text)
    if record is None:
        raise ImageNotFound(
            f"no image {text!r} in the store", remedy=f"get it first: rpod pull {text}"
        )
    return _with_all_names(layout, record) if all_names else record


def _with_all_names(layout: Layout, record: ImageRecord) -> ImageRecord:
    place = Layout(record.store, "") if record.store else layout
    return record._replace(names=image_names(place, record.manifest_digest))


def _choose_instance(layout: Layout, text: str, index: ImageRecord) -> ImageRecord:
    from storage.oci.index import Index
    from storage.platform import choose_manifest, host_platform

    data = read_blob(layout, index.manifest_digest, verify=False)
    entries = Index.from_json(parse_json(data, text), text).manifests
    entry = choose_manifest(entries, host_platform(), text)
    record = read_entry(Layout(index.store, "") if index.store else layout, entry.digest)
    if record is None:
        # Its blobs are here, with the index; only its own record has been removed.
        record = commit_image(layout, manifest_digest=entry.digest, name=None, map_key=None)
    return record._replace(names=index.names, store=index.store)


def list_images(layout: Layout) -> list[ImageRecord]:
    """Return every image with all its names, in the order of their arrival, the newest first."""
    return [record for record in list_entries(layout) if not record.is_index]


def list_entries(layout: Layout) -> list[ImageRecord]:
    """Return every image and every index, as `list_images` does."""
    names: dict[str, list[str]] = {}
    for name, digest in list_names(layout).items():
        names.setdefault(digest, []).append(name)
    records = []
    for digest in _recorded_digests(layout):
        record = read_entry(layout, digest)
        if record is not None:
            records.append(record._replace(names=tuple(sorted(names.get(digest, ())))))
    known = {record.manifest_digest for record in records}
    for directory in layout.additional:
        for record in list_entries(Layout(directory, "")) if is_store(directory) else ():
            if record.manifest_digest not in known:
                known.add(record.manifest_digest)
                records.append(record._replace(store=directory))
    records.sort(key=lambda record: (record.added_at, record.image_id), reverse=True)
    return records


def image_config(layout: Layout, record: ImageRecord) -> ImageConfig:
    """Read the configuration of an image. Raises BlobMissing, InvalidDocument."""
    where = f"configuration of image {record.image_id[:12]}"
    data = read_blob(layout, record.config_digest, verify=False)
    return ImageConfig.from_json(parse_json(data, where), where)


def _find_by_name(layout: Layout, text: str) -> ImageRecord | None:
    try:
        candidates = local_candidates(text)
    except InvalidReference:
        # 64 digits, or sha256:<digest>: not a name, perhaps an id.
        if _id_prefix(text):
            return None
        raise
    for candidate in candidates:
        digest = name_target(layout, candidate)
        if digest:
            record = read_entry(layout, digest)
            if record is not None:
                return record._replace(names=(candidate,))
    if "@" in text:
        return _find_digested(layout, candidates)
    if len(candidates) == 1:
        return None
    return _find_suffix(layout, text)


def _find_digested(layout: Layout, candidates: tuple[str, ...]) -> ImageRecord | None:
    """Find name@digest where the image came by a tag of that name."""
    for candidate in candidates:
        reference = parse_reference(candidate)
        record = read_entry(layout, reference.digest or "")
        if record is None:
            continue
        names = image_names(layout, record.manifest_digest)
        if any(parse_reference(name).name == reference.name for name in names):
            return record._replace(names=(candidate,))
    return None


def _find_suffix(layout: Layout, text: str) -> ImageRecord | None:
    tagged = text if ":" in text.rpartition("/")[2] else f"{text}:latest"
    for name, digest in sorted(list_names(layout).items()):
        if name.endswith(f"/{tagged}"):
            record = read_entry(layout, digest)
            if record is not None:
                return record._replace(names=(name,))
    return None


def _id_prefix(text: str) -> str:
    prefix = text.removeprefix("sha256:")
    return prefix if 0 < len(prefix) <= _ID_LENGTH and _HEX.issuperset(prefix) else ""


def _find_by_id(layout: Layout, text: str) -> ImageRecord | None:
    prefix = _id_prefix(text)
    if not prefix:
        return None
    if len(prefix) == _ID_LENGTH:
        record = read_entry(layout, f"sha256:{prefix}")
        if record is not None:
            return record
    matches = [record for record in list_entries(layout) if record.image_id.startswith(prefix)]
    if len({record.image_id for record in matches}) > 1:
        shown = ", ".join(sorted({record.image_id[:16] for record in matches})[:4])
        raise Ambiguous(f"image id {text!r} stands for several images: {shown}")
    # Two manifests, say gzip and zstd, may share one configuration and so one id.
    best = next((record for record in matches if record.names), matches[0] if matches else None)
    return best._replace(names=()) if best is not None else None


def _recorded_digests(layout: Layout) -> list[str]:
    return [
        f"sha256:{entry.removesuffix('.json')}"
        for entry in listdir(layout.images_dir)
        if entry.endswith(".json")
    ]


def read_entry(layout: Layout, manifest_digest: str) -> ImageRecord | None:
    """Return the record of a manifest, None when there is none. Raises InvalidDocument."""
    path = layout.image_record(manifest_digest)
    try:
        return ImageRecord.from_json(json.loads(read_file(path)), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    except ValueError as error:
        raise InvalidDocument(
            f"{path}: not JSON ({error})", remedy="rpod system check --repair"
        ) from error


class RemoveResult(NamedTuple):
    """What `remove_image` did: names that went, and the ids of images that went.

    `left` are digests that the garbage collection has to be told, as a full disk keeps no record.
    """

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]
    left: tuple[str, ...] = ()


def commit_image(
    layout: Layout, *, manifest_digest: str, name: str | None, map_key: str | None
) -> ImageRecord:
    """Record an image whose blobs and layers are in the store; pull, load and import end here.

    Garbage cannot be collected meanwhile, so what is found here stays. Raises BlobMissing when a
    blob, or a layer for `map_key`, has gone: the caller gets it again. Raises InvalidDocument.
    """
    with Lock(layout.lock("images"), shared=True):
        record = describe_image(layout, manifest_digest, map_key)
        known = read_entry(layout, manifest_digest)
        if known is not None and known.size_bytes > record.size_bytes:
            record = record._replace(size_bytes=known.size_bytes)
        record_entry(layout, record, (name,) if name is not None else ())
    return record._replace(names=image_names(layout, manifest_digest))


def record_entry(
    layout: Layout, record: ImageRecord, names: tuple[str, ...], *, instead_of: str = ""
) -> None:
    """Write a record and give it names; the caller holds `images`, and has looked at the blobs.

    `instead_of` is the digest of an entry whose names go to this one, and which goes itself.
    Raises StoreUnusable, DiskFull.
    """
    path = layout.image_record(record.manifest_digest)
    try:
        write_file(path, json.dumps(record.to_json()).encode())
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error
    with Lock(layout.lock("names")):
        for name in (*names, *(image_names(layout, instead_of) if instead_of else ())):
            set_name(layout, name, record.manifest_digest)
        if instead_of and instead_of != record.manifest_digest:
            from storage.gone import delete_record

            delete_record(layout, instead_of)
        _write_index(layout)


def tag_image(layout: Layout, text: str, target: str) -> str:
    """Give an image another name and return it in full; a short name is a local one.

    Raises ImageNotFound, InvalidReference.
    """
    name = full_name(target)
    if layout.additional:
        _adopt_image(layout, find_entry(layout, text))
    with Lock(layout.lock("images"), shared=True):
        record = find_entry(layout, text)
        with Lock(layout.lock("names")):
            set_name(layout, name, record.manifest_digest)
            _write_index(layout)
    return name


def full_name(text: str) -> str:
    """Return a name to give in full; a short one is local. Raises InvalidReference."""
    reference = parse_reference(text, default_registry=LOCAL_REGISTRY)
    if reference.digest is not None:
        raise InvalidReference(f"tag {text!r}: a name to give cannot have a digest")
    return str(reference)


def untag_image(layout: Layout, text: str, names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Take names from an image, all of them when none is given; return those that went.

    Raises ImageNotFound when the image, or a name of it, is not there.
    """
    with Lock(layout.lock("images"), shared=True), Lock(layout.lock("names")):
        record = _own(layout, text)
        record = record._replace(names=image_names(layout, record.manifest_digest))
        gone = tuple(own_name(record, name) for name in names) or record.names
        for name in gone:
            delete_name(layout, name)
        _write_index(layout, removing=True)
    return gone


def remove_image(
    layout: Layout,
    text: str,
    *,
    force: bool = False,
    unnamed: bool = False,
    users: tuple[str, ...] = (),
) -> RemoveResult:
    """Take a name from an image, and with the last name the image itself.

    `unnamed` leaves it alone when it has a name: one that is being stored gets it last.
    `users` are containers of the image besides those in the store's records. Blobs and layers stay
    until `storage.gc.collect`. Raises ImageNotFound, InUse.
    """
    from storage.gone import delete_record

    with Lock(layout.lock("images")), Lock(layout.lock("names")):
        found = _own(layout, text)
        names = image_names(layout, found.manifest_digest)
        if unnamed and names:
            return RemoveResult((), ())
        going, is_last = choose_names(layout, found, names, text, force=force, users=users)
        if not is_last:
            delete_name(layout, going[0])
            _write_index(layout, removing=True)
            return RemoveResult(going, ())
        for name in names:
            delete_name(layout, name)
        left = delete_record(layout, found.manifest_digest)
        _write_index(layout, removing=True)
    return RemoveResult(names, (found.image_id,), left)


def choose_names(
    layout: Layout,
    found: ImageRecord,
    names: tuple[str, ...],
    text: str,
    *,
    force: bool,
    users: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], bool]:
    """Return which names of an image go when it is removed, and whether it goes with them.

    Raises InUse.
    """
    by_name = found.names[:1] if found.names and found.names[0] in names else ()
    if by_name and len(names) > 1:
        return by_name, False
    if len(names) > 1 and not force:
        raise InUse(
            f"remove image {text}: it has several names: {', '.join(names)}",
            remedy="remove it by name, or use --force to remove all names",
        )
    containers = (*users, *image_users(layout, found))
    if containers:
        shown = ", ".join(container[:12] for container in containers[:4])
        raise InUse(
            f"remove image {text}: used by container {shown}",
            remedy=f"remove the container first (rpod rm {containers[0][:12]}), or use --force",
        )
    return names, True


def _find_shared(layout: Layout, text: str) -> ImageRecord | None:
    """Find an entry in the additional stores, in their order."""
    for directory in layout.additional:
        if is_store(directory):
            place = Layout(directory, "")
            record = _find_by_name(place, text) or _find_by_id(place, text)
            if record is not None:
                return record._replace(store=directory)
    return None


def _adopt_image(layout: Layout, record: ImageRecord) -> None:
    """Take an image of an additional store into the user's own.

    Raises BlobMissing, StoreUnusable, DiskFull.
    """
    if not record.store:
        return
    with Lock(layout.lock("images"), shared=True):
        for digest in all_digests(record):
            if not adopt_blob(layout, digest):
                raise BlobMissing(
                    f"take {record.image_id[:12]} over: {record.store} has no good blob {digest}",
                    remedy="ask who publishes it, or pull it",
                )
        record_entry(layout, record._replace(store=""), ())


def _own(layout: Layout, text: str) -> ImageRecord:
    """Find an entry that may be changed. Raises ImageNotFound, InUse."""
    record = find_entry(layout, text)
    if record.store:
        raise InUse(
            f"change image {text}: it is in {record.store}, a store that is only read",
            remedy="its names and its content are for whoever publishes it to change",
        )
    return record


def image_users(layout: Layout, record: ImageRecord) -> tuple[str, ...]:
    """Return the ids of the containers that were made from an image."""
    users = []
    for container_id in listdir(layout.containers_dir):
        try:
            fields = json.loads(read_file(layout.container(container_id).record))
        except (OSError, ValueError):
            # Being made or removed, or broken: `ps` tells about those.
            continue
        if isinstance(fields, dict) and fields.get("image_id") == record.image_id:
            users.append(container_id)
    return tuple(users)


def write_view(layout: Layout) -> None:
    """Write `index.json` of a store that only one command changes at a time, and has no locks."""
    _write_index(layout)


def write_index(layout: Layout) -> None:
    """Write `index.json` anew, so that other tools read the store as an OCI image layout."""
    with Lock(layout.lock("names")):
        _write_index(layout)


def _write_index(layout: Layout, *, removing: bool = False) -> None:
    manifests: list[dict[str, object]] = []
    for record in list_entries(Layout(layout.store, "")):
        try:
            size = os.stat(layout.blob(record.view_digest)).st_size
        except FileNotFoundError:
            continue
        entry: dict[str, object] = {
            "mediaType": record.media_type if record.is_index else OCI_MANIFEST,
            "digest": record.view_digest,
            "size": size,
        }
        if not record.is_index:
            entry["platform"] = {"architecture": record.architecture, "os": record.os}
        manifests.extend({**entry, "annotations": {REF_NAME: name}} for name in record.names)
        if not record.names:
            manifests.append(entry)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    try:
        write_file(layout.index_file, json.dumps(index).encode(), sync=False)
    except OSError as error:
        if removing and error.errno in (errno.ENOSPC, errno.EDQUOT):
            # Removing must work on a full disk; the next change brings the view up to date.
            return
        raise from_os_error(f"write {layout.index_file}", error) from error


def describe_image(layout: Layout, manifest_digest: str, map_key: str | None = None) -> ImageRecord:
    """Describe an image whose blobs are in the store; nothing is recorded.

    Raises BlobMissing, InvalidDocument.
    """
    from storage.layers import chain_ids, read_layer
    from storage.oci.manifest import Manifest

    where = f"manifest {manifest_digest[:19]}"
    manifest = Manifest.from_json(parse_json(read_blob(layout, manifest_digest), where), where)
    place = f"configuration {manifest.config.digest[:19]}"
    config = ImageConfig.from_json(
        parse_json(read_blob(layout, manifest.config.digest), place), place
    )
    check_layer_counts(manifest, config)
    for layer in manifest.layers:
        if not _is_kept(layout, layer.digest):
            raise BlobMissing(f"layer {layer.digest} is not in the store")
    chains = chain_ids(config.diff_ids)
    if map_key is not None:
        size = sum(read_layer(layout, map_key, chain).size_bytes for chain in chains)
    else:
        size = sum(layer.size for layer in manifest.layers)
    return ImageRecord(
        image_id=hex_of(manifest.config.digest),
        manifest_digest=manifest_digest,
        config_digest=manifest.config.digest,
        media_type=manifest.media_type,
        diff_ids=config.diff_ids,
        chain_ids=chains,
        layer_digests=tuple(layer.digest for layer in manifest.layers),
        layer_media_types=tuple(layer.media_type for layer in manifest.layers),
        size_bytes=size,
        created=config.created,
        architecture=config.architecture,
        os=config.os,
        variant=config.variant,
        labels=config.labels,
        added_at=rfc3339_now(),
        view_digest=_view(layout, manifest, manifest_digest),
    )


def _is_kept(layout: Layout, digest: str) -> bool:
    """Tell whether a blob is the user's own; one of another's store is taken over for that."""
    if layout.shared and has_blob(Layout(layout.shared, ""), digest):
        return True
    return adopt_blob(layout, digest)


def _view(layout: Layout, manifest: "Manifest", manifest_digest: str) -> str:
    if manifest.media_type == OCI_MANIFEST:
        return manifest_digest
    twin = manifest.as_oci().to_json()
    return write_blob(layout, json.dumps(twin).encode())


def check_layer_counts(manifest: "Manifest", config: ImageConfig) -> None:
    """Compare manifest and configuration. Raises InvalidDocument."""
    if len(manifest.layers) != len(config.diff_ids):
        raise InvalidDocument(
            f"configuration {manifest.config.digest[:19]}: {len(config.diff_ids)} diff_ids for"
            f" the {len(manifest.layers)} layers of the manifest"
        )


def rfc3339_now() -> str:
    """Return the time in UTC with nanoseconds, as the image-spec writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def own_name(record: ImageRecord, text: str) -> str:
    """Return a name of an image in full. Raises ImageNotFound."""
    for candidate in local_candidates(text):
        if candidate in record.names:
            return candidate
    raise ImageNotFound(f"image {record.image_id[:12]} has no name {text!r}")


def forget_image(layout: Layout, record: ImageRecord) -> None:
    """Remove an image that has been published to another store; only what it alone needs goes.

    Raises StoreUnusable.
    """
    from storage.gone import delete_record

    with Lock(layout.lock("images")), Lock(layout.lock("names")):
        for name in record.names:
            if name_target(layout, name) == record.manifest_digest:
                delete_name(layout, name)
        if image_names(layout, record.manifest_digest):
            return
        delete_record(layout, record.manifest_digest)
        _write_index(layout, removing=True)
