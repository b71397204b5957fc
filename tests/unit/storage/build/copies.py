"""Trees and copies for tests: layers are plain directories, the result is read with tarfile."""

import io
import os
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

from storage.build.copying import CopyRules, LayerCopy, Picked, content_files, input_digest
from storage.build.hashing import hash_files
from storage.build.host_tree import HostTree
from storage.build.patterns import Patterns
from storage.build.selection import select
from storage.build.stat_cache import StatCache
from storage.build.trees import SourceTree
from storage.build.unpacking import is_archive
from storage.layer_tree import LayerTree


def make_tree(top: str, files: Mapping[str, str | bytes | None]) -> str:
    """Make files below `top`: None is a directory, "-> x" a link, else the content."""
    os.makedirs(top, exist_ok=True)
    for name, content in files.items():
        path = f"{top}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is None:
            os.makedirs(path, exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            os.symlink(content[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(path, 0o644)
            os.utime(path, (1_600_000_000, 1_600_000_000))
    return top


class Copied(NamedTuple):
    """What a copy has written, by name; of files `contents`."""

    members: dict[str, tarfile.TarInfo]
    contents: dict[str, bytes]
    copy: LayerCopy

    @property
    def files(self) -> dict[str, str]:
        """Contents as text, links as `-> target`, hard links as `== first`."""
        found = {name: data.decode(errors="replace") for name, data in self.contents.items()}
        for name, member in self.members.items():
            if member.issym():
                found[name] = f"-> {member.linkname}"
            elif member.islnk():
                found[name] = f"== {member.linkname}"
        return found

    @property
    def directories(self) -> set[str]:
        return {name for name, member in self.members.items() if member.isdir()}


def pick(
    tree: SourceTree, sources: tuple[str, ...], *, parents: bool = False, unpack: bool = False
) -> list[Picked]:
    return [
        Picked(tree, selected, unpack and is_archive(tree, selected.node))
        for source in sources
        for selected in select(tree, source, parents=parents)
    ]


def copy(
    context: str,
    sources: tuple[str, ...],
    rules: CopyRules,
    *,
    base: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    unpack: bool = False,
    layers: bool = False,
) -> Copied:
    """Copy out of a directory, as a context or as a layer; `base` is the top layer first."""
    tree: SourceTree
    if layers:
        tree = LayerTree((context,))
    else:
        tree = HostTree(context, name="the context", ignore=Patterns(ignore))
    work = LayerCopy(LayerTree(base), rules)
    try:
        data = b"".join(work.chunks(pick(tree, sources, parents=rules.parents, unpack=unpack)))
    finally:
        tree.close()
    members: dict[str, tarfile.TarInfo] = {}
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            members[member.name] = member
            if member.isreg():
                file = archive.extractfile(member)
                assert file is not None
                contents[member.name] = file.read()
    return Copied(members, contents, work)


def digest(context: str, sources: tuple[str, ...], rules: CopyRules) -> str:
    """Return the digest of a copy's input."""
    tree = HostTree(context)
    try:
        picked = pick(tree, sources, parents=rules.parents)
        nodes = [node for _, node in content_files(picked, rules.exclude)]
        return input_digest(picked, rules, hash_files(tree, nodes, StatCache("")).digests)
    finally:
        tree.close()
