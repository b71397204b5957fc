"""Additional stores: publishing images for other users to read."""

import os

from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.images import ImageRecord, find_entry, list_entries
from storage.shared import publish as write_images
from storage.shared import withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def publish(
    host: Host, directory: str, names: "Sequence[str]", *, remove: bool = False
) -> list[str]:
    """Write images to an additional store, or take names out of it; return the names.

    An image that is given by its id has all its names there. Raises ImageNotFound, InvalidArchive,
    UsageError, StoreUnusable, DiskFull.
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
    return write_images(host.layout, place, [_record(host, name) for name in names] or _all(host))


def _record(host: Host, name: str) -> ImageRecord:
    record = find_entry(host.layout, name)
    return record if record.names else find_entry(host.layout, name, all_names=True)


def _all(host: Host) -> list[ImageRecord]:
    return [record for record in list_entries(host.layout) if record.names and not record.store]
