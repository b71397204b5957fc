"""What differs between two stacks of unpacked layers, as a container would see them.

Runs as root of the user namespace of the layers' id map, and changes nothing. Rules of docker's
and podman's diff: a directory is changed when its owner or mode is, or something in it.
"""

import os
import stat

from storage.errors import from_os_error
from storage.layer_tree import Node, merged
from storage.layout import Layout
from storage.record import NamedTuple

ADDED = "A"
CHANGED = "C"
DELETED = "D"


class Change(NamedTuple):
    """One path that differs, absolute, and how: ADDED, CHANGED or DELETED."""

    kind: str
    path: bytes


def diff_layers(
    layout: Layout, map_key: str, old: tuple[str, ...], new: tuple[str, ...]
) -> list[Change]:
    """Compare two lists of chain ids, each the lowest first; changes are sorted by path.

    Raises StoreUnusable.
    """
    before, after = (
        tuple(os.fsencode(layout.layer_diff(map_key, chain_id)) for chain_id in reversed(chains))
        for chains in (old, new)
    )
    return diff_trees(before, after)


def diff_trees(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> list[Change]:
    """Compare two stacks of directories, each the top one first. Raises StoreUnusable."""
    try:
        kinds = _compare(before, after)
    except OSError as error:
        raise from_os_error("compare layers", error) from error
    return [Change(kind, path) for path, kind in sorted(kinds.items())]


def _compare(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> dict[bytes, str]:
    kinds: dict[bytes, str] = {}
    # Not by recursion: an image may be deeper than the interpreter allows.
    todo = [(before, after, b"")]
    while todo:
        old_places, new_places, where = todo.pop()
        olds, news = merged(old_places, where), merged(new_places, where)
        for name in olds.keys() - news.keys():
            kinds[where + b"/" + name] = DELETED
        for name, new in news.items():
            path = where + b"/" + name
            old = olds.get(name)
            if old is None:
                kinds[path] = ADDED
            elif not _is_same(old, new):
                kinds[path] = CHANGED
            below = old.places if old is not None and old.is_directory else ()
            if new.is_directory and new.places != below:
                todo.append((below, new.places, path))
    for path in list(kinds):
        directory = path.rpartition(b"/")[0]
        while directory and directory not in kinds:
            kinds[directory] = CHANGED
            directory = directory.rpartition(b"/")[0]
    return kinds


def _is_same(old: Node, new: Node) -> bool:
    one, two = old.found, new.found
    if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
        return True
    if (one.st_mode, one.st_uid, one.st_gid) != (two.st_mode, two.st_uid, two.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return True
    if stat.S_ISLNK(one.st_mode) and os.readlink(old.places[0]) != os.readlink(new.places[0]):
        return False
    return (one.st_size, one.st_mtime_ns) == (two.st_size, two.st_mtime_ns)
