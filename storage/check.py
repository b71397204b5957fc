"""Is everything in the store what it was when it was written? And the parts of a repair.

Runs as root of the user namespace of the layers' id map. Blobs are digested. A layer is unpacked
once more from its blob, into `tmp/`, and compared with what is there: what unpacking makes of an
archive is said in one place only, so there is no second opinion that could be a false alarm.
"""

import errno
import filecmp
import os
import stat

from storage import lightjson as json
from storage.blobs import open_blob
from storage.digest import is_digest
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    InvalidDocument,
    InvalidLayer,
    StorageError,
    from_os_error,
)
from storage.files import Lock, read_file
from storage.images import (
    ImageRecord,
    all_digests,
    list_entries,
)
from storage.layers import LayerBuilder, read_layer
from storage.layout import Layout
from storage.links import link_across
from storage.names import listdir, name_path
from storage.oci.checks import as_object, get_text
from storage.oci.index import Index
from storage.record import NamedTuple
from storage.remove import remove_tree
from storage.scratch import Scratch
from storage.unpack import UnpackResult, unpack_layer
from storage.xattrs import OVERLAY_NOTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20
# What says that a file is broken, and not that this process lacks something (read(2), open(2)).
_DAMAGE = (
    errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENXIO,
)  # fmt: skip
BLOB, IMAGE, NAME, LAYER, VIEW = "blob", "image", "name", "layer", "index"


class Problem(NamedTuple):
    """Something broken: `name` is a digest, a path or KEY/CHAIN; `images` are what needs it."""

    kind: str
    name: str
    what: str
    images: tuple[str, ...] = ()


def own_entries(layout: Layout) -> list[ImageRecord]:
    """Return the images and indexes of this store, broken records left out."""
    plain = Layout(layout.store, "")
    try:
        return list_entries(plain)
    except InvalidDocument:
        pass
    found = []
    for entry in listdir(layout.images_dir):
        try:
            path = f"{layout.images_dir}/{entry}"
            if entry.endswith(".json"):
                found.append(ImageRecord.from_json(json.loads(read_file(path)), path))
        except (OSError, ValueError, StorageError):
            continue
    return found


def check_records(layout: Layout) -> "list[Problem]":
    """Look at the records of images and names, while nothing is removed."""
    with Lock(layout.lock("images"), shared=True), Lock(layout.lock("names")):
        return list(_check_records(layout))


def _check_records(layout: Layout) -> "Iterator[Problem]":
    yield from _check_images(layout)
    yield from _check_names(layout)
    try:
        read_view(layout)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, StorageError) as error:
        yield Problem(VIEW, layout.index_file, f"it cannot be read: {_text(error)}")


def _check_images(layout: Layout) -> "Iterator[Problem]":
    for entry in listdir(layout.images_dir):
        path = f"{layout.images_dir}/{entry}"
        if entry.endswith(".json"):
            try:
                ImageRecord.from_json(json.loads(read_file(path)), path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, StorageError) as error:
                yield Problem(IMAGE, path, f"the record cannot be read: {_text(error)}")


def _check_names(layout: Layout) -> "Iterator[Problem]":
    for entry in listdir(layout.names_dir):
        path = f"{layout.names_dir}/{entry}"
        if entry.endswith(".tmp"):
            continue
        try:
            fields = as_object(json.loads(read_file(path)), path)
            digest = get_text(fields, "manifest_digest", path)
            if not is_digest(digest):
                yield Problem(NAME, path, "the record names no digest")
            elif name_path(layout, get_text(fields, "name", path)) != path:
                yield Problem(NAME, path, "it is the record of another name")
            elif not os.path.exists(layout.image_record(digest)):
                name = get_text(fields, "name", path)
                yield Problem(NAME, path, f"{name} is the name of an image that is not there")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, StorageError) as error:
            yield Problem(NAME, path, f"the record cannot be read: {_text(error)}")


def read_view(layout: Layout) -> Index:
    """Read `index.json`. Raises OSError, ValueError, InvalidDocument."""
    return Index.from_json(json.loads(read_file(layout.index_file)), layout.index_file)


def check_blobs(layout: Layout, *, quick: bool) -> "Iterator[Problem]":
    """Digest every blob, unless `quick`, and look for those that images need and that are gone."""
    users: dict[str, list[str]] = {}
    with Lock(layout.lock("images"), shared=True):
        for record in own_entries(layout):
            shown = record.names[0] if record.names else record.image_id[:12]
            for digest in all_digests(record):
                users.setdefault(digest, []).append(shown)
        missing = [digest for digest in users if not os.path.exists(layout.blob(digest))]
    for digest in missing:
        yield Problem(BLOB, digest, "it is missing", tuple(users[digest]))
    for name in () if quick else listdir(layout.blobs_dir):
        digest = f"sha256:{name}"
        if is_digest(digest) and _digest_of_file(layout.blob(digest)) not in (digest, ""):
            what = "its content does not have its digest"
            yield Problem(BLOB, digest, what, tuple(users.get(digest, ())))


