import errno
import json
import os
import time
from pathlib import Path

import pytest

from storage.errors import InvalidDocument
from storage.files import Lock
from storage.gc import collect
from storage.images import image_config, remove_image
from storage.layers import has_layer
from storage.layout import Layout
from storage.scratch import Scratch
from tests.unit.storage.stores import KEY, add_image, new_store

DAY_S = 24 * 3600


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


def test_removed_image_leaves_nothing(layout: Layout) -> None:
    add_image(layout, "localhost/a:1", [{"f": b"1"}, {"g": b"2"}])
    remove_image(layout, "a:1")
    result = collect(layout)
    assert (result.blobs, result.layers) == (5, 2)
    for directory in (layout.blobs_dir, layout.layers_dir(KEY), layout.images_dir,
                      layout.names_dir, layout.tmp_dir, layout.partial_dir):  # fmt: skip
        assert os.listdir(directory) == [], directory


def test_shared_layers_stay(layout: Layout) -> None:
    kept = add_image(layout, "localhost/a:1", [{"f": b"1"}, {"g": b"2"}])
    gone = add_image(layout, "localhost/b:1", [{"f": b"1"}, {"g": b"3"}])
    remove_image(layout, "b:1")
    collect(layout)
    assert all(has_layer(layout, KEY, chain) for chain in kept.chain_ids)
    assert not has_layer(layout, KEY, gone.chain_ids[1])
    assert image_config(layout, kept).cmd == ("sh",)
    assert all(os.path.exists(layout.blob(digest)) for digest in kept.layer_digests)


def test_work_of_another_command_stays_for_a_day(layout: Layout) -> None:
    """Blobs and layers without a record may belong to a pull that is still running."""
    image = add_image(layout, None, [{"f": b"1"}])
    os.unlink(layout.image_record(image.manifest_digest))
    assert collect(layout) == (0, 0, 0)
    assert has_layer(layout, KEY, image.chain_ids[0])
    assert collect(layout, now_s=time.time() + 2 * DAY_S)[:2] == (4, 1)


def test_copies_for_other_maps_go_when_no_container_has_them(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    chain = image.chain_ids[0]
    os.makedirs(f"{layout.layer('other', chain)}/diff")
    collect(layout, now_s=time.time() + 2 * DAY_S)
    assert has_layer(layout, "other", chain)
    collect(layout, default_key=KEY)
    assert has_layer(layout, "other", chain)
    collect(layout, default_key=KEY, now_s=time.time() + 2 * 3600)
    assert not has_layer(layout, "other", chain)
    assert has_layer(layout, KEY, chain)


def test_layers_of_a_container_stay(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    remove_image(layout, "a:1")
    os.mkdir(f"{layout.containers_dir}/c1")

    class Container:
        map_key = KEY
        chain_ids = image.chain_ids
        image_mounts = ()

    monkeypatch.setattr("storage.gc.read_record", lambda layout, container_id: Container)
    assert collect(layout).layers == 0
    assert has_layer(layout, KEY, image.chain_ids[0])


def test_nothing_goes_while_a_container_record_is_broken(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    remove_image(layout, "a:1")
    os.mkdir(f"{layout.containers_dir}/c1")
    Path(layout.container("c1").record).write_text("{")
    assert collect(layout)[:2] == (0, 0)
    assert has_layer(layout, KEY, image.chain_ids[0])
    os.unlink(layout.container("c1").record)
    assert collect(layout)[:2] == (0, 0)
    os.rmdir(layout.container("c1").directory)
    assert collect(layout)[:2] == (4, 1)


def test_old_partials_go_unless_somebody_fetches(layout: Layout) -> None:
    for name in ("a" * 64, "b" * 64, "c" * 64):
        Path(f"{layout.partial_dir}/{name}").write_bytes(b"x")
    old = time.time() - 8 * DAY_S
    os.utime(f"{layout.partial_dir}/{'a' * 64}", (old, old))
    os.utime(f"{layout.partial_dir}/{'b' * 64}", (old, old))
    with Lock(layout.lock(f"blob-{'b' * 64}")):
        collect(layout)
    assert sorted(os.listdir(layout.partial_dir)) == ["b" * 64, "c" * 64]


def test_abandoned_scratch_goes_and_a_used_one_stays(layout: Layout) -> None:
    abandoned = f"{layout.tmp_dir}/layer-1-abc"
    os.makedirs(f"{abandoned}/layer/diff/deep", mode=0o700)
    Path(f"{abandoned}/layer/diff/f").write_text("x")
    os.chmod(f"{abandoned}/layer/diff", 0o500)
    Path(f"{layout.tmp_dir}/stray").write_text("x")
    with Scratch(layout, "used") as used:
        collect(layout)
        assert os.listdir(layout.tmp_dir) == [os.path.basename(used.path)]
    assert os.listdir(layout.tmp_dir) == []


def test_container_without_record_is_damaged(layout: Layout) -> None:
    os.mkdir(f"{layout.containers_dir}/half")
    with pytest.raises(InvalidDocument):
        from storage.containers import read_record

        read_record(layout, "half")


def test_gone_records_are_json(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    remove_image(layout, "a:1")
    raw = json.loads(Path(layout.gone_record(image.manifest_digest)).read_text())
    assert raw["image_id"] == image.image_id
    add_image(layout, "localhost/a:1", [{"f": b"1"}])
    collect(layout)
    assert has_layer(layout, KEY, image.chain_ids[0])
    assert not os.path.exists(layout.gone_record(image.manifest_digest))


def test_image_goes_where_a_full_disk_renames_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As xfs does when a directory would have to grow."""
    kept = add_image(layout, "localhost/a:1", [{"f": b"1"}, {"g": b"2"}])
    gone = add_image(layout, "localhost/b:1", [{"f": b"1"}, {"g": b"3"}])
    rename = os.rename

    def full(source: str, target: str) -> None:
        if source.endswith(".json") and target.endswith(".gone"):
            raise OSError(errno.ENOSPC, "No space left on device", target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", full)
        result = remove_image(layout, "b:1")
        assert result.deleted == (gone.image_id,)
        collect(layout, left=result.left)
    assert not os.path.exists(layout.blob(gone.layer_digests[1]))
    assert image_config(layout, kept).cmd == ("sh",)
    assert all(os.path.exists(layout.blob(digest)) for digest in kept.layer_digests)
    assert not has_layer(layout, KEY, gone.chain_ids[1])
    assert all(has_layer(layout, KEY, chain) for chain in kept.chain_ids)
