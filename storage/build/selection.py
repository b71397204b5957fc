"""What the sources of COPY and ADD stand for: wildcards, directories, links, `--parents`.

Containerfile(5) and the reference of docker: sources are looked up in the source tree as if it were
the root, a directory stands for what is in it, and a link for what it leads to.
"""

import posixpath
from collections.abc import Iterator

from storage.build.errors import BuildInputError
from storage.build.host_tree import HostTree
from storage.build.patterns import Patterns, compile_glob, is_wild
from storage.build.trees import SourceTree, resolve
from storage.layer_tree import Node
from storage.record import NamedTuple

_PIVOT = "/./"
_ANY_DEPTH = "**"


class Selected(NamedTuple):
    """One thing to copy: `name` below the target, "" for what is in the directory `node`.

    With `--parents` the `above` are the directories of `name`, to be made as they are.
    """

    name: bytes
    node: Node
    above: tuple[Node, ...] = ()


class _Found(NamedTuple):
    """A node, and the names and directories by which it was reached from where the search began."""

    names: tuple[bytes, ...]
    node: Node
    above: tuple[Node, ...] = ()


def select(tree: SourceTree, source: str, *, parents: bool = False) -> list[Selected]:
    """Return what a source stands for; nothing for a wildcard that matches nothing.

    Raises BuildInputError for a plain name that is not there, InvalidPattern.
    """
    if parents:
        return _with_parents(tree, source)
    if is_wild(source):
        found = _glob(tree, _Found((), tree.root()), _parts(source), any_depth=False)
        return [_as_selected(tree, one.names[-1:], one.node) for one in found]
    names = _parts(source)
    return [_as_selected(tree, tuple(_bytes(names[-1:])), _get(tree, source))]


def _as_selected(tree: SourceTree, names: tuple[bytes, ...], node: Node) -> Selected:
    if node.is_link:
        place = resolve(tree, node.path)
        node = node if place.missing else place.node
    return Selected(b"" if node.is_directory else b"".join(names), node)


def _get(tree: SourceTree, source: str) -> Node:
    place = resolve(tree, _encode(source))
    if place.missing:
        raise _missing(tree, source)
    return place.node


def _missing(tree: SourceTree, source: str) -> BuildInputError:
    message = f"{source!r} is not in {tree.name}"
    if isinstance(tree, HostTree):
        path = posixpath.normpath(f"/{source}").lstrip("/")
        if tree.leaves_out(_encode(path)):
            return BuildInputError(f"{message}: an ignore file leaves it out")
        remedy = "sources are named from the top of the build context"
        return BuildInputError(message, remedy=remedy)
    return BuildInputError(message)


def _with_parents(tree: SourceTree, source: str) -> list[Selected]:
    before, pivot, after = source.partition(_PIVOT)
    starts = [_Found((), tree.root())]
    if pivot:
        starts = _glob(tree, starts[0], _parts(before), any_depth=True)
        starts = [start for start in starts if start.node.is_directory]
    rest = _parts(after if pivot else source)
    selected = []
    for start in starts:
        fresh = _Found((), start.node)
        whole: set[tuple[bytes, ...]] = set()
        for one in _glob(tree, fresh, rest, any_depth=True):
            if any(one.names[:depth] in whole for depth in range(len(one.names))):
                continue  # in a directory that is copied anyway
            node = one.node
            if node.is_directory:
                whole.add(one.names)
            if node.is_link and not is_wild(source):
                place = resolve(tree, node.path)
                node = node if place.missing else place.node
            selected.append(Selected(b"/".join(one.names), node, one.above))
    if not selected and not is_wild(source):
        raise _missing(tree, source)
    return selected


def _parts(source: str) -> list[str]:
    """Return the parts of a source; `..` cannot lead out of the tree."""
    kept: list[str] = []
    for part in source.split("/"):
        if part == "..":
            if kept:
                kept.pop()
        elif part not in ("", "."):
            kept.append(part)
    return kept


def _glob(tree: SourceTree, start: _Found, parts: list[str], *, any_depth: bool) -> list[_Found]:
    """Return what a path with wildcards matches, in the order of names, each once."""
    found = [start]
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        step: dict[tuple[bytes, ...], _Found] = {}
        for one in found:
            for match in _step(tree, one, part, any_depth=any_depth, is_last=is_last):
                step.setdefault(match.names, match)
        found = list(step.values())
    return sorted(found, key=lambda one: one.names)


def _step(
    tree: SourceTree, here: _Found, part: str, *, any_depth: bool, is_last: bool
) -> Iterator[_Found]:
    if not here.node.is_directory:
        return
    children = tree.children(here.node)
    if any_depth and part == _ANY_DEPTH:
        if not is_last:
            yield from _descend(tree, here)
            return
        for name, node in children.items():
            yield _below(here, name, node)
        return
    if is_wild(part):
        expression = compile_glob(part)
        for name, node in children.items():
            if expression.match(_decode(name)) and (is_last or node.is_directory):
                yield _below(here, name, node)
        return
    name = _encode(part)
    if name not in children:
        return
    node = children[name]
    if node.is_link and not is_last:
        place = resolve(tree, node.path)
        if place.missing:
            return
        node = place.node
    yield _below(here, name, node)


def _descend(tree: SourceTree, here: _Found) -> Iterator[_Found]:
    """Yield a directory and all directories below it."""
    yield here
    for name, node in tree.children(here.node).items():
        if node.is_directory:
            yield from _descend(tree, _below(here, name, node))


def _below(here: _Found, name: bytes, node: Node) -> _Found:
    above = (*here.above, here.node) if here.names else here.above
    return _Found((*here.names, name), node, above)


def walk(
    tree: SourceTree, selected: Selected, exclude: Patterns | None = None
) -> Iterator[tuple[bytes, Node]]:
    """Yield what is copied: the path below `selected.name`, "" for itself, and the node.

    A directory comes before what is in it. `exclude` is matched against the path that the copy
    begins at: for a file its own name.
    """
    node = selected.node
    if not node.is_directory:
        name = selected.name if selected.above else selected.name.rpartition(b"/")[2]
        if not (exclude and exclude.match(_decode(name))[0]):
            yield b"", node
        return
    mask = 0
    prefix = b""
    if exclude and selected.name:
        # With --parents the patterns see the path below the pivot.
        prefix = selected.name + b"/"
        left_out, mask = exclude.match(_decode(selected.name))
        if left_out and not exclude.may_keep_below(_decode(selected.name)):
            return
    yield b"", node
    yield from _walk(tree, node, (b"", prefix, mask), exclude)


def _walk(
    tree: SourceTree, directory: Node, where: tuple[bytes, bytes, int], exclude: Patterns | None
) -> Iterator[tuple[bytes, Node]]:
    path, prefix, above = where
    for name, node in tree.children(directory).items():
        below = path + b"/" + name if path else name
        left_out, mask = False, 0
        if exclude:
            shown = _decode(prefix + below)
            left_out, mask = exclude.match(shown, above)
            if left_out and not (node.is_directory and exclude.may_keep_below(shown)):
                continue
        if not node.is_directory:
            yield below, node
            continue
        inside = _walk(tree, node, (below, prefix, mask), exclude)
        if left_out:
            # Only for what an exception lets in below it.
            first = next(inside, None)
            if first is None:
                continue
            yield below, node
            yield first
        else:
            yield below, node
        yield from inside


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _decode(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _bytes(names: list[str]) -> list[bytes]:
    return [_encode(name) for name in names]
