"""Several layers as one archive: a whole root file system, or one layer in their place.

Runs as root of the user namespace of the layers' id map.
"""

import os
import stat
from collections.abc import Iterator

from storage.build.target import with_fields
from storage.layer_tree import LayerTree, Node, removals
from storage.pack import END
from storage.tar import BLOCK
from storage.tar_writer import AS_THEY_ARE, TYPES, Packed, Times, write_header
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX

_CHUNK_BYTES = 1 << 18


class MergedStream:
    """Packs a tree of layers; with `as_layer` also what it takes away from layers below."""

    def __init__(
        self, tree: LayerTree, *, as_layer: bool = False, times: Times = AS_THEY_ARE
    ) -> None:
        self._tree = tree
        self._as_layer = as_layer
        self._times = times
        self._seen: dict[tuple[int, int], bytes] = {}

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive; a directory comes before what is in it. Raises OSError."""
        root = self._tree.root()
        yield self._header(Packed(b"./", b"5", b"", root.found), self._records(root))
        # Not by recursion: an image may be deeper than the interpreter allows.
        todo: list[tuple[Node, bool]] = [(root, False)]
        while todo:
            directory, is_cut = todo.pop()
            names: set[bytes] = set()
            if self._as_layer:
                removed, names, is_opaque = removals(directory)
                yield from self._marks(directory, removed, is_opaque=is_opaque or is_cut)
            below = []
            for name, node in self._tree.children(directory).items():
                if node.is_directory:
                    packed = Packed(node.path + b"/", b"5", b"", node.found)
                    yield self._header(packed, self._records(node))
                    below.append((node, name in names))
                else:
                    yield from self._other(node)
            todo += reversed(below)
        yield END

    def _marks(self, directory: Node, removed: list[bytes], *, is_opaque: bool) -> Iterator[bytes]:
        names = [WHITEOUT_PREFIX + name for name in removed]
        if is_opaque and directory.path:
            names.insert(0, OPAQUE_FILE)
        empty = os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": 0})
        plain = with_fields(empty, 0, (0, 0), directory.found.st_mtime_ns)
        for name in names:
            path = directory.path + b"/" + name if directory.path else name
            yield self._header(Packed(path, b"0", b"", plain), {})

    def _other(self, node: Node) -> Iterator[bytes]:
        kind = TYPES.get(stat.S_IFMT(node.found.st_mode))
        if kind is None or kind in b"34":
            return
        if kind != b"0":
            link = self._tree.read_link(node) if kind == b"2" else b""
            yield self._header(Packed(node.path, kind, link, node.found), {})
            return
        found = node.found
        if found.st_nlink > 1:
            first = self._seen.setdefault((found.st_dev, found.st_ino), node.path)
            if first != node.path:
                yield self._header(Packed(node.path, b"1", first, found), {})
                return
        yield self._header(Packed(node.path, kind, b"", found), self._records(node))
        fd = self._tree.open(node)
        try:
            left = found.st_size
            while left:
                chunk = os.read(fd, min(left, _CHUNK_BYTES)) or bytes(min(left, _CHUNK_BYTES))
                left -= len(chunk)
                yield chunk
        finally:
            os.close(fd)
        if found.st_size % BLOCK:
            yield bytes(-found.st_size % BLOCK)

    def _records(self, node: Node) -> dict[bytes, bytes]:
        return {
            b"SCHILY.xattr." + name: value for name, value in self._tree.attributes(node).items()
        }

    def _header(self, packed: Packed, extra: dict[bytes, bytes]) -> bytes:
        return write_header(packed._replace(found=self._times.apply(packed.found)), extra)
