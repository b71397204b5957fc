"""Where a copy goes: the root file system of a stage, with what the copy has written on top.

Nothing is mounted. Links are resolved here, inside the root, part by part in the layers and in what
has been written already: there is no path by which the kernel could be led out.
"""

import os
import stat

from storage.build.errors import BuildInputError
from storage.layer_tree import LayerTree, Node
from storage.record import NamedTuple
from storage.tree import WHITEOUT_PREFIX, shown

ABSENT, DIRECTORY, LINK, OTHER = "absent", "directory", "link", "other"
_LINKS_LIMIT = 255
_PATH_LIMIT_BYTES = 4000


class Spot(NamedTuple):
    """A place: its real directory, its name there, and what is there now."""

    parent: bytes
    name: bytes
    kind: str

    @property
    def path(self) -> bytes:
        return self.parent + b"/" + self.name if self.parent else self.name


class Target:
    """Looks up paths and remembers what has been written.

    With `alone` (COPY --link) the root counts as empty.
    """

    def __init__(self, base: LayerTree, *, alone: bool = False) -> None:
        self._base = LayerTree(()) if alone else base
        self._new: dict[bytes, tuple[str, bytes]] = {}
        root = self._base.root()
        self._directories: dict[bytes, Node | None] = {b"": root}

    def root(self) -> Node:
        """Return the top directory as it was."""
        return self._base.root()

    def base_directory(self, path: bytes) -> Node | None:
        """Return what the layers below have for a real directory; None for a new one."""
        known = self._directories.get(path)
        if known is not None or path in self._directories:
            return known
        parent, _, name = path.rpartition(b"/")
        above = self.base_directory(parent)
        node = self._base.children(above).get(name) if above is not None else None
        if node is not None and not node.is_directory:
            node = None
        self._directories[path] = node
        return node

    def look(self, parent: bytes, name: bytes) -> str:
        """Tell what is at a name of a real directory."""
        path = parent + b"/" + name if parent else name
        new = self._new.get(path)
        if new is not None:
            return new[0]
        above = self.base_directory(parent)
        node = self._base.children(above).get(name) if above is not None else None
        if node is None:
            return ABSENT
        if node.is_directory:
            return DIRECTORY
        return LINK if node.is_link else OTHER

    def is_new(self, path: bytes) -> bool:
        """Tell whether something has been written at a real path."""
        return path in self._new

    def put(self, spot: Spot, kind: str, link: bytes = b"") -> None:
        """Remember what has been written. Raises BuildInputError for a name no layer can hold."""
        if spot.name.startswith(WHITEOUT_PREFIX):
            raise BuildInputError(
                f"{shown(spot.path)}: a name that begins with .wh. marks removed files in a layer"
                " (OCI image-spec), so a file cannot have it",
                remedy="rename it, or leave it out with a .containerignore file",
            )
        path = spot.path
        if len(path) > _PATH_LIMIT_BYTES:
            raise BuildInputError(f"{shown(path)}: the path is too long")
        if kind == DIRECTORY:
            if spot.kind != DIRECTORY:
                self._directories[path] = None
        elif spot.kind == DIRECTORY:
            self._directories[path] = None
        self._new[path] = (kind, link)

    def locate(self, path: bytes) -> Spot:
        """Follow a path, last link included; missing directories above it count as made.

        Raises BuildInputError when a file is in the way or links run in a circle.
        """
        todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
        here: list[bytes] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if here:
                    here.pop()
                continue
            parent = b"/".join(here)
            kind = self.look(parent, part)
            if kind == LINK:
                links += 1
                if links > _LINKS_LIMIT:
                    raise BuildInputError(f"/{shown(path)}: too many symbolic links")
                target = self._read_link(parent, part)
                if target.startswith(b"/"):
                    here.clear()
                todo += [word for word in reversed(target.split(b"/")) if word not in (b"", b".")]
                continue
            if kind == DIRECTORY:
                here.append(part)
                continue
            spot = Spot(parent, part, kind)
            if not todo:
                return spot
            if kind == OTHER:
                raise BuildInputError(f"/{shown(spot.path)} is not a directory")
            self.put(spot, DIRECTORY)
            here.append(part)
        name = here.pop() if here else b""
        return Spot(b"/".join(here), name, DIRECTORY)

    def _read_link(self, parent: bytes, name: bytes) -> bytes:
        path = parent + b"/" + name if parent else name
        new = self._new.get(path)
        if new is not None:
            return new[1]
        above = self.base_directory(parent)
        assert above is not None
        return self._base.read_link(self._base.children(above)[name])

    def attributes(self, node: Node) -> dict[bytes, bytes]:
        """Return the extended attributes of something in the layers below."""
        return self._base.attributes(node)


def with_fields(
    found: os.stat_result, mode: int, owner: tuple[int, int], mtime_ns: int
) -> os.stat_result:
    """Return a file's metadata with other permissions, owner and time of modification."""
    seconds = mtime_ns // 1_000_000_000
    return os.stat_result(
        (
            stat.S_IFMT(found.st_mode) | mode, found.st_ino, found.st_dev, found.st_nlink,
            *owner, found.st_size, seconds, seconds, seconds,
        ),
        {"st_mtime_ns": mtime_ns, "st_rdev": found.st_rdev},
    )  # fmt: skip


def directory_fields(mode: int, owner: tuple[int, int], mtime_ns: int) -> os.stat_result:
    """Return the metadata of a directory that is made."""
    empty = os.stat_result((stat.S_IFDIR, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": 0})
    return with_fields(empty, mode, owner, mtime_ns)
