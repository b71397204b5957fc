import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import (
    Ambiguous,
    BlobMissing,
    ImageNotFound,
    InUse,
    InvalidDocument,
    InvalidReference,
)
from storage.images import (
    ImageRecord,
    commit_image,
    find_image,
    image_config,
    list_images,
    remove_image,
    tag_image,
    untag_image,
)
from storage.layout import Layout
from storage.names import list_names, name_path, name_target, set_name
from tests.unit.storage.stores import KEY, add_image, new_store


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


def test_image_is_found_in_every_way(layout: Layout) -> None:
    image = add_image(layout, "docker.io/library/app:1", [{"f": b"1"}])
    digest = image.manifest_digest
    for text in (
        "app:1",
        "docker.io/app:1",
        "docker.io/library/app:1",
        "library/app:1",
        image.image_id,
        image.image_id[:6],
        f"sha256:{image.image_id}",
        digest,
        f"app@{digest}",
        f"docker.io/library/app@{digest}",
    ):
        assert find_image(layout, text).manifest_digest == digest, text


@pytest.mark.parametrize(
    "text", ["app", "other:1", "quay.io/app:1", "ffffffffffff", "other@sha256:" + "0" * 64]
)
def test_unknown_image_is_an_error(layout: Layout, text: str) -> None:
    add_image(layout, "docker.io/library/app:1", [{"f": b"1"}])
    with pytest.raises(ImageNotFound) as caught:
        find_image(layout, text)
    assert text in caught.value.message


def test_name_at_digest_needs_the_name(layout: Layout) -> None:
    image = add_image(layout, "quay.io/a/app:1", [{"f": b"1"}])
    with pytest.raises(ImageNotFound):
        find_image(layout, f"quay.io/b/app@{image.manifest_digest}")


def test_wrong_name_is_an_error(layout: Layout) -> None:
    with pytest.raises(InvalidReference):
        find_image(layout, "App:1")


def test_short_name_prefers_local(layout: Layout) -> None:
    hub = add_image(layout, "docker.io/library/app:1", [{"f": b"hub"}])
    assert find_image(layout, "app:1").image_id == hub.image_id
    local = add_image(layout, "localhost/app:1", [{"f": b"local"}])
    assert find_image(layout, "app:1").image_id == local.image_id


def test_short_name_finds_other_registries(layout: Layout) -> None:
    image = add_image(layout, "registry.example:5000/team/app:1", [{"f": b"1"}])
    assert find_image(layout, "app:1").names == ("registry.example:5000/team/app:1",)
    assert find_image(layout, "team/app:1").image_id == image.image_id


def test_ambiguous_id_lists_candidates(layout: Layout) -> None:
    ids = [add_image(layout, f"localhost/a:{n}", [{"f": b"%d" % n}]).image_id for n in range(40)]
    first = next(i for i in ids if sum(j[0] == i[0] for j in ids) > 1)
    with pytest.raises(Ambiguous, match=first[0]):
        find_image(layout, first[0])


def test_record_survives_a_round_trip(layout: Layout) -> None:
    image = add_image(layout, None, [{"f": b"1"}, {"g": b"22"}])
    raw = json.loads(Path(layout.image_record(image.manifest_digest)).read_text())
    assert raw["version"] == 1
    assert ImageRecord.from_json(raw, "x") == image
    assert image.size_bytes == 3
    assert image.labels == {"a": "b"}


