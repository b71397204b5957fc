"""COPY and ADD as a stream of tar: the layer of an instruction, and the digest of its input.

What is read is copied once, straight into the archive of the layer. Runs as root of the build's
user namespace: owners are those of the image.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence

from storage.build.errors import BuildInputError
from storage.build.modes import ModeChange
from storage.build.patterns import Patterns
from storage.build.selection import Selected, select, walk
from storage.build.stat_cache import Key, stat_key
from storage.build.target import (
    ABSENT,
    DIRECTORY,
    LINK,
    OTHER,
    Spot,
    Target,
    directory_fields,
    with_fields,
)
from storage.build.trees import SourceTree
from storage.layer_tree import LayerTree, Node
from storage.pack import END
from storage.record import NamedTuple
from storage.tar import BLOCK
from storage.tar_writer import AS_THEY_ARE, TYPES, Packed, Times, write_header
from storage.tree import shown

_CHUNK_BYTES = 1 << 18
_PIECES = 256
_IMPLIED_MODE = 0o755
_SECOND_NS = 1_000_000_000


class Picked(NamedTuple):
    """Something to copy and the tree it is in; `is_archive`: what is in it is to be unpacked."""

    tree: SourceTree
    selected: Selected
    is_archive: bool = False


class CopyRules(NamedTuple):
    """How to copy. `target` is absolute; with `into` it is a directory whatever it is now.

    `owner` None keeps owners where the tree has any that mean something, and is root elsewhere.
    `now_ns` is the time of what is made on the way, `times` what becomes of all times.
    """

    target: str
    into: bool = False
    owner: tuple[int, int] | None = None
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    now_ns: int = 0
    times: Times = AS_THEY_ARE


def content_files(picked: Sequence[Picked], exclude: tuple[str, ...]) -> list[tuple[int, Node]]:
    """Return the regular files that are read, each with the position of its tree in `picked`."""
    patterns = Patterns(exclude)
    return [
        (position, node)
        for position, one in enumerate(picked)
        for _, node in walk(one.tree, one.selected, patterns)
        if node.is_file
    ]


def input_digest(picked: Sequence[Picked], rules: CopyRules, digests: dict[Key, bytes]) -> str:
    """Return the digest of everything that is copied: names, kinds, modes, owners, contents.

    Times do not count. `digests` are those of the files' contents.
    """
    patterns = Patterns(rules.exclude)
    change = ModeChange(rules.chmod) if rules.chmod else None
    total = hashlib.sha256()
    firsts: dict[tuple[int, int, int], bytes] = {}
    for number, (tree, selected, is_archive) in enumerate(picked):
        total.update(b"%d %d %s\0" % (number, is_archive, selected.name))
        for node in selected.above:
            total.update(_described(tree, b"", node, rules, change))
        for path, node in walk(tree, selected, patterns):
            total.update(_described(tree, path, node, rules, change))
            if node.is_file:
                total.update(digests[stat_key(node.found)])
                if node.found.st_nlink > 1:
                    inode = (id(tree), node.found.st_dev, node.found.st_ino)
                    total.update(firsts.setdefault(inode, b"%d/%s" % (number, path)) + b"\0")
    return f"sha256:{total.hexdigest()}"


def _described(
    tree: SourceTree, path: bytes, node: Node, rules: CopyRules, change: ModeChange | None
) -> bytes:
    found = node.found
    mode = stat.S_IMODE(found.st_mode)
    if change is not None and not node.is_link:
        mode = change.apply(mode, is_directory=node.is_directory)
    uid, gid = _owner(tree, found, rules)
    line = b"%s\0%o %o %d %d " % (path, stat.S_IFMT(found.st_mode), mode, uid, gid)
    if node.is_file:
        line += b"%d" % found.st_size
    elif node.is_link:
        line += tree.read_link(node)
    attributes = tree.attributes(node)
    for name in sorted(attributes):
        line += b"\0%s=%d:%s" % (name, len(attributes[name]), attributes[name])
    return line + b"\0"


def _owner(tree: SourceTree, found: os.stat_result, rules: CopyRules) -> tuple[int, int]:
    if rules.owner is not None:
        return rules.owner
    return (found.st_uid, found.st_gid) if tree.keeps_owners else (0, 0)


def directory_chunks(base: LayerTree, rules: CopyRules) -> Iterator[bytes] | None:
    """Return the archive of a layer that makes the directory `rules.target`; None if it is there.

    Raises BuildInputError, OSError.
    """
    return LayerCopy(base, rules).directory()


def tree_chunks(tree: SourceTree, path: str) -> Iterator[bytes]:
    """Yield what is at a path of a tree as an archive. Raises BuildInputError, OSError."""
    picked = [Picked(tree, one) for one in select(tree, path)]
    return LayerCopy(LayerTree(()), CopyRules("/", into=True)).chunks(picked)


class LayerCopy:
    """One instruction's copy; `notes` say what was left out, `changed` which files did not wait."""

    def __init__(self, base: LayerTree, rules: CopyRules) -> None:
        self._rules = rules
        self._target = Target(base, alone=rules.link)
        self._patterns = Patterns(rules.exclude)
        self._change = ModeChange(rules.chmod) if rules.chmod else None
        self._out: list[bytes] = []
        self._written: set[bytes] = set()
        self._seen: dict[tuple[int, int, int], bytes] = {}
        self.notes: list[str] = []
        self.changed: list[str] = []
        self.entries = 0

    def chunks(self, picked: Sequence[Picked]) -> Iterator[bytes]:
        """Yield the archive of the layer. Raises BuildInputError, ContextError, OSError."""
        self._write_root()
        for one in picked:
            if one.is_archive:
                from storage.build.unpacking import unpack_archive

                yield from unpack_archive(self, one, self._directory_spot())
            else:
                yield from self._copy(one, several=len(picked) > 1)
        yield self.take() + END

    def directory(self) -> Iterator[bytes] | None:
        """Yield the archive of a layer that has the target, a directory; None where it is there.

        Raises BuildInputError.
        """
        self._write_root()
        spot = self._target.locate(self._target_path())
        if spot.kind == DIRECTORY:
            return None
        if spot.kind == OTHER:
            raise BuildInputError(f"/{shown(spot.path)} is a file")
        self.make_directory(spot, None)
        return iter((self.take() + END,))

    def take(self) -> bytes:
        """Return what has been written since the last call."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # Where things go.

    def _target_path(self) -> bytes:
        return self._rules.target.encode(errors="surrogateescape")

    def _directory_spot(self) -> bytes:
        """Return the real path of the target, which is or becomes a directory."""
        spot = self._target.locate(self._target_path())
        if spot.kind == OTHER:
            raise BuildInputError(f"/{shown(spot.path)} is a file, not a directory to copy into")
        if spot.kind == ABSENT:
            self.make_directory(spot, None)
        self.enter(spot.path)
        return spot.path

    def _copy(self, one: Picked, *, several: bool) -> Iterator[bytes]:
        rules, selected = self._rules, one.selected
        if rules.parents:
            top = self._directory_spot()
            names = selected.name.split(b"/")
            for name, node in zip(names, selected.above, strict=False):
                top = self._descend(one.tree, Spot(top, name, self._target.look(top, name)), node)
            if names[-1]:
                yield from self._tree(one, top, names[-1])
                return
            yield from self._tree(one, top, b"")
        elif selected.node.is_directory:
            spot = self._target.locate(self._target_path())
            if spot.kind == OTHER:
                raise BuildInputError(
                    f"/{shown(spot.path)} is a file: a directory cannot be copied onto it"
                )
            if spot.kind == ABSENT:
                self.make_directory(spot, (one.tree, selected.node))
            yield from self._tree(one, spot.path, b"")
        else:
            spot = self._target.locate(self._target_path())
            if rules.into or spot.kind == DIRECTORY:
                top = self._directory_spot()
                yield from self._tree(one, top, selected.name)
                return
            if several:
                raise BuildInputError(
                    "when using COPY or ADD with more than one source file, the destination must"
                    " be a directory and end with a /",
                    remedy=f"write {rules.target}/",
                )
            yield from self._file(one.tree, selected.node, spot)

    def _tree(self, one: Picked, top: bytes, name: bytes) -> Iterator[bytes]:
        """Copy what was selected into the real directory `top`, as `name` there if given."""
        reals: dict[bytes, bytes] = {b"": top}
        tree = one.tree
        for path, node in walk(tree, one.selected, self._patterns):
            if not path and node.is_directory and not name:
                continue
            parent, _, base = path.rpartition(b"/")
            if name and not path:
                parent, base = b"", name
            above = reals[parent]
            spot = Spot(above, base, self._target.look(above, base))
            if node.is_directory:
                reals[path] = self._descend(tree, spot, node)
            else:
                yield from self._file(tree, node, spot)
            if len(self._out) > _PIECES:
                yield self.take()

    def _descend(self, tree: SourceTree, spot: Spot, node: Node) -> bytes:
        """Make or find a directory; return its real path."""
        if spot.kind == LINK:
            there = self._target.locate(spot.path)
            if there.kind == DIRECTORY:
                return there.path
        elif spot.kind == OTHER:
            raise BuildInputError(
                f"/{shown(spot.path)} is a file: the directory of that name cannot be copied"
                " onto it"
            )
        self.make_directory(spot, (tree, node))
        return spot.path

    # What is written.

    def header(self, packed: Packed, extra: dict[bytes, bytes] | None = None) -> None:
        """Write the header of an entry; times are whole seconds, as in docker's layers."""
        found = self._rules.times.apply(packed.found)
        seconds = found.st_mtime_ns // _SECOND_NS
        if found.st_mtime_ns != seconds * _SECOND_NS:
            owner = (found.st_uid, found.st_gid)
            found = with_fields(found, stat.S_IMODE(found.st_mode), owner, seconds * _SECOND_NS)
        if found is not packed.found:
            packed = packed._replace(found=found)
        self._out.append(write_header(packed, extra or {}))
        self.entries += 1

    def _write_root(self) -> None:
        """Repeat the metadata of the top directory where it is not what everybody assumes."""
        found = self._target.root().found
        usual = (stat.S_IFDIR | _IMPLIED_MODE, 0, 0)
        if (found.st_mode, found.st_uid, found.st_gid) != usual and not self._rules.link:
            self.header(Packed(b"./", b"5", b"", found))
        self._written.add(b"")

    def enter(self, path: bytes) -> None:
        """Write the directories of a real path that are not in the archive yet.

        An overlay shows the metadata of the upper directory, so a layer repeats what is below.
        """
        if path in self._written:
            return
        self.enter(path.rpartition(b"/")[0])
        node = self._target.base_directory(path)
        if node is not None:
            self.header(
                Packed(path + b"/", b"5", b"", node.found),
                _records(self._target.attributes(node)),
            )
        else:
            owner = self._rules.owner or (0, 0)
            found = directory_fields(_IMPLIED_MODE, owner, self._rules.now_ns)
            self.header(Packed(path + b"/", b"5", b"", found))
        self._written.add(path)

    def make_directory(self, spot: Spot, source: "tuple[SourceTree, Node] | None") -> None:
        """Write a directory with the metadata of `source`, or one that is made on the way."""
        self.enter(spot.parent)
        if source is None:
            self._target.put(spot, DIRECTORY)
            self.enter(spot.path)
            return
        tree, node = source
        found = self._dressed(tree, node.found, is_directory=True)
        self.write_directory(spot, found, _records(tree.attributes(node)))

    def write_directory(self, spot: Spot, found: os.stat_result, extra: dict[bytes, bytes]) -> None:
        """Write a directory with this metadata."""
        self.enter(spot.parent)
        self._target.put(spot, DIRECTORY)
        self.header(Packed(spot.path + b"/", b"5", b"", found), extra)
        self._written.add(spot.path)

    def is_written(self, path: bytes) -> bool:
        """Tell whether something that is no directory has been written at a real path."""
        return self._target.is_new(path)

    def _dressed(
        self, tree: SourceTree, found: os.stat_result, *, is_directory: bool
    ) -> os.stat_result:
        mode = stat.S_IMODE(found.st_mode)
        if self._change is not None and not stat.S_ISLNK(found.st_mode):
            mode = self._change.apply(mode, is_directory=is_directory)
        return with_fields(found, mode, _owner(tree, found, self._rules), found.st_mtime_ns)

    def claim(self, spot: Spot, kind: str, link: bytes = b"") -> None:
        """Take the place for something that is no directory. Raises BuildInputError."""
        self.enter(spot.parent)
        self._target.put(spot, kind, link)

    def _file(self, tree: SourceTree, node: Node, spot: Spot) -> Iterator[bytes]:
        if spot.kind == DIRECTORY:
            raise BuildInputError(
                f"/{shown(spot.path)} is a directory: the file of that name cannot be copied"
                " onto it"
            )
        kind = TYPES.get(stat.S_IFMT(node.found.st_mode))
        if kind is None or kind in b"34":
            what = "a socket" if kind is None else "a device"
            self.notes.append(f"{what} was left out: {tree.name}: {shown(node.path)}")
            return
        if kind == b"0":
            yield from self._regular(tree, node, spot)
            return
        link = tree.read_link(node) if kind == b"2" else b""
        self.claim(spot, LINK if kind == b"2" else OTHER, link)
        self.header(
            Packed(spot.path, kind, link, self._dressed(tree, node.found, is_directory=False))
        )

    def _regular(self, tree: SourceTree, node: Node, spot: Spot) -> Iterator[bytes]:
        self.claim(spot, OTHER)
        name = spot.path
        found = node.found
        if found.st_nlink > 1:
            first = self._seen.setdefault((id(tree), found.st_dev, found.st_ino), name)
            if first != name:
                dressed = self._dressed(tree, found, is_directory=False)
                self.header(Packed(name, b"1", first, dressed))
                return
        fd = tree.open(node)
        try:
            now = os.fstat(fd)
            if stat_key(now) != stat_key(found):
                self.changed.append(f"{tree.name}: {shown(node.path)}")
            dressed = self._dressed(tree, now, is_directory=False)
            if tree.keeps_owners:
                # Of files that cannot have it the tree knows the owner, fstat does not.
                uid, gid = _owner(tree, found, self._rules)
                dressed = with_fields(
                    dressed, stat.S_IMODE(dressed.st_mode), (uid, gid), dressed.st_mtime_ns
                )
            self.header(Packed(name, b"0", b"", dressed), _records(tree.attributes(node)))
            left = now.st_size
            while left:
                chunk = os.read(fd, min(left, _CHUNK_BYTES))
                if not chunk:
                    chunk = bytes(min(left, _CHUNK_BYTES))
                    self.changed.append(f"{tree.name}: {shown(node.path)}")
                left -= len(chunk)
                yield from self.data(chunk)
        finally:
            os.close(fd)
        self.pad(now.st_size)

    def data(self, chunk: "bytes | memoryview") -> Iterator[bytes]:
        """Write bytes of a file; yield what has come together when it is enough."""
        self._out.append(bytes(chunk))
        if len(self._out) > _PIECES or len(chunk) >= _CHUNK_BYTES // 2:
            yield self.take()

    def pad(self, size: int) -> None:
        """Fill the last block of a file."""
        if size % BLOCK:
            self._out.append(bytes(-size % BLOCK))

    def locate(self, path: bytes) -> Spot:
        """Follow a path in the target."""
        return self._target.locate(path)

    def look(self, parent: bytes, name: bytes) -> str:
        """Tell what is at a name of a real directory of the target."""
        return self._target.look(parent, name)

    @property
    def rules(self) -> CopyRules:
        return self._rules

    @property
    def change(self) -> ModeChange | None:
        return self._change


def _records(attributes: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {b"SCHILY.xattr." + name: value for name, value in attributes.items()}
