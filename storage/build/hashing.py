"""Digests of files' contents: each file read once, by several processes where that pays.

Threads would wait for each other: opening and reading small files is mostly work of the
interpreter. So the files are dealt out to forked children, which answer over pipes.
"""

import hashlib
import os
from collections.abc import Sequence

from storage.build.errors import ContextError
from storage.build.stat_cache import Key, StatCache, now_ns, stat_key
from storage.build.trees import SourceTree
from storage.layer_tree import Node
from storage.record import NamedTuple
from storage.tree import shown

_CHUNK_BYTES = 1 << 20
_WORKERS_LIMIT = 8
_WORTH_FILES = 1500
_WORTH_BYTES = 64 << 20
_COST_OF_FILE_BYTES = 30_000
_ATTEMPTS = 3
_DIGEST_BYTES = 32
_OK = b"\0"


class Hashed(NamedTuple):
    """What was read: the digest of each file by its stat key, and how many had to be read."""

    digests: dict[Key, bytes]
    read_files: int


def hash_files(
    tree: SourceTree, nodes: Sequence[Node], cache: StatCache, *, workers: int = 0
) -> Hashed:
    """Digest the contents of regular files; `workers` 0 means as many as there are processors.

    Raises ContextError for a file that cannot be read or does not keep still.
    """
    digests: dict[Key, bytes] = {}
    todo: dict[Key, Node] = {}
    for node in nodes:
        key = stat_key(node.found)
        known = cache.get(key)
        if known is not None:
            digests[key] = known
        else:
            todo[key] = node
    started_ns = now_ns()
    for key, digest in _read(tree, todo, workers or len(os.sched_getaffinity(0))).items():
        digests[key] = digest
        cache.put(key, digest, started_ns)
    return Hashed(digests, len(todo))


def _read(tree: SourceTree, todo: dict[Key, Node], workers: int) -> dict[Key, bytes]:
    total_bytes = sum(key[2] for key in todo)
    if len(todo) < _WORTH_FILES and (total_bytes < _WORTH_BYTES or len(todo) < 2):
        workers = 1
    if workers == 1:
        return {key: digest_file(tree, node) for key, node in todo.items()}
    return _read_side_by_side(tree, todo, min(workers, _WORKERS_LIMIT))


def digest_file(tree: SourceTree, node: Node) -> bytes:
    """Digest one file that is what its node says before and after. Raises ContextError."""
    for _ in range(_ATTEMPTS):
        digest = hashlib.sha256()
        try:
            fd = tree.open(node)
            try:
                before = os.fstat(fd)
                while chunk := os.read(fd, _CHUNK_BYTES):
                    digest.update(chunk)
                after = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise ContextError(f"read {tree.name}: {shown(node.path)}: {error.strerror}") from error
        if stat_key(before) == stat_key(after) == stat_key(node.found):
            return digest.digest()
        if stat_key(before) != stat_key(node.found):
            break
    raise ContextError(
        f"{tree.name}: {shown(node.path)} changes while it is read",
        remedy="run the command again when nothing writes there, or leave it out with a"
        " .containerignore file",
    )


def _read_side_by_side(tree: SourceTree, todo: dict[Key, Node], workers: int) -> dict[Key, bytes]:
    running: list[tuple[int, int, list[Key]]] = []
    digests: dict[Key, bytes] = {}
    try:
        for share in _deal(todo, workers):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _work(tree, [todo[key] for key in share], writer)
            os.close(writer)
            running.append((pid, reader, share))
        for _, reader, share in running:
            digests.update(_collect(reader, share))
    finally:
        for pid, reader, _ in running:
            os.close(reader)
            os.waitpid(pid, 0)
    return digests


def _deal(todo: dict[Key, Node], workers: int) -> list[list[Key]]:
    """Cut the files, in the order of the tree, into shares of about the same work."""
    total = sum(key[2] + _COST_OF_FILE_BYTES for key in todo)
    shares: list[list[Key]] = [[]]
    done = 0
    for key in todo:
        if done >= total * len(shares) // workers and len(shares) < workers:
            shares.append([])
        shares[-1].append(key)
        done += key[2] + _COST_OF_FILE_BYTES
    return shares


def _work(tree: SourceTree, nodes: list[Node], writer: int) -> None:
    """Body of a forked child; never returns."""
    try:
        answer = bytearray(_OK)
        try:
            for node in nodes:
                answer += digest_file(tree, node)
        except BaseException as error:  # noqa: BLE001 - top of a forked child
            text = getattr(error, "message", f"{type(error).__name__}: {error}")
            remedy = getattr(error, "remedy", "")
            answer = bytearray(f"{text}\0{remedy}".encode(errors="replace"))
        view = memoryview(answer)
        while view:
            view = view[os.write(writer, view) :]
    finally:
        os._exit(0)


def _collect(reader: int, share: list[Key]) -> dict[Key, bytes]:
    parts = []
    while part := os.read(reader, _CHUNK_BYTES):
        parts.append(part)
    data = b"".join(parts)
    if not data.startswith(_OK):
        message, _, remedy = data.decode(errors="replace").partition("\0")
        raise ContextError(message or "a process that read the context was killed", remedy=remedy)
    data = data[len(_OK) :]
    if len(data) != len(share) * _DIGEST_BYTES:
        raise ContextError("a process that read the context was killed")
    return {
        key: data[position * _DIGEST_BYTES : (position + 1) * _DIGEST_BYTES]
        for position, key in enumerate(share)
    }