def test_broken_record_names_the_file(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    path = Path(layout.image_record(image.manifest_digest))
    path.write_text("{")
    with pytest.raises(InvalidDocument, match=str(path)):
        find_image(layout, "a:1")


def test_config_is_read(layout: Layout) -> None:
    image = add_image(layout, None, [{"f": b"1"}], config={"Cmd": ["x"], "Env": ["A=1"]})
    assert image_config(layout, image).env == ("A=1",)


def test_tagging_moves_a_name(layout: Layout) -> None:
    one = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    two = add_image(layout, "localhost/a:2", [{"f": b"2"}])
    assert tag_image(layout, "a:1", "a:2") == "localhost/a:2"
    assert find_image(layout, "a:2").image_id == one.image_id
    assert find_image(layout, two.image_id, all_names=True).names == ()
    listed = {image.image_id: image.names for image in list_images(layout)}
    assert listed == {one.image_id: ("localhost/a:1", "localhost/a:2"), two.image_id: ()}


def test_tag_with_a_digest_is_refused(layout: Layout) -> None:
    add_image(layout, "localhost/a:1", [{"f": b"1"}])
    with pytest.raises(InvalidReference):
        tag_image(layout, "a:1", "b@sha256:" + "0" * 64)


def test_very_long_names_have_files(layout: Layout) -> None:
    names = [f"host.example/{'a/' * 110}{letter}:{'t' * 100}" for letter in "xy"]
    for name in names:
        set_name(layout, name, "sha256:" + "0" * 64)
    assert sorted(list_names(layout)) == names
    assert name_path(layout, names[0]) != name_path(layout, names[1])
    assert name_target(layout, names[0]) == "sha256:" + "0" * 64


def test_untag_leaves_the_image(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    tag_image(layout, "a:1", "b:1")
    assert untag_image(layout, "a:1", ("b:1",)) == ("localhost/b:1",)
    with pytest.raises(ImageNotFound, match="has no name 'b:1'"):
        untag_image(layout, "a:1", ("b:1",))
    assert untag_image(layout, "a:1") == ("localhost/a:1",)
    assert find_image(layout, image.image_id).names == ()


def test_removing_one_of_two_names_keeps_the_image(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    tag_image(layout, "a:1", "b:1")
    # Who has seen it without a name, a moment ago, does not take it away.
    assert remove_image(layout, image.manifest_digest, force=True, unnamed=True)[:2] == ((), ())
    assert remove_image(layout, "a:1")[:2] == (("localhost/a:1",), ())
    assert remove_image(layout, "b:1")[:2] == (("localhost/b:1",), (image.image_id,))
    assert list_images(layout) == []


def test_removing_by_id_with_two_names_needs_force(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    tag_image(layout, "a:1", "b:1")
    with pytest.raises(InUse, match=r"localhost/a:1, localhost/b:1"):
        remove_image(layout, image.image_id[:12])
    removed = remove_image(layout, image.image_id[:12], force=True)
    assert removed.deleted == (image.image_id,)
    assert list_names(layout) == {}


def test_image_of_a_container_is_kept(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    os.mkdir(f"{layout.containers_dir}/{'c' * 64}")
    Path(layout.container("c" * 64).record).write_text(json.dumps({"image_id": image.image_id}))
    with pytest.raises(InUse, match="cccccccccccc"):
        remove_image(layout, "a:1")
    assert find_image(layout, "a:1").names == ("localhost/a:1",)


def test_commit_misses_blobs_and_layers(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}], key=None)
    with pytest.raises(BlobMissing, match="is not unpacked"):
        commit_image(layout, manifest_digest=image.manifest_digest, name=None, map_key=KEY)
    os.unlink(layout.blob(image.layer_digests[0]))
    with pytest.raises(BlobMissing, match=image.layer_digests[0]):
        commit_image(layout, manifest_digest=image.manifest_digest, name=None, map_key=None)


def test_index_shows_every_name_as_oci(layout: Layout) -> None:
    image = add_image(layout, "localhost/a:1", [{"f": b"1"}])
    tag_image(layout, "a:1", "b:1")
    index = json.loads(Path(layout.index_file).read_text())
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "localhost/a:1"},
        {"org.opencontainers.image.ref.name": "localhost/b:1"},
    ]
    entry = index["manifests"][0]
    manifest = json.loads(Path(layout.blob(entry["digest"])).read_bytes())
    assert entry["mediaType"] == manifest["mediaType"]
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["digest"] == image.config_digest


def test_an_empty_place_has_no_images(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "none"), str(tmp_path))
    assert list_images(layout) == []
    with pytest.raises(ImageNotFound):
        find_image(layout, "x")


def test_looking_up_an_image_loads_nothing_heavy() -> None:
    heavy = ("hashlib", "_hashlib", "re", "dataclasses", "threading", "logging", "tarfile",
             "subprocess", "xattr", "zstandard", "isal", "socket", "pathlib")  # fmt: skip
    code = (
        "import sys\n"
        "from storage import images, layers\n"
        "layers.map_key(((0, 1, 1),), ((0, 1, 1),)); layers.chain_ids(('a', 'b'))\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True, text=True, check=True, cwd=os.getcwd(),
    )  # fmt: skip
    loaded = done.stdout.split()
    # json brings re along.
    assert [name for name in loaded if name != "re"] == []
