"""Additional stores: read by many users, written by one, without a lock in them.

An additional store is a part of a store, as `storage.layout` draws it: version, oci-layout,
index.json, blobs/, images/, names/, squash/. It has no layers: unpacked files carry the ids of
whoever unpacked them. Each user mounts the image's squashfs, where there is one, in which owners
are what they are in the image, or unpacks from the shared blobs into the store of their own.
Everything in it appears by one rename, a blob before the record that needs it, a record before its
name, so a reader at any moment sees a whole image or none. What readers take of blobs they check by
the digest.
"""

import os
import time

from storage.blobs import open_blob
from storage.errors import InvalidArchive, InvalidDocument, from_os_error
from storage.files import is_store, read_file, write_file
from storage.images import ImageRecord, all_digests, find_entry, list_entries, write_view
from storage.layout import VERSION, Layout
from storage.names import delete_name, image_names, listdir, set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CHUNK_BYTES = 1 << 20
SQUASH_KINDS = ("one", "many")
_UNFINISHED_AGE_S = 24 * 3600.0


def publish(
    layout: Layout,
    directory: str,
    records: "Iterable[ImageRecord]",
    *,
    own: bool = False,
    complete: "Callable[[ImageRecord, Layout], None] | None" = None,
) -> list[str]:
    """Write images of the store, with their names, to an additional store; return new names.

    The directory is made when it is not there; `own` allows one that is somebody's own store, which
    is the caller's. `complete` adds to an image there what it is to have before it appears. Raises
    InvalidArchive, BlobMissing, StoreUnusable,
    DiskFull.
    """
    target = Layout(directory, "")
    _prepare(target, own=own)
    published: list[str] = []
    try:
        for record in records:
            for digest in all_digests(record):
                _copy_blob(layout, target, digest)
            if complete is not None:
                complete(record, target)
            path = target.image_record(record.manifest_digest)
            _write(path, _json(record))
            for name in record.names:
                set_name(target, name, record.manifest_digest)
                published.append(name)
        write_view(target)
        _sweep(target)
    except OSError as error:
        raise from_os_error(f"publish to {directory}", error) from error
    return published


def withdraw(directory: str, name: str) -> str:
    """Take a name out of an additional store, and with the last one the image; return its digest.

    Blobs that no image there needs go, too. Raises ImageNotFound, InvalidArchive, StoreUnusable.
    """
    target = Layout(directory, "")
    if not is_store(directory):
        raise InvalidArchive(f"withdraw {name} from {directory}: it is no store")
    record = find_entry(target, name, all_names=True)
    known = find_entry(target, name).names
    for one in known or record.names:
        delete_name(target, one)
    if not image_names(target, record.manifest_digest):
        os.unlink(target.image_record(record.manifest_digest))
        others = list_entries(target)
        if record.image_id not in {other.image_id for other in others}:
            for kind in SQUASH_KINDS:
                _unlink(target.squash_file(record.image_id, kind))
        needed = {digest for other in others for digest in all_digests(other)}
        for digest in set(all_digests(record)) - needed:
            _unlink(target.blob(digest))
    write_view(target)
    return record.manifest_digest


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _prepare(target: Layout, *, own: bool) -> None:
    try:
        entries = os.listdir(target.store) if os.path.exists(target.store) else []
        if entries and not own and not is_store(target.store):
            raise InvalidArchive(
                f"publish to {target.store}: the directory is not empty, and no store",
                remedy="name a new directory",
            )
        if not own and os.path.exists(f"{target.store}/containers"):
            raise InvalidArchive(
                f"publish to {target.store}: it is somebody's own store",
                remedy="name a directory for images alone",
            )
        for path in (target.blobs_dir, target.images_dir, target.names_dir):
            os.makedirs(path, mode=0o755, exist_ok=True)
        _write(target.oci_layout_file, b'{"imageLayoutVersion":"1.0.0"}')
        _write(target.version_file, b"%d\n" % VERSION)
    except OSError as error:
        raise from_os_error(f"make the store {target.store}", error) from error


def _sweep(target: Layout) -> None:
    """Remove what killed publishers have left unfinished."""
    limit_s = time.time() - _UNFINISHED_AGE_S
    directories = (target.blobs_dir, target.images_dir, target.names_dir, target.squash_dir)
    for directory in directories:
        for name in listdir(directory):
            path = f"{directory}/{name}"
            if name.endswith(".tmp") and os.stat(path).st_mtime < limit_s:
                os.unlink(path)


def _write(path: str, data: bytes) -> None:
    try:
        if read_file(path) == data:
            return
    except OSError:
        pass
    write_file(path, data)


def _json(record: ImageRecord) -> bytes:
    from storage import lightjson as json

    return json.dumps(record.to_json()).encode()


def _copy_blob(layout: Layout, target: Layout, digest: str) -> None:
    import hashlib

    path = target.blob(digest)
    if os.path.exists(path):
        return
    # Several machines may do this, with the same process id.
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    found = hashlib.sha256()
    try:
        with (
            open(open_blob(layout, digest), "rb", buffering=0) as source,
            open(temporary, "xb", buffering=0) as file,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                found.update(chunk)
                file.write(chunk)
            os.fdatasync(file.fileno())
        if f"sha256:{found.hexdigest()}" != digest:
            raise InvalidDocument(
                f"publish blob {digest}: it is damaged", remedy="run rpod system check --repair"
            )
        os.rename(temporary, path)
    finally:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
