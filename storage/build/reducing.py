"""Make of a changed copy of layers what an overlay would have left in its upper directory.

Hosts without an overlay execute a step in a copy of the layers below it. What a program changes
gets a later time of change (inode(7), ctime), which none can set; a directory that was moved
somewhere else is another inode there. Runs as root of the user namespace of the layers' id map,
when nothing writes into the copy.
"""

import os
import stat

from storage.errors import from_os_error
from storage.layer_tree import LayerTree, Node
from storage.tree import Tree
from storage.xattrs import read_allowed

_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)
"""What a copy of layers has (storage.flatten)."""


def note_copy(copy: str, file: str) -> None:
    """Write down when a copy was made, and its directories, before it is changed.

    `file` lies on the same file system, whose clock counts. Raises StoreUnusable, DiskFull.
    """
    try:
        lines = [b"%d %s" % (os.lstat(path).st_ino, path) for path in _directories(copy)]
        with open(file, "xb") as out:
            out.write(b"\0".join(lines))
    except OSError as error:
        raise from_os_error(f"note what is in {copy}", error) from error


def _directories(top: str) -> list[bytes]:
    found = [os.fsencode(top)]
    for path in found:
        with os.scandir(path) as entries:
            found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return found


def reduce_copy(copy: str, file: str, lower: tuple[str, ...]) -> None:
    """Leave in the copy of `lower`, the top one first, only what has changed, and whiteouts.

    `file` is what `note_copy` has written. Raises StoreUnusable, DiskFull.
    """
    try:
        moment_ns = os.stat(file).st_mtime_ns
        with open(file, "rb") as noted:
            lines = [line.partition(b" ") for line in noted.read().split(b"\0")]
        inodes = {path: int(inode) for inode, _, path in lines}
        changes = _Changes(os.fsencode(copy), LayerTree(lower), inodes, moment_ns)
        changes.find()
        changes.apply(copy)
    except OSError as error:
        raise from_os_error(f"find what has changed in {copy}", error) from error


class _Changes:
    """What goes, decided for all before any of it goes: a link that goes changes the others."""

    def __init__(
        self, top: bytes, below: LayerTree, inodes: dict[bytes, int], moment_ns: int
    ) -> None:
        self._top = top
        self._below = below
        self._inodes = inodes
        self._moment_ns = moment_ns
        self._same: list[bytes] = []
        self._removed: list[tuple[bytes, bytes]] = []
        self._replaced: list[bytes] = []
        self._walked: list[tuple[bytes, Node, os.stat_result]] = []

    def find(self) -> None:
        """Compare, directory by directory. Raises OSError."""
        todo = [(b"", self._below.root())]
        while todo:
            path, node = todo.pop()
            place = self._place(path)
            olds = self._below.children(node)
            names = set(os.listdir(place))
            for name in names:
                below = self._one(path + b"/" + name if path else name, olds.get(name))
                if below is not None:
                    todo.append((below.path, below))
            self._removed += [
                (path, name)
                for name, old in olds.items()
                if name not in names and stat.S_IFMT(old.found.st_mode) in _KINDS
            ]
            self._walked.append((path, node, os.lstat(place)))

    def _place(self, path: bytes) -> bytes:
        return self._top + b"/" + path if path else self._top

    def _one(self, path: bytes, old: Node | None) -> Node | None:
        """Decide about one name; return the node below of a directory that is to be looked into."""
        place = self._place(path)
        found = os.lstat(place)
        if stat.S_ISDIR(found.st_mode):
            if old is None or not old.is_directory:
                return None
            if self._inodes.get(place) == found.st_ino:
                return old
            self._replaced.append(path)
        elif old is not None and not old.is_directory and found.st_ctime_ns <= self._moment_ns:
            self._same.append(path)
        return None

    def apply(self, copy: str) -> None:
        """Remove what is as it was, and mark what is gone. Raises OSError."""
        for path in self._same:
            os.unlink(self._place(path))
        tree = Tree(copy)
        try:
            for path, name in self._removed:
                tree.white_out(tree.directory(path), name)
            for path in self._replaced:
                tree.hide_lower(tree.directory(path))
        finally:
            tree.close()
        for path, node, found in reversed(self._walked):
            place = self._place(path)
            if path and not os.listdir(place) and self._is_same(place, node, found):
                os.rmdir(place)
            else:
                os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _is_same(self, place: bytes, node: Node, found: os.stat_result) -> bool:
        old = node.found
        if (found.st_mode, found.st_uid, found.st_gid) != (old.st_mode, old.st_uid, old.st_gid):
            return False
        return found.st_mtime_ns == old.st_mtime_ns and (
            read_allowed(os.fsdecode(place)) == self._below.attributes(node)
        )
