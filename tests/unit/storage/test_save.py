"""Images saved and read again, in every form; digests stay."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from storage import save_target
from storage.archive import load_archive
from storage.blobs import read_blob, write_blob
from storage.errors import BlobMissing, DigestMismatch, DiskFull, InvalidArchive
from storage.images import ImageRecord, commit_image, find_image, remove_image
from storage.layout import Layout
from storage.oci.descriptor import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
)
from storage.oci.manifest import Manifest
from storage.save import FORMATS, SavedImage, save_images
from tests.unit.storage.stores import KEY, add_image, image_documents, layer_tar, new_store

LAYER = layer_tar({"f": b"text" * 5000})
PACKS: dict[str, Callable[[bytes], bytes]] = {
    OCI_LAYER: bytes,
    OCI_LAYER_GZIP: gzip.compress,
    OCI_LAYER_ZSTD: zstandard.ZstdCompressor().compress,
}
ARCHIVES = ("docker-archive", "oci-archive")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Layout:
    return new_store(tmp_path / "other")


def add_oci(layout: Layout, name: str, media_type: str) -> ImageRecord:
    _, config = image_documents([LAYER])
    layer = PACKS[media_type](LAYER)
    manifest = Manifest(
        OCI_MANIFEST,
        Descriptor(OCI_CONFIG, write_blob(layout, config), len(config)),
        (Descriptor(media_type, write_blob(layout, layer), len(layer)),),
        {"note": "kept"},
    )
    digest = write_blob(layout, json.dumps(manifest.to_json()).encode())
    return commit_image(layout, manifest_digest=digest, name=name, map_key=None)


def save(layout: Layout, record: ImageRecord, form: str, target: str | int) -> None:
    save_images(layout, [SavedImage(record, record.names)], form, target)


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD])
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_saved_image_is_loaded_again(
    layout: Layout, other: Layout, tmp_path: Path, form: str, media_type: str
) -> None:
    record = add_oci(layout, "quay.io/a/b:1", media_type)
    save(layout, record, form, f"{tmp_path}/saved")
    (found,) = load_archive(other, f"{tmp_path}/saved", KEY)
    assert (found.image_id, found.names) == (record.image_id, ("quay.io/a/b:1",))
    if form != "docker-archive":
        assert found.manifest_digest == record.manifest_digest
    if media_type != OCI_LAYER_ZSTD or form != "docker-archive":
        assert found.layer_digests == record.layer_digests
    assert os.listdir(layout.tmp_dir) == []
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_docker_cannot_read_zstd_so_the_layer_is_inflated(layout: Layout, tmp_path: Path) -> None:
    record = add_oci(layout, "quay.io/a/b:1", OCI_LAYER_ZSTD)
    save(layout, record, "docker-archive", f"{tmp_path}/saved")
    with tarfile.open(tmp_path / "saved") as archive:
        (entry,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        (layer,) = entry["Layers"]
        assert archive.extractfile(layer).read() == LAYER  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ARCHIVES)
def test_archive_is_the_same_every_time(layout: Layout, tmp_path: Path, form: str) -> None:
    record = add_image(layout, "a:1", [{"f": b"one"}, {"g": b"two"}])
    for name in ("first", "second"):
        save(layout, record, form, f"{tmp_path}/{name}")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").stat().st_size % 10240 == 0


def test_several_images_share_layers(layout: Layout, other: Layout, tmp_path: Path) -> None:
    one = add_image(layout, "a.io/one:1", [{"f": b"base"}])
    two = add_image(layout, "a.io/two:1", [{"f": b"base"}, {"g": b"more"}])
    images = [SavedImage(one, ("a.io/one:1", "a.io/uno:1")), SavedImage(two, ())]
    save_images(layout, images, "docker-archive", f"{tmp_path}/saved")
    with tarfile.open(tmp_path / "saved") as archive:
        assert len(archive.getnames()) == 1 + 2 + 2
    names = [record.names for record in load_archive(other, f"{tmp_path}/saved", KEY)]
    assert names == [("a.io/one:1", "a.io/uno:1"), ()]


def test_image_of_docker_keeps_its_manifest_in_a_dir(layout: Layout, tmp_path: Path) -> None:
    record = add_image(layout, "a:1", [{"f": b"one"}])
    save(layout, record, "docker-dir", f"{tmp_path}/dir")
    data = (tmp_path / "dir" / "manifest.json").read_bytes()
    assert data == read_blob(layout, record.manifest_digest)
    digests = (record.config_digest, *record.layer_digests)
    blobs = {digest.removeprefix("sha256:") for digest in digests}
    assert set(os.listdir(tmp_path / "dir")) == {"version", "manifest.json", *blobs}


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD])
def test_image_of_the_oci_becomes_dockers_in_a_dir(
    layout: Layout, tmp_path: Path, media_type: str
) -> None:
    save(layout, add_oci(layout, "a:1", media_type), "docker-dir", f"{tmp_path}/dir")
    manifest = Manifest.from_json(json.loads((tmp_path / "dir/manifest.json").read_bytes()), "m")
    assert "docker" in manifest.media_type
    assert not manifest.layers[0].media_type.endswith("zstd")
    for blob in (manifest.config, *manifest.layers):
        data = (tmp_path / "dir" / blob.digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == blob.digest
        assert len(data) == blob.size


def test_directory_of_the_oci_takes_further_images(
    layout: Layout, other: Layout, tmp_path: Path
) -> None:
    target = f"{tmp_path}/dir"
    save(layout, add_image(layout, "a.io/one:1", [{"f": b"old"}]), "oci-dir", target)
    save(layout, add_image(layout, "a.io/two:1", [{"f": b"two"}]), "oci-dir", target)
    replaced = add_image(layout, "a.io/one:1", [{"f": b"new"}])
    save(layout, replaced, "oci-dir", target)
    found = {record.names: record.image_id for record in load_archive(other, target, KEY)}
    assert set(found) == {("a.io/one:1",), ("a.io/two:1",)}
    assert found["a.io/one:1",] == replaced.image_id


@pytest.mark.parametrize("form", ["oci-dir", "docker-dir"])
def test_directory_of_something_else_is_refused(layout: Layout, tmp_path: Path, form: str) -> None:
    record = add_image(layout, "a:1", [{"f": b"one"}])
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "mine").write_text("x")
    with pytest.raises(InvalidArchive, match="not empty"):
        save(layout, record, form, f"{tmp_path}/dir")
    assert os.listdir(tmp_path / "dir") == ["mine"]


def test_directory_is_no_archive(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match="is a directory"):
        save(layout, add_image(layout, "a:1", [{}]), "oci-archive", str(tmp_path))


def test_dir_holds_one_image(layout: Layout, tmp_path: Path) -> None:
    record = add_image(layout, "a:1", [{}])
    with pytest.raises(InvalidArchive, match="exactly one"):
        save_images(layout, [SavedImage(record, ())] * 2, "docker-dir", f"{tmp_path}/d")


def test_standard_output_may_be_a_pipe_or_append(layout: Layout, tmp_path: Path) -> None:
    record = add_image(layout, "a:1", [{"f": b"x" * 70_000}])
    save(layout, record, "oci-archive", f"{tmp_path}/file")
    expected = (tmp_path / "file").read_bytes()
    fd = os.open(tmp_path / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    save(layout, record, "oci-archive", fd)
    os.close(fd)
    assert (tmp_path / "appended").read_bytes() == expected
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        save(layout, record, "oci-archive", writing)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == expected
    assert os.waitpid(pid, 0)[1] == 0


def test_special_file_is_written_to_and_not_replaced(layout: Layout) -> None:
    record = add_image(layout, "a:1", [{"f": b"x"}])
    save(layout, record, "docker-archive", "/dev/null")
    with pytest.raises(DiskFull, match="write /dev/full"):
        save(layout, record, "docker-archive", "/dev/full")


def test_failure_leaves_what_was_there(layout: Layout, tmp_path: Path) -> None:
    record = add_image(layout, "a:1", [{"f": b"x" * 5000}])
    (tmp_path / "file").write_text("before")
    os.truncate(layout.blob(record.layer_digests[0]), 600)
    layer = Path(layout.blob(record.layer_digests[0])).open("rb")  # noqa: SIM115
    with layer, pytest.raises(DigestMismatch, match="ends after 600 of 9000"):
        part = save_target.Part("l", 9000, fd=layer.fileno(), digest="sha256:l")
        with save_target.open_target(f"{tmp_path}/file") as fd:
            save_target.write_tar(fd, [part], lambda part: None)
    assert (tmp_path / "file").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["file", "store"]


def test_missing_blob_is_named(layout: Layout, tmp_path: Path) -> None:
    record = add_image(layout, "a:1", [{"f": b"x"}])
    os.unlink(layout.blob(record.layer_digests[0]))
    for form in FORMATS:
        with pytest.raises(BlobMissing, match="not in the store"):
            save(layout, record, form, f"{tmp_path}/{form}")
        assert not (tmp_path / form).exists()


def test_image_that_is_removed_meanwhile_is_saved(layout: Layout, other: Layout) -> None:
    record = add_image(layout, "a.io/b:1", [{"f": b"x" * 200_000}])
    out = io.BytesIO()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        save(layout, record, "docker-archive", writing)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        out.write(pipe.read(512))
        remove_image(layout, "a.io/b:1")
        os.unlink(layout.blob(record.layer_digests[0]))
        out.write(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    path = f"{other.store}/../archive"
    Path(path).write_bytes(out.getvalue())
    load_archive(other, path, KEY)
    assert find_image(other, "a.io/b:1").image_id == record.image_id
