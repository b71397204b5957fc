"""Unpacked layers as one tree, without mounting them (OCI image-spec, layer: whiteouts).

Layers never change, so a name that was a directory stays one: paths below a layer can be joined.
Runs as root of the user namespace of the layers' id map.
"""

import os
import stat

from storage.owners import recorded, with_owner
from storage.record import NamedTuple
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX
from storage.xattrs import is_opaque, read_allowed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_EMPTY_ROOT = os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0))
_KEPT_LISTS = 50_000


class Node(NamedTuple):
    """A file of a tree: its path from the root without links, "" for the root, and its metadata.

    `places` are where its bytes are: of a directory in layers one path for each layer that has it,
    the top one first.
    """

    path: bytes
    found: os.stat_result
    places: tuple[bytes, ...] = ()

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.found.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.found.st_mode)


class LayerTree:
    """A stack of `diff` directories, the top one first; an empty stack is an empty directory.

    With `records` owners are those that are recorded with the files (storage.owners).
    """

    keeps_owners = True

    def __init__(self, diffs: tuple[str, ...], *, name: str = "", records: bool = False) -> None:
        self.name = name or "the image"
        self._records = records
        self._parts = tuple(os.fsencode(diff) for diff in diffs)
        self._lists: dict[bytes, dict[bytes, Node]] = {}

    def root(self) -> Node:
        """Return the top directory."""
        found = os.lstat(self._parts[0]) if self._parts else _EMPTY_ROOT
        root = Node(b"", found, self._parts)
        return _with_record(root) if self._records and self._parts else root

    def children(self, directory: Node) -> dict[bytes, Node]:
        """Return what is in a directory, as an overlay of the layers would show it."""
        found = self._lists.get(directory.path)
        if found is None:
            if len(self._lists) >= _KEPT_LISTS:
                self._lists.clear()
            found = merged(directory.places, directory.path)
            if self._records:
                found = {name: _with_record(node) for name, node in found.items()}
            self._lists[directory.path] = found
        return found

    def read_link(self, node: Node) -> bytes:
        """Return the target of a symbolic link."""
        return os.readlink(node.places[0])

    def open(self, node: Node) -> int:
        """Open a regular file for reading."""
        return os.open(node.places[0], _FILE)

    def attributes(self, node: Node) -> dict[bytes, bytes]:
        """Return the extended attributes that a layer may have."""
        return read_allowed(os.fsdecode(node.places[0])) if node.places else {}

    def close(self) -> None:
        """Forget what is known."""
        self._lists.clear()


def _with_record(node: Node) -> Node:
    owner = recorded(os.fsdecode(node.places[0]))
    return node if owner is None else node._replace(found=with_owner(node.found, owner))


def removals(directory: Node) -> tuple[list[bytes], set[bytes], bool]:
    """Return what a directory of these layers takes away from layers below them.

    Names that it removes, its directories that hide all that is below, and whether it does itself.
    """
    present: dict[bytes, bool] = {}
    removed: set[bytes] = set()
    cut: set[bytes] = set()
    for part in directory.places:
        names, ends_here = _list(part)
        below = []
        for name in names:
            found = os.lstat(part + b"/" + name)
            target = _whiteout_of(name, found)
            if target is None:
                if name not in removed:
                    if present.get(name) and not stat.S_ISDIR(found.st_mode):
                        cut.add(name)
                    present.setdefault(name, stat.S_ISDIR(found.st_mode))
            elif name != OPAQUE_FILE:
                below.append(target)
        cut.update(name for name in below if present.get(name))
        removed.update(below)
        if ends_here:
            return [], cut, True
    return sorted(removed - present.keys()), cut, False


def merged(places: tuple[bytes, ...], path: bytes) -> dict[bytes, Node]:
    """Return what a directory holds, in the order of names; `places` are where the layers have it.

    Raises OSError.
    """
    prefix = path + b"/" if path else b""
    nodes: dict[bytes, Node] = {}
    closed: set[bytes] = set()
    last = places[-1] if places else b""
    for part in places:
        names, ends_here = _list(part)
        covered = []
        for name in names:
            place = part + b"/" + name
            found = os.lstat(place)
            target = _whiteout_of(name, found)
            if target is not None:
                covered.append(target)
            elif name not in closed:
                is_directory = stat.S_ISDIR(found.st_mode)
                known = nodes.get(name)
                if known is None:
                    nodes[name] = Node(prefix + name, found, (place,))
                elif is_directory:
                    nodes[name] = known._replace(places=(*known.places, place))
                if not is_directory or (part != last and _is_opaque(place)):
                    closed.add(name)
        closed.update(covered)
        if ends_here:
            break
    return dict(sorted(nodes.items()))


def _list(path: bytes) -> tuple[list[bytes], bool]:
    """Return the names in one layer's directory, and whether it hides what lies below."""
    fd = os.open(path, _DIRECTORY)
    try:
        names = [os.fsencode(name) for name in os.listdir(fd)]
        return names, OPAQUE_FILE in names or is_opaque(fd)
    finally:
        os.close(fd)


def _is_opaque(path: bytes) -> bool:
    fd = os.open(path, _DIRECTORY)
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
