"""ADD of a local archive: recognized by its bytes, and put into the target as if by tar(1).

Names with `..` are refused. Links, those that the archive itself brings included, are resolved in
the target's root (`storage.build.target`).
"""

import os
import stat
from collections.abc import Iterator

from storage.build.errors import BuildInputError
from storage.build.target import (
    ABSENT,
    DIRECTORY,
    LINK,
    OTHER,
    Spot,
    with_fields,
)
from storage.build.trees import SourceTree
from storage.errors import InvalidLayer
from storage.inflate import inflate, peek
from storage.layer_tree import Node
from storage.readahead import ReadAhead
from storage.tar import DIRECTORY as TAR_DIRECTORY
from storage.tar import (
    FIFO,
    REGULAR,
    SYMLINK,
    Entry,
    TarReader,
)
from storage.tar import LINK as TAR_LINK
from storage.tar_writer import Packed
from storage.tree import shown
from storage.xattrs import is_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.build.copying import LayerCopy, Picked

_KINDS = {
    REGULAR: stat.S_IFREG,
    TAR_LINK: stat.S_IFREG,
    SYMLINK: stat.S_IFLNK,
    TAR_DIRECTORY: stat.S_IFDIR,
    FIFO: stat.S_IFIFO,
}
_NAMED = 3


def is_archive(tree: SourceTree, node: Node) -> bool:
    """Tell whether a file is a tar archive, plain or compressed with gzip, bzip2, xz or zstd."""
    if not node.is_file:
        return False
    fd = tree.open(node)
    with open(fd, "rb", buffering=0) as file:
        try:
            compression, start = peek(file)
            return TarReader(inflate(start, compression)).next_entry() is not None
        except InvalidLayer:
            return False


def unpack_archive(copy: "LayerCopy", one: "Picked", top: bytes) -> Iterator[bytes]:
    """Yield what an archive puts into the real directory `top`.

    Raises BuildInputError for one that is broken or that names places outside.
    """
    where = f"{one.tree.name}: {shown(one.selected.node.path)}"
    fd = one.tree.open(one.selected.node)
    with open(fd, "rb", buffering=0) as file:
        compression, start = peek(file)
        ahead = ReadAhead(inflate(start, compression))
        try:
            yield from _Unpacking(copy, TarReader(ahead), top).run()
        except InvalidLayer as error:
            raise BuildInputError(f"unpack {where}: {error.message}") from error
        finally:
            ahead.close()


class _Unpacking:
    def __init__(self, copy: "LayerCopy", reader: TarReader, top: bytes) -> None:
        self._copy = copy
        self._reader = reader
        self._top = top
        self._skipped: list[str] = []

    def run(self) -> Iterator[bytes]:
        while (entry := self._reader.next_entry()) is not None:
            kind = _KINDS.get(entry.kind)
            if kind is None:
                self._skipped.append(shown(entry.name))
                continue
            path = self._path(entry.name)
            if path == self._top:
                continue  # the target stays what it is
            found = self._dressed(entry, kind)
            if entry.kind == TAR_DIRECTORY:
                self._directory(path, entry, found)
            else:
                yield from self._other(path, entry, found)
            data = self._copy.take()
            if data:
                yield data
        self._reader.drain()
        if self._skipped:
            count = len(self._skipped)
            more = f" and {count - _NAMED} more" if count > _NAMED else ""
            names = ", ".join(self._skipped[:_NAMED])
            self._copy.notes.append(f"device nodes of an archive were left out: {names}{more}")

    def _path(self, name: bytes) -> bytes:
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise InvalidLayer(f"entry {shown(name)}: '..' would lead out of the target")
        return b"/".join([self._top, *parts] if self._top else parts)

    def _dressed(self, entry: Entry, kind: int) -> os.stat_result:
        copy = self._copy
        mode = entry.mode
        if copy.change is not None and kind != stat.S_IFLNK:
            mode = copy.change.apply(mode, is_directory=kind == stat.S_IFDIR)
        plain = os.stat_result((kind, 0, 0, 1, 0, 0, entry.size, 0, 0, 0), {"st_rdev": 0})
        owner = copy.rules.owner or (entry.uid, entry.gid)
        return with_fields(plain, mode, owner, entry.mtime_ns)

    def _spot(self, path: bytes) -> Spot:
        """Return the place of an entry: links on the way to it count, one in its place does not."""
        parent, _, name = path.rpartition(b"/")
        above = self._copy.locate(parent) if parent else Spot(b"", b"", DIRECTORY)
        if above.kind == ABSENT:
            self._copy.make_directory(above, None)
        elif above.kind != DIRECTORY:
            raise InvalidLayer(f"entry {shown(path)}: {shown(above.path)} is not a directory")
        return Spot(above.path, name, self._copy.look(above.path, name))

    def _directory(self, path: bytes, entry: Entry, found: os.stat_result) -> None:
        spot = self._spot(path)
        if spot.kind == LINK:
            there = self._copy.locate(spot.path)
            if there.kind == DIRECTORY:
                return
        self._copy.write_directory(spot, found, _records(entry))

    def _other(self, path: bytes, entry: Entry, found: os.stat_result) -> Iterator[bytes]:
        copy = self._copy
        spot = self._spot(path)
        if entry.kind == TAR_LINK:
            target = self._spot(self._path(entry.link))
            if target.kind in (ABSENT, DIRECTORY):
                raise InvalidLayer(f"entry {shown(entry.name)}: a hard link to nothing")
            if not copy.is_written(target.path):
                raise InvalidLayer(
                    f"entry {shown(entry.name)}: a hard link to a file that is not in the archive"
                )
            copy.claim(spot, target.kind)
            copy.header(Packed(spot.path, b"1", target.path, found))
            return
        kind = LINK if entry.kind == SYMLINK else OTHER
        copy.claim(spot, kind, entry.link if kind == LINK else b"")
        link = entry.link if kind == LINK else b""
        records = {} if kind == LINK else _records(entry)
        copy.header(Packed(spot.path, entry.kind, link, found), records)
        if entry.kind == REGULAR:
            if entry.segments is None:
                for piece in self._reader.data():
                    yield from copy.data(piece)
            else:
                yield from self._sparse(entry)
            copy.pad(entry.size)

    def _sparse(self, entry: Entry) -> Iterator[bytes]:
        """Yield a sparse file with its holes filled."""
        pieces = self._reader.data()
        piece = memoryview(b"")
        position = 0
        for offset, length in entry.segments or ():
            yield from self._zeros(offset - position)
            position = offset + length
            while length:
                if not piece:
                    piece = next(pieces)
                part = piece[:length]
                yield from self._copy.data(part)
                length -= len(part)
                piece = piece[len(part) :]
        yield from self._zeros(entry.size - position)

    def _zeros(self, count: int) -> Iterator[bytes]:
        while count > 0:
            part = min(count, 1 << 18)
            yield from self._copy.data(bytes(part))
            count -= part


def _records(entry: Entry) -> dict[bytes, bytes]:
    return {
        b"SCHILY.xattr." + name: value
        for name, value in entry.xattrs.items()
        if is_allowed(name) and b"\0" not in name
    }
