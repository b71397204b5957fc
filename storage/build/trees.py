"""Trees that a build copies from: what both kinds, a directory of the host and layers, have alike.

A tree is looked at by name in directories, one part of a path at a time, and links are resolved
here, inside the tree: the kernel never follows one.
"""

from typing import Protocol

from storage.build.errors import BuildInputError
from storage.layer_tree import Node
from storage.record import NamedTuple
from storage.tree import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LINKS_LIMIT = 255


class SourceTree(Protocol):
    """What COPY reads; `name` says for messages what it is.

    `keeps_owners`: owners and attributes mean something to the copy (a root file system), or are
    the caller's own business (a directory of the host).
    """

    name: str
    keeps_owners: bool

    def root(self) -> Node:
        """Return the top directory."""

    def children(self, directory: Node) -> dict[bytes, Node]:
        """Return what is in a directory, in the order of names. Raises OSError."""

    def read_link(self, node: Node) -> bytes:
        """Return the target of a symbolic link. Raises OSError."""

    def open(self, node: Node) -> int:
        """Open a regular file for reading. Raises OSError."""

    def attributes(self, node: Node) -> dict[bytes, bytes]:
        """Return the extended attributes that go along. Raises OSError."""

    def close(self) -> None:
        """Let go of what is open."""


class Place(NamedTuple):
    """Where a path leads: the node, if there is one, and the parts that are missing below it."""

    node: Node
    missing: tuple[bytes, ...]


def resolve(tree: SourceTree, path: bytes, *, follow: bool = True) -> Place:
    """Follow a path inside a tree as if its root were `/`; `follow` concerns the last part.

    What comes after a file counts as missing. Raises BuildInputError for a loop of links, OSError.
    """
    todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
    above = [tree.root()]
    links = 0
    while todo:
        part = todo.pop()
        if part == b"..":
            if len(above) > 1:
                above.pop()
            continue
        here = above[-1]
        node = tree.children(here).get(part) if here.is_directory else None
        if node is None:
            return _missing(here, [part, *reversed(todo)])
        if node.is_link and (todo or follow):
            links += 1
            if links > _LINKS_LIMIT:
                raise BuildInputError(f"{tree.name}: {shown(path)}: too many symbolic links")
            target = tree.read_link(node)
            if target.startswith(b"/"):
                del above[1:]
            todo += [word for word in reversed(target.split(b"/")) if word not in (b"", b".")]
            continue
        above.append(node)
    return Place(above[-1], ())


def walk(tree: SourceTree, path: bytes) -> "Iterator[Node]":
    """Yield the directories above a path, what is at it, and all below. Raises OSError."""
    node = tree.root()
    yield node
    for part in resolve(tree, path).node.path.split(b"/"):
        if part:
            node = tree.children(node)[part]
            yield node
    todo = [node]
    while todo:
        node = todo.pop()
        if node.is_directory:
            found = tree.children(node).values()
            yield from found
            todo += found


def _missing(here: Node, parts: list[bytes]) -> Place:
    """Take `..` out of what does not exist, as far as it does not lead out of it."""
    kept: list[bytes] = []
    for part in parts:
        if part != b"..":
            kept.append(part)
        elif kept:
            kept.pop()
    return Place(here, tuple(kept))