def _digest_of_file(path: str) -> str:
    import hashlib

    found = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno in _DAMAGE:
            return "unreadable"
        raise from_os_error(f"read {path}", error) from error
    return f"sha256:{found.hexdigest()}"


def check_layers(layout: Layout, map_key: str, *, repair: bool = False) -> "Iterator[Problem]":
    """Unpack every layer of an id map once more and compare; `repair` puts the fresh one there.

    A layer whose blob is not here, or is broken, cannot be compared, and is left alone.
    """
    known: dict[str, tuple[ImageRecord, int]] = {}
    for record in own_entries(layout):
        for position, chain in enumerate(record.chain_ids):
            known.setdefault(chain, (record, position))
    for name in listdir(layout.layers_dir(map_key)):
        chain = f"sha256:{name}"
        if chain not in known:
            continue
        record, position = known[chain]
        try:
            what = _compare_layer(layout, map_key, record, position, repair=repair)
        except (BlobMissing, DigestMismatch, InvalidLayer, IsADirectoryError):
            continue
        if what:
            shown = record.names[0] if record.names else record.image_id[:12]
            yield Problem(LAYER, f"{map_key}/{name}", what, (shown,))


def _compare_layer(
    layout: Layout, map_key: str, record: ImageRecord, position: int, *, repair: bool
) -> str:
    chain = record.chain_ids[position]
    there = layout.layer(map_key, chain)
    with LayerBuilder(layout, map_key, chain) as builder:
        result = _unpack_again(layout, map_key, record, position, builder.diff)
        try:
            read_layer(layout, map_key, chain)
            what = compare_trees(builder.diff, f"{there}/diff")
        except BlobMissing:
            what = "its record is missing"
        except InvalidDocument as error:
            what = error.message
        if what and repair and os.path.exists(there):
            with Lock(layout.lock("images")), Scratch(layout, "broken") as scratch:
                os.rename(there, f"{scratch.path}/layer")
                builder.publish(result)
    return what


def _unpack_again(
    layout: Layout, map_key: str, record: ImageRecord, position: int, target: str
) -> UnpackResult:
    digest = record.layer_digests[position]
    with open(open_blob(layout, digest), "rb", buffering=0) as source:
        result = unpack_layer(
            source,
            media_type=record.layer_media_types[position],
            diff_id=record.diff_ids[position],
            target=target,
        )
    if result.missing_links:
        lower = [layout.layer_diff(map_key, chain) for chain in record.chain_ids[:position]]
        added = link_across(target, lower, result.missing_links)
        result = result._replace(size_bytes=result.size_bytes + added)
    return result


def compare_trees(wanted: str, found: str) -> str:
    """Say how a tree differs from the one that is wanted, an empty text when it does not.

    Owners, modes, kinds, links, attributes and content count; times of directories do not.
    """
    todo = [""]
    try:
        what, _ = _compare(wanted, found)
    except FileNotFoundError as error:
        return f"/: {error.strerror}"
    if what:
        return f"/: {what}"
    while todo:
        below = todo.pop()
        try:
            names = set(os.listdir(f"{wanted}/{below}")), set(os.listdir(f"{found}/{below}"))
        except OSError as error:
            return f"/{below}: {error.strerror}"
        if names[0] != names[1]:
            odd = sorted(names[0] ^ names[1])[0]
            return f"/{below}{odd} is {'missing' if odd in names[0] else 'too much'}"
        for name in sorted(names[0]):
            what, is_directory = _compare(f"{wanted}/{below}{name}", f"{found}/{below}{name}")
            if what:
                return f"/{below}{name}: {what}"
            if is_directory:
                todo.append(f"{below}{name}/")
    return ""


def _compare(wanted: str, found: str) -> tuple[str, bool]:
    one, other = os.lstat(wanted), os.lstat(found)
    if (one.st_mode, one.st_rdev) != (other.st_mode, other.st_rdev):
        return "it has another kind or mode", False
    if (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid):
        return "it has another owner", False
    if stat.S_ISLNK(one.st_mode):
        is_same = os.readlink(wanted) == os.readlink(found)
        return "" if is_same else "it is another link", False
    if _attributes(wanted) != _attributes(found):
        return "it has other extended attributes", False
    if stat.S_ISDIR(one.st_mode):
        return "", True
    if stat.S_ISREG(one.st_mode):
        is_same = one.st_size == other.st_size and filecmp.cmp(wanted, found, shallow=False)
        return ("" if is_same else "it has another content"), False
    return "", False


def _attributes(path: str) -> dict[str, bytes]:
    try:
        return {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
            if os.fsencode(name) not in OVERLAY_NOTES
        }
    except OSError as error:
        # File systems without attributes.
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise


def drop_problem(layout: Layout, problem: Problem) -> None:
    """Take a broken blob or record away, so that it can be had again. Raises StoreUnusable."""
    path = layout.blob(problem.name) if problem.kind == BLOB else problem.name
    try:
        with Lock(layout.lock("images")):
            remove_tree(path)
    except OSError as error:
        raise from_os_error(f"remove {path}", error) from error


def _text(error: Exception) -> str:
    return error.message if isinstance(error, StorageError) else str(error)
