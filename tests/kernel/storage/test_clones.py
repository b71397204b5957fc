"""Layers for other id maps out of those that are there: the same as if they had been unpacked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rootless import images
from rootless.container import space
from rootless.container.idmap import choose, storage_maps
from rootless.linux.userns import run_in_userns
from storage import clones
from storage.images import find_image
from storage.layers import map_key
from storage.unpacking import ensure_layers
from tests.conftest import InAccount
from tests.kernel.storage import layers, views
from tests.kernel.storage.layers import LOWER, MIDDLE, UPPER
from tests.kernel.storage.views import Tree
from tests.support.accounts import Account


def copied(source: int, target: int) -> bool:
    """Stand in for FICLONE where the file system has none."""
    while os.copy_file_range(source, target, 1 << 20):
        pass
    return True


def layer_trees(store: str, mode: str, how: str, *, shared: bool = False) -> list[Tree]:
    """Make the layers of an image for a map, in one of two ways; describe what is on disk."""
    host = views.host_of(store)
    record = find_image(host.layout, "hard:1")
    default = host.id_maps()
    maps = storage_maps(choose(mode, default, host.uid, host.gid), default)
    key = map_key(maps.uids, maps.gids)
    origin = clones.Origin(images.default_key(host), default.uids, default.gids)
    if not shared:
        clones._share = copied

    def work(_: object) -> object:
        made = 0
        if how == "clone":
            made = clones.clone_layers(
                host.layout, key, record.chain_ids, origin, clones.Origin(key, maps.uids, maps.gids)
            )
        else:
            ensure_layers(host.layout, key, record)
            made = len(record.chain_ids)
        assert made == len(record.chain_ids)
        return [views.tree_of(host.layout.layer_diff(key, one)) for one in record.chain_ids]

    found = run_in_userns(work, maps)
    assert isinstance(found, list)
    shutil.rmtree(host.layout.layers_dir(key), ignore_errors=True)
    run_in_userns(lambda _: shutil.rmtree(host.layout.layers_dir(key), ignore_errors=True), maps)
    return found


@pytest.mark.parametrize("mode", ["keep-id", "keep-id:uid=50,gid=6", "nomap"])
def test_a_clone_is_what_unpacking_makes(
    in_account: InAccount, store: str, share: Path, mode: str
) -> None:
    path = share / "image.tar"
    parts = [layers.layer(part) for part in (LOWER, MIDDLE, UPPER)]
    path.write_bytes(layers.docker_archive(parts))
    in_account(views.load, store, str(path))
    unpacked = in_account(layer_trees, store, mode, "unpack")
    cloned = in_account(layer_trees, store, mode, "clone")
    assert [len(tree) for tree in cloned] == [len(tree) for tree in unpacked]
    for one, other in zip(cloned, unpacked, strict=True):
        assert _without_moments(one) == _without_moments(other)


def _without_moments(tree: Tree) -> Tree:
    """A whiteout has the time at which it was made here."""
    return {
        name: [*entry[:4], *entry[5:]] if str(entry[0]).startswith("c") else entry
        for name, entry in tree.items()
    }


@pytest.mark.full
@pytest.mark.parametrize("system", ["xfs", "btrfs"])
def test_keep_id_takes_no_second_space_and_none_is_counted(
    in_account: InAccount, account: Account, share: Path, system: str
) -> None:
    if os.getuid() != 0 or shutil.which(f"mkfs.{system}") is None:
        pytest.skip(f"only root mounts a file system; mkfs.{system} makes one")
    disk, mount, path = share / "disk", share / "mount", share / "image.tar"
    data = os.urandom(50 << 20)
    path.write_bytes(layers.docker_archive([layers.layer([layers.Member("big", data)])]))
    with open(disk, "wb") as file:
        file.truncate(400 << 20)
    subprocess.run([f"mkfs.{system}", "-q", disk], check=True)
    mount.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, mount], check=True)
    try:
        store = f"{mount}/store"
        os.mkdir(store)
        os.chown(store, account.uid, account.gid)
        in_account(views.load, store, str(path))
        before = _used_bytes(mount)
        counted = in_account(counted_bytes, store)
        in_account(keep_id, store)
        assert _used_bytes(mount) - before < 5 << 20
        counted_more = in_account(counted_bytes, store) - counted
        assert 0 < counted_more < 5 << 20
        # The first of the copies counts: all is there once.
        assert counted > len(data)
    finally:
        subprocess.run(["umount", mount], check=True)


def counted_bytes(store: str) -> int:
    """Return what `system df` says of the whole store."""
    return space.total(views.host_of(store)).size_bytes


def keep_id(store: str) -> None:
    """Get an image ready for --userns=keep-id, as a run does."""
    host = views.host_of(store)
    maps = storage_maps(choose("keep-id", host.id_maps(), host.uid, host.gid), host.id_maps())
    key = map_key(maps.uids, maps.gids)
    images.ensure_unpacked(host, find_image(host.layout, "hard:1"), maps, key)


def _used_bytes(path: Path) -> int:
    os.sync()
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
