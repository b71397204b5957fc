"""Files are read once, by several processes, and not again while their stat data stay."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from storage.build.errors import ContextError
from storage.build.hashing import hash_files
from storage.build.host_tree import HostTree
from storage.build.stat_cache import StatCache, now_ns, stat_key
from storage.layer_tree import Node
from tests.unit.storage.build.copies import make_tree


def old(path: str) -> None:
    """Wait until nothing could be written any more without a new time of change."""
    while os.stat(path).st_ctime_ns + 60_000_000 > now_ns():
        time.sleep(0.01)


def nodes_of(tree: HostTree) -> list[Node]:
    return [node for node in tree.children(tree.root()).values() if node.is_file]


def hash_directory(top: str, cache: StatCache, workers: int = 1) -> tuple[dict[bytes, bytes], int]:
    tree = HostTree(top)
    nodes = nodes_of(tree)
    found = hash_files(tree, nodes, cache, workers=workers)
    tree.close()
    by_name = {node.path: found.digests[stat_key(node.found)] for node in nodes}
    return by_name, found.read_files


def test_several_workers_agree_with_one(tmp_path: Path) -> None:
    top = make_tree(f"{tmp_path}/t", {f"f{number}": f"{number}" * number for number in range(1600)})
    alone, _ = hash_directory(top, StatCache(""))
    several, read = hash_directory(top, StatCache(""), workers=3)
    assert several == alone
    assert read == 1600
    assert alone[b"f7"] == hashlib.sha256(b"7" * 7).digest()


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    top = make_tree(f"{tmp_path}/t", {"a": "1", "b": "2", "c": "3"})
    old(f"{top}/c")
    cache = StatCache(f"{tmp_path}/cache/file")
    first, read = hash_directory(top, cache)
    assert read == 3
    cache.save()
    make_tree(top, {"b": "9"})
    second, read = hash_directory(top, StatCache(f"{tmp_path}/cache/file").load())
    assert read == 1
    assert second == {**first, b"b": hashlib.sha256(b"9").digest()}


def test_what_may_still_change_unseen_is_read_again(tmp_path: Path) -> None:
    top = make_tree(f"{tmp_path}/t", {"a": "1"})
    cache = StatCache(f"{tmp_path}/cache")
    key = stat_key(os.stat(f"{top}/a"))
    cache.put(key, b"x" * 32, key[4] + 1)
    assert cache.get(key) is None


@pytest.mark.parametrize(
    "damage", [b"", b"rpod-digests-1\n", b"x" * 500], ids=["empty", "cut", "junk"]
)
def test_damaged_cache_counts_as_empty(tmp_path: Path, damage: bytes) -> None:
    top = make_tree(f"{tmp_path}/t", {"a": "1"})
    old(f"{top}/a")
    path = f"{tmp_path}/cache"
    cache = StatCache(path)
    hash_directory(top, cache)
    cache.save()
    with open(path, "r+b") as file:
        if damage:
            file.write(damage)
        else:
            file.truncate(0)
        file.truncate(70)
    assert hash_directory(top, StatCache(path).load())[1] == 1


def test_flipped_bit_in_the_cache_is_noticed(tmp_path: Path) -> None:
    top = make_tree(f"{tmp_path}/t", {"a": "1"})
    old(f"{top}/a")
    path = f"{tmp_path}/cache"
    cache = StatCache(path)
    hash_directory(top, cache)
    cache.save()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert hash_directory(top, StatCache(path).load())[1] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_file_that_changes_is_an_error(tmp_path: Path, workers: int) -> None:
    top = make_tree(f"{tmp_path}/t", {f"f{number}": "1" for number in range(1600)})
    tree = HostTree(top)
    nodes = nodes_of(tree)
    make_tree(top, {"f5": "longer"})
    with pytest.raises(ContextError, match="changes while it is read"):
        hash_files(tree, nodes, StatCache(""), workers=workers)
    tree.close()
