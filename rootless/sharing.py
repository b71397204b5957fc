"""Additional stores: publishing images for other users to read."""

import os

from rootless.errors import UsageError
from rootless.host.paths import Host
from rootless.host.squashfs_tools import squash_kind
from rootless.squashing import write_image
from storage.images import ImageRecord, find_entry, list_entries
from storage.layout import Layout
from storage.shared import publish as write_images
from storage.shared import withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def publish(
    host: Host,
    directory: str,
    names: "Sequence[str]",
    *,
    remove: bool = False,
    squash: bool = False,
) -> list[str]:
    """Write images to an additional store, or take names out of it; return the names.

    An image that is given by its id has all its names there. With `squash` each has a squashfs
    there as well, from which its readers' containers run without unpacking it. Raises
    ImageNotFound, InvalidArchive, UsageError, HostError, StoreUnusable, DiskFull.
    """
    place = os.path.abspath(directory)
    if place == host.layout.store:
        raise UsageError(f"publish to {directory}: it is the store itself")
    if remove:
        if not names:
            raise UsageError("say which images are to go")
        for name in names:
            withdraw(place, name)
        return list(names)
    records = [_record(host, name) for name in names] or _all(host)
    complete = (lambda one, target: _add_squashfs(host, one, target)) if squash else None
    return write_images(host.layout, place, records, complete=complete)


def _add_squashfs(host: Host, record: ImageRecord, target: Layout) -> None:
    """Write the squashfs of an image; those of an index are the images that it is made of."""
    path = target.squash_file(record.image_id, squash_kind(host.id_maps()))
    if record.is_index or os.path.exists(path):
        return
    os.makedirs(target.squash_dir, 0o755, exist_ok=True)
    write_image(host, record, path)


def _record(host: Host, name: str) -> ImageRecord:
    record = find_entry(host.layout, name)
    return record if record.names else find_entry(host.layout, name, all_names=True)


def _all(host: Host) -> list[ImageRecord]:
    return [record for record in list_entries(host.layout) if record.names and not record.store]
