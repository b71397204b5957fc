import hashlib
import io
import os
import threading
from pathlib import Path

import pytest

from storage.errors import BlobMissing, InvalidLayer
from storage.layer_set import LayerSet
from storage.layers import LayerBuilder, chain_ids, has_layer, map_key, read_layer
from storage.layout import Layout
from storage.oci.descriptor import OCI_LAYER
from storage.unpack import UnpackResult
from storage.unpacking import ensure_layers
from tests.unit.storage.stores import KEY, add_image, layer_tar, new_store
from tests.unit.storage.test_unpack import archive, file, hard_link

DIFF = tuple("sha256:" + letter * 64 for letter in "abc")
RESULT = UnpackResult(DIFF[0], 1, 1, (), ())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second, third = chain_ids(DIFF)
    assert first == DIFF[0]
    expected = "sha256:" + hashlib.sha256(f"{DIFF[0]} {DIFF[1]}".encode()).hexdigest()
    assert second == expected
    assert third == "sha256:" + hashlib.sha256(f"{expected} {DIFF[2]}".encode()).hexdigest()


def test_map_key_depends_on_the_whole_map() -> None:
    base = ((0, 1000, 1), (1, 100_000, 65536))
    keys = {
        map_key(base, base),
        map_key(base, base[:1]),
        map_key(base[:1], base),
        map_key(((0, 1001, 1), base[1]), base),
        map_key(((0, 1000, 1), (1, 100_000, 65535)), base),
    }
    assert len(keys) == 5
    assert map_key(tuple(reversed(base)), base) == map_key(base, base)


def test_unpublished_layer_disappears(layout: Layout) -> None:
    with LayerBuilder(layout, KEY, DIFF[0]) as builder:
        Path(builder.diff, "x").touch()
    assert os.listdir(layout.tmp_dir) == []
    assert not has_layer(layout, KEY, DIFF[0])


def test_two_builders_of_one_layer_are_harmless(layout: Layout) -> None:
    with LayerBuilder(layout, KEY, DIFF[0]) as one, LayerBuilder(layout, KEY, DIFF[0]) as two:
        Path(one.diff, "one").touch()
        one.publish(RESULT)
        two.publish(RESULT)
    assert os.listdir(layout.layer_diff(KEY, DIFF[0])) == ["one"]
    assert os.listdir(layout.tmp_dir) == []
    assert read_layer(layout, KEY, DIFF[0]).size_bytes == 1


def test_missing_layer_is_an_error(layout: Layout) -> None:
    with pytest.raises(BlobMissing):
        read_layer(layout, KEY, DIFF[0])


def test_ensure_layers_unpacks_for_another_map(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}, {"g": b"2"}, {"f": b"3"}])
    ensure_layers(layout, "other", image)
    for chain, name in zip(image.chain_ids, ("f", "g", "f"), strict=True):
        assert os.listdir(layout.layer_diff("other", chain)) == [name]


def test_ensure_layers_reports_a_missing_blob(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    os.unlink(layout.blob(image.layer_digests[0]))
    with pytest.raises(BlobMissing, match="not in the store"):
        ensure_layers(layout, "other", image)
    assert os.listdir(layout.tmp_dir) == []


def test_damaged_layer_blob_is_never_published(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    Path(layout.blob(image.layer_digests[0])).write_bytes(layer_tar({"f": b"2"}))
    with pytest.raises(Exception, match="instead of"):
        ensure_layers(layout, "other", image)
    assert not has_layer(layout, "other", image.chain_ids[0])


def test_many_at_once_unpack_each_layer_once(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{f"f{n}": b"%d" % n} for n in range(6)])
    done: list[str] = []
    threads = [
        threading.Thread(
            target=ensure_layers,
            args=(layout, "other", image, lambda event: done.append(event.kind)),
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("unpack-done") == 6
    assert os.listdir(layout.tmp_dir) == []


def test_hard_links_into_lower_layers_wait_for_them(layout: Layout) -> None:
    tars = [archive(file("a/f", b"content")), archive(hard_link("b/g", "a/f"))]
    diff_ids = tuple("sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars)
    chains = chain_ids(diff_ids)
    with LayerSet(layout, KEY, diff_ids) as layers:
        for position in (1, 0):
            layers.unpack(position, io.BytesIO(tars[position]), OCI_LAYER)
        assert not layers.is_unpacked(1)
        layers.finish()
        assert layers.is_unpacked(1)
    assert Path(layout.layer_diff(KEY, chains[1]), "b/g").read_bytes() == b"content"
    assert read_layer(layout, KEY, chains[1]).size_bytes == len(b"content")
    assert os.listdir(layout.tmp_dir) == []


def test_hard_link_into_nothing_is_an_error(layout: Layout) -> None:
    tar = archive(hard_link("b/g", "a/f"))
    with LayerSet(layout, KEY, ("sha256:" + hashlib.sha256(tar).hexdigest(),)) as layers:
        layers.unpack(0, io.BytesIO(tar), OCI_LAYER)
        with pytest.raises(InvalidLayer, match="is in no lower layer"):
            layers.finish()
    assert os.listdir(layout.tmp_dir) == []
