"""What containers have written, and what they look at: `ps --size`, `inspect --size`."""

import errno
import os
import stat

from rootless.host.paths import Host
from rootless.linux.userns import run_in_userns
from storage.containers import ContainerView
from storage.errors import StorageError
from storage.images import find_image
from storage.record import NamedTuple


class ContainerSize(NamedTuple):
    """Bytes as `ls` shows them: written by the container, and those of its image."""

    written: int
    image: int


def container_sizes(host: Host, views: list[ContainerView]) -> dict[str, ContainerSize]:
    """Measure containers, by id. Walks as root of a user namespace: not all is open to its user."""
    tops = [view.paths.rootfs if view.record.driver == "copy" else view.paths.upper
            for view in views]  # fmt: skip
    sizes = run_in_userns(lambda _: [_apparent_bytes(top) for top in tops], host.id_maps())
    assert isinstance(sizes, list)
    found = {}
    for view, size in zip(views, sizes, strict=True):
        base = _image_bytes(host, view)
        written = int(size)
        if view.record.driver == "copy":
            written = max(0, written - base)  # its root is a copy of the image
        found[view.record.id] = ContainerSize(written, base)
    return found


def _image_bytes(host: Host, view: ContainerView) -> int:
    if not view.record.image_id:
        return 0  # --rootfs
    try:
        return find_image(host.layout, view.record.image_id).size_bytes
    except StorageError:
        return 0  # removed by force


def _apparent_bytes(top: str) -> int:
    """Sum up files and symbolic links below a directory, each inode once."""
    total = 0
    seen = set()
    for directory, _, names in os.walk(top):
        for name in names:
            try:
                found = os.lstat(f"{directory}/{name}")
            except OSError as error:
                # Gone meanwhile, or deeper than a path can name.
                if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
                    raise
                continue
            if found.st_ino not in seen and not stat.S_ISCHR(found.st_mode):
                seen.add(found.st_ino)
                total += found.st_size
    return total
