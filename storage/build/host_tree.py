"""A directory of the host as a build context: no link is followed, and nothing is read twice.

The directory is looked at once: every part of the build sees the same list of files.
"""

import errno
import os
import stat

from storage.build.errors import ContextError
from storage.build.patterns import Patterns
from storage.layer_tree import Node
from storage.tree import shown

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FILES_LIMIT = 10_000_000
_KEPT_DESCRIPTORS = 64
_DEPTH_LIMIT = 200


class HostTree:
    """A directory without what its ignore file leaves out. Raises ContextError."""

    keeps_owners = False

    def __init__(self, path: str, *, name: str = "", ignore: Patterns | None = None) -> None:
        self.name = name or path
        self.path = path
        self._ignore = ignore if ignore else None
        self._lists: dict[bytes, dict[bytes, Node]] = {}
        self._masks: dict[bytes, int] = {}
        self._open: dict[bytes, int] = {}
        self._count = 0
        try:
            self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ContextError(f"open build context {path}: {error.strerror}") from error

    @property
    def is_filtered(self) -> bool:
        """Whether patterns leave something out."""
        return self._ignore is not None

    def leaves_out(self, path: bytes) -> bool:
        """Tell whether patterns leave a path out, or a directory above it."""
        if self._ignore is None:
            return False
        is_out, mask, whole = False, 0, ""
        for part in os.fsdecode(path).split("/"):
            whole += f"/{part}" if whole else part
            is_out, mask = self._ignore.match(whole, mask)
        return is_out

    def root(self) -> Node:
        """Return the top directory."""
        return Node(b"", os.fstat(self._top))

    def children(self, directory: Node) -> dict[bytes, Node]:
        """Return what is in a directory and not left out, in the order of names."""
        found = self._lists.get(directory.path)
        if found is None:
            found = self._lists[directory.path] = self._list(directory.path)
        return found

    def _list(self, path: bytes) -> dict[bytes, Node]:
        prefix = path + b"/" if path else b""
        if path.count(b"/") >= _DEPTH_LIMIT:
            raise ContextError(
                f"{self.name}: {shown(path)}: more than {_DEPTH_LIMIT} directories in each other",
                remedy="leave it out with a .containerignore file",
            )
        fd = self._directory(path)
        try:
            with os.scandir(fd) as entries:
                rows = [
                    (os.fsencode(entry.name), entry.stat(follow_symlinks=False))
                    for entry in entries
                ]
        except FileNotFoundError as error:
            raise ContextError(
                f"{self.name}: {shown(path)} changes while it is read",
                remedy="run the command again when nothing writes there",
            ) from error
        self._count += len(rows)
        if self._count > _FILES_LIMIT:
            raise ContextError(
                f"{self.name}: more than {_FILES_LIMIT} files",
                remedy="leave some out with a .containerignore file",
            )
        rows.sort()
        nodes = {name: Node(prefix + name, found) for name, found in rows}
        return nodes if self._ignore is None else self._kept(path, nodes, self._ignore)

    def _kept(
        self, directory: bytes, nodes: dict[bytes, Node], ignore: Patterns
    ) -> dict[bytes, Node]:
        above = self._masks.get(directory, 0)
        kept = {}
        for name, node in nodes.items():
            path = os.fsdecode(node.path)
            left_out, mask = ignore.match(path, above)
            if node.is_directory:
                self._masks[node.path] = mask
                # A directory that is left out stays for what an exception lets in below it.
                if left_out and not (ignore.may_keep_below(path) and self.children(node)):
                    continue
            elif left_out:
                continue
            kept[name] = node
        return kept

    def read_link(self, node: Node) -> bytes:
        """Return the target of a symbolic link."""
        parent, _, base = node.path.rpartition(b"/")
        return os.readlink(base, dir_fd=self._directory(parent))

    def open(self, node: Node) -> int:
        """Open a regular file. Raises ContextError with the reason."""
        parent, _, base = node.path.rpartition(b"/")
        try:
            fd = os.open(base, _FILE, dir_fd=self._directory(parent))
        except OSError as error:
            raise self._unreadable(node.path, error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ContextError(f"{self.name}: {shown(node.path)} changes while it is read")
        return fd

    def attributes(self, node: Node) -> dict[bytes, bytes]:
        """Return nothing: attributes of the host's files mean nothing in an image."""
        return {}

    def close(self) -> None:
        """Let go of every descriptor."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._top >= 0:
            os.close(self._top)
        self._top = -1

    def _directory(self, path: bytes) -> int:
        """Return a descriptor of a directory, valid until the next call."""
        if not path:
            return self._top
        fd = self._open.get(path)
        if fd is not None:
            return fd
        parent, _, base = path.rpartition(b"/")
        above = self._directory(parent)
        try:
            fd = os.open(base, _DIRECTORY, dir_fd=above)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if len(self._open) >= _KEPT_DESCRIPTORS:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd
        return fd

    def _unreadable(self, path: bytes, error: OSError) -> ContextError:
        where = f"{self.name}: {shown(path)}"
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
            return ContextError(
                f"{where} changes while it is read",
                remedy="run the command again when nothing writes there",
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return ContextError(
                f"read {where}: {error.strerror}",
                remedy="make it readable, or leave it out with a .containerignore file",
            )
        return ContextError(f"read {where}: {error.strerror}")
