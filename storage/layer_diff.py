"""What differs between two stacks of unpacked layers, as a container would see them.

Runs as root of the user namespace of the layers' id map, and changes nothing. Rules of docker's
and podman's diff: a directory is changed when its owner or mode is, or something in it.
"""

import hashlib
import os
import stat

from storage.errors import from_os_error
from storage.layer_tree import Node, merged
from storage.layout import Layout
from storage.record import NamedTuple
from storage.xattrs import read_allowed

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
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
    return diff_trees(before, after, is_upper=after[1:] == before)


def diff_trees(
    before: tuple[bytes, ...],
    after: tuple[bytes, ...],
    *,
    is_upper: bool = False,
    copied_ns: int = 0,
) -> list[Change]:
    """Compare two stacks of directories, each the top one first.

    With `is_upper`, when `after` is one directory above `before`, a file that is in that one has
    changed. With `copied_ns`, when `after` was copied from `before`, files that were changed since
    are read where size and time of modification say nothing: none can set a time of change
    (inode(7)). Raises StoreUnusable.
    """
    try:
        upper = after[0] + b"/" if is_upper else b""
        kinds = _compare(before, after, upper, copied_ns)
    except OSError as error:
        raise from_os_error("compare layers", error) from error
    return [Change(kind, path) for path, kind in sorted(kinds.items())]


def _compare(
    before: tuple[bytes, ...], after: tuple[bytes, ...], upper: bytes, copied_ns: int
) -> dict[bytes, str]:
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
            elif _is_copied_up(new, upper) or not _is_same(old, new, copied_ns):
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


def _is_copied_up(new: Node, upper: bytes) -> bool:
    return bool(upper) and not new.is_directory and new.places[0].startswith(upper)


def _is_same(old: Node, new: Node, copied_ns: int) -> bool:
    one, two = old.found, new.found
    if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
        return True
    if (one.st_mode, one.st_uid, one.st_gid) != (two.st_mode, two.st_uid, two.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return True
    if stat.S_ISLNK(one.st_mode) and os.readlink(old.places[0]) != os.readlink(new.places[0]):
        return False
    if (one.st_size, one.st_mtime_ns) != (two.st_size, two.st_mtime_ns):
        return False
    if not copied_ns or two.st_ctime_ns <= copied_ns or not new.is_file:
        return True
    return _content(old) == _content(new)


def _content(node: Node) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a digest of a file's bytes, and the attributes that a layer may have."""
    with open(os.open(node.places[0], _FILE), "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return digest, read_allowed(os.fsdecode(node.places[0]))
