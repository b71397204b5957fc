"""Records of images that were removed: they tell the garbage collection what may go at once."""

import errno
import os

from storage import lightjson as json
from storage.errors import InvalidDocument, from_os_error
from storage.files import read_file, write_file
from storage.image_record import ImageRecord, all_digests
from storage.layout import Layout
from storage.names import listdir


def discard_record(layout: Layout, record: ImageRecord) -> None:
    """Let the garbage collection have what only this image needs; it was never recorded.

    Raises StoreUnusable, DiskFull.
    """
    try:
        write_file(
            layout.gone_record(record.manifest_digest), json.dumps(record.to_json()).encode()
        )
    except OSError as error:
        raise from_os_error(f"write below {layout.images_dir}", error) from error


def delete_record(layout: Layout, manifest_digest: str) -> tuple[str, ...]:
    """Set the record aside: it tells the garbage collection what nothing may need any more.

    Returns that where the disk has no room to be told so.
    """
    path = layout.image_record(manifest_digest)
    try:
        os.rename(path, layout.gone_record(manifest_digest))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _condemn_at_once(path)
        raise from_os_error(f"remove {path}", error) from error
    return ()


def _condemn_at_once(path: str) -> tuple[str, ...]:
    """Remove a record where a full disk (xfs) lets no file have another name."""
    try:
        record = ImageRecord.from_json(json.loads(read_file(path)), path)
        os.unlink(path)
    except OSError as error:
        raise from_os_error(f"remove {path}", error) from error
    return (*all_digests(record), *record.chain_ids)


def has_gone(layout: Layout) -> bool:
    """Tell whether removed images, or steps of builds, wait for a collection."""
    places = (layout.images_dir, layout.build_steps_dir)
    return any(name.endswith(".gone") for place in places for name in listdir(place))


def take_gone(layout: Layout, in_use: frozenset[str]) -> list[ImageRecord]:
    """Return the records of removed images and forget them; to be held: `images`, exclusively.

    Those that have a blob which is `in_use` (hex digests) wait for a later collection.
    """
    records = []
    for entry in listdir(layout.images_dir):
        if entry.endswith(".gone"):
            path = f"{layout.images_dir}/{entry}"
            try:
                record = ImageRecord.from_json(json.loads(read_file(path)), path)
                needed = {digest.removeprefix("sha256:") for digest in all_digests(record)}
                if needed & in_use:
                    continue
                records.append(record)
            except (OSError, ValueError, InvalidDocument):
                # Unreadable: what it needed is found by its age, a day later.
                pass
            os.unlink(path)
    return records
