"""Take a store away: all that rpod has put there, by name, and nothing else.

A store may have been made in a directory that had other things (`--root DIR`): what has no name
that rpod gives stays, and so does the directory around it. No link is followed.
"""

import os
import stat

from storage.errors import StoreUnusable
from storage.files import Lock, is_store
from storage.layout import Layout
from storage.names import listdir
from storage.remove import remove_tree
from storage.scratch import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HEX = frozenset("0123456789abcdef")
_RECORD_BYTES = 1 << 20
# What stands in the store itself; `version` is the mark, and goes last.
_FILES = ("index.json", "kept-here", "runroot", "oci-layout", "version")


def check_is_own(layout: Layout, *, uid: int, home: str) -> None:
    """Raise StoreUnusable for what is no store of the user's, or may hold what is not rpod's."""
    store = layout.store

    def refuse(why: str, remedy: str = "") -> StoreUnusable:
        return StoreUnusable(f"reset {store}: {why}; nothing was removed", remedy=remedy)

    if not is_store(store) or not os.path.isfile(layout.oci_layout_file):
        raise refuse("it is no store of rpod (its files `version` and `oci-layout` are not there)")
    real = os.path.realpath(store)
    if real == "/" or (home and _is_in(os.path.realpath(home), real)):
        raise refuse("your home directory is in it", "remove what you do not want one by one")
    if os.stat(store).st_uid != uid:
        raise refuse("it belongs to somebody else")
    for point in _mount_points():
        if point != real and _is_in(point, real):
            raise refuse(f"something is mounted on {point}", f"unmount it first: umount {point}")


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [line.split(" ")[4].replace("\\040", " ") for line in file]


def is_at_work(layout: Layout) -> bool:
    """Whether another command makes or fetches something in the store. Raises StoreUnusable."""
    sweep(layout)
    if listdir(layout.tmp_dir):
        return True
    for name in listdir(layout.locks_dir):
        lock = Lock(layout.lock(name))
        if not lock.acquire(wait=False):
            return True
        lock.release()
    return False


def clear(layout: Layout) -> list[str]:
    """Remove all that is rpod's; return what could not be removed, each with the reason.

    To be called as root of the user namespace that containers have.
    """
    failed: list[str] = []
    with Lock(layout.lock("images")):
        for directory, is_known in _contents(layout).items():
            for name in listdir(directory):
                path = f"{directory}/{name}"
                if is_known(path, name):
                    _try(remove_tree, path, failed)
            _try_rmdir(directory)
        _try_rmdir(os.path.dirname(layout.blobs_dir))
    return failed


def clear_rest(layout: Layout) -> None:
    """Remove the files that make the directory a store, and the directory if nothing else is in it.

    To be called when nothing else is left of rpod's. Raises OSError.
    """
    for directory in (layout.tmp_dir, layout.locks_dir):
        for name in listdir(directory):
            if (
                _is_file(f"{directory}/{name}", name)
                and os.path.getsize(f"{directory}/{name}") == 0
            ):
                os.unlink(f"{directory}/{name}")
        _try_rmdir(directory)
    for name in _FILES:
        path = f"{layout.store}/{name}"
        if os.path.lexists(path):
            os.unlink(path)
    _try_rmdir(layout.store)


def _try(action: "Callable[[str], None]", path: str, failed: list[str]) -> None:
    try:
        action(path)
    except OSError as error:
        failed.append(f"{path}: {error.strerror}")


def _try_rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        return  # something else is in it, it is a mount point, or it is not there


def _contents(layout: Layout) -> "dict[str, Callable[[str, str], bool]]":
    """Return which directories have what of rpod's; names before what they stand for."""
    return {
        layout.container_names_dir: _is_small_file,
        layout.pod_names_dir: _is_small_file,
        layout.names_dir: _is_small_file,
        layout.containers_dir: _is_id,
        layout.pods_dir: _is_id,
        layout.images_dir: _is_image,
        layout.squash_dir: _is_squash,
        layout.all_layers_dir: _is_layers,
        layout.blobs_dir: _is_id,
        layout.partial_dir: _is_id,
        f"{layout.store}/volumes": _has("volume.json"),
        layout.secrets_dir: _has("secret.json"),
        layout.networks_dir: _is_network,
        layout.build_steps_dir: _is_any,
        layout.build_last_dir: _is_any,
        layout.build_mounts_dir: _is_any,
        layout.build_files_dir: _is_any,
        layout.build_cache_dir: _is_small_file,
    }


def _is_any(path: str, name: str) -> bool:
    return True


def _is_file(path: str, name: str) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _is_small_file(path: str, name: str) -> bool:
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size <= _RECORD_BYTES


def _is_id(path: str, name: str) -> bool:
    return len(name) == 64 and _HEX.issuperset(name)


def _is_image(path: str, name: str) -> bool:
    stem, _, ending = name.partition(".")
    return _is_id(path, stem) and ending in ("json", "gone", "json.gone")


def _is_squash(path: str, name: str) -> bool:
    return name.endswith(".sqfs") and _is_file(path, name)


def _is_layers(path: str, name: str) -> bool:
    return _HEX.issuperset(name) and os.path.isdir(path) and not os.path.islink(path)


def _is_network(path: str, name: str) -> bool:
    return name.endswith(".json") and _is_small_file(path, name)


def _has(record: str) -> "Callable[[str, str], bool]":
    return lambda path, name: not os.path.islink(path) and os.path.isfile(f"{path}/{record}")
