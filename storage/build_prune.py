"""How much builds keep, and making room: `builder prune`, `system prune --build`, `system df`."""

import os

from storage.build_cache import CachedStep, forget_steps
from storage.errors import from_os_error
from storage.files import Lock
from storage.images import list_entries
from storage.layout import Layout
from storage.names import listdir
from storage.record import NamedTuple
from storage.remove import remove_tree
from storage.scratch import Departure, is_held


class Pruned(NamedTuple):
    """What was forgotten: steps, directories of cache mounts, and records about files."""

    steps: tuple[CachedStep, ...]
    mounts: int
    files: int


def prune_build_cache(layout: Layout, *, unused_since_s: float | None = None) -> Pruned:
    """Forget what has not been used since a moment, or everything.

    A cache mount that a step has in use stays. Runs as root of the build's user namespace; layers
    and blobs go with the next `storage.gc.collect`. Raises StoreUnusable.
    """
    try:
        steps = tuple(forget_steps(layout, unused_since_s=unused_since_s))
        mounts = _prune_mounts(layout, unused_since_s)
        files = 0
        for directory in (layout.build_last_dir, layout.build_files_dir):
            for name in listdir(directory):
                files += _prune_file(f"{directory}/{name}", unused_since_s)
    except OSError as error:
        raise from_os_error(f"clean {layout.build_cache_dir}", error) from error
    return Pruned(steps, mounts, files)


def prune_loose_steps(layout: Layout) -> tuple[CachedStep, ...]:
    """Forget steps whose layers are in no image of the store; nothing while a build works.

    These are what podman has as images without a name. Raises StoreUnusable.
    """
    if is_held(layout, "build"):
        return ()
    needed = frozenset(chain for record in list_entries(layout) for chain in record.chain_ids)
    return tuple(forget_steps(layout, needed=needed))


def _prune_mounts(layout: Layout, unused_since_s: float | None) -> int:
    count = 0
    for name in listdir(layout.build_mounts_dir):
        path = f"{layout.build_mounts_dir}/{name}"
        if _is_young(path, unused_since_s):
            continue
        lock = Lock(f"{path}/lock")
        if not lock.acquire(wait=False):
            continue
        try:
            with Departure(layout) as gone:
                os.rename(path, gone.place("mount"))
        finally:
            lock.release()
        count += 1
    return count


def _prune_file(path: str, unused_since_s: float | None) -> int:
    if _is_young(path, unused_since_s):
        return 0
    remove_tree(path)
    return 1


def _is_young(path: str, unused_since_s: float | None) -> bool:
    try:
        return unused_since_s is not None and os.lstat(path).st_mtime >= unused_since_s
    except FileNotFoundError:
        return True
