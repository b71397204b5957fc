"""What differs between two stacks of unpacked layers, as a container would see them.

Runs as root of the user namespace of the layers' id map, and changes nothing. Rules of docker's
and podman's diff: a directory is changed when its owner or mode is, or something in it.
"""

import os
import stat

from storage.errors import from_os_error
from storage.layout import Layout
from storage.record import NamedTuple
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX
from storage.xattrs import is_opaque

ADDED = "A"
CHANGED = "C"
DELETED = "D"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Change(NamedTuple):
    """One path that differs, absolute, and how: ADDED, CHANGED or DELETED."""

    kind: str
    path: bytes


class _Entry(NamedTuple):
    """A name of a merged directory: what it is, and the directories below that make it up."""

    path: bytes
    found: os.stat_result
    parts: tuple[bytes, ...]


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
        old_parts, new_parts, where = todo.pop()
        olds, news = _merged(old_parts), _merged(new_parts)
        for name in olds.keys() - news.keys():
            kinds[where + b"/" + name] = DELETED
        for name, new in news.items():
            path = where + b"/" + name
            old = olds.get(name)
            if old is None:
                kinds[path] = ADDED
            elif not _is_same(old, new):
                kinds[path] = CHANGED
            below = old.parts if old is not None else ()
            if new.parts and new.parts != below:
                todo.append((below, new.parts, path))
    for path in list(kinds):
        directory = path.rpartition(b"/")[0]
        while directory and directory not in kinds:
            kinds[directory] = CHANGED
            directory = directory.rpartition(b"/")[0]
    return kinds


def _merged(parts: tuple[bytes, ...]) -> dict[bytes, _Entry]:
    """Return what a directory holds; `parts` are its directories in the layers, the top first."""
    entries: dict[bytes, _Entry] = {}
    hidden: set[bytes] = set()
    for part in parts:
        fd = os.open(part, _OPEN)
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
            ends_here = is_opaque(fd) or OPAQUE_FILE in names
        finally:
            os.close(fd)
        covered: set[bytes] = set()
        for name in names:
            path = part + b"/" + name
            found = os.lstat(path)
            target = _whiteout_of(name, found)
            if target is not None:
                covered.add(target)
            elif name not in hidden:
                _lay_under(entries, name, path, found, hidden)
        hidden |= covered
        if ends_here:
            break
    return entries


def _lay_under(
    entries: dict[bytes, _Entry],
    name: bytes,
    path: bytes,
    found: os.stat_result,
    hidden: set[bytes],
) -> None:
    """Add what a lower layer has; directories merge, and anything else ends what lies below."""
    is_directory = stat.S_ISDIR(found.st_mode)
    known = entries.get(name)
    if known is None:
        entries[name] = _Entry(path, found, (path,) if is_directory else ())
    elif is_directory and known.parts and not _is_opaque_path(known.parts[-1]):
        entries[name] = known._replace(parts=(*known.parts, path))
    if not is_directory:
        hidden.add(name)


def _is_opaque_path(path: bytes) -> bool:
    fd = os.open(path, _OPEN)
    try:
        return is_opaque(fd)
    finally:
        os.close(fd)


def _whiteout_of(name: bytes, found: os.stat_result) -> bytes | None:
    """Return the name that an entry hides in lower layers, None when it is no whiteout."""
    if name.startswith(WHITEOUT_PREFIX):
        return name.removeprefix(WHITEOUT_PREFIX)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        return name
    return None


def _is_same(old: _Entry, new: _Entry) -> bool:
    one, two = old.found, new.found
    if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
        return True
    if (one.st_mode, one.st_uid, one.st_gid) != (two.st_mode, two.st_uid, two.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return True
    if stat.S_ISLNK(one.st_mode) and os.readlink(old.path) != os.readlink(new.path):
        return False
    return (one.st_size, one.st_mtime_ns) == (two.st_size, two.st_mtime_ns)
