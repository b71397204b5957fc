"""Names of images in files, and the images that they mean."""

import json
import shutil
from pathlib import Path

import pytest

from storage.archive import load_archive
from storage.errors import DigestMismatch, InvalidArchive, InvalidReference, StorageError
from storage.images import ImageRecord
from storage.layout import Layout
from storage.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, Descriptor, DescriptorPlatform
from storage.oci.index import Index
from storage.platform import host_platform
from storage.save import SavedImage, save_images
from storage.transports import Source, is_source, parse_source
from tests.unit.storage.stores import KEY, add_image, new_store


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("docker-archive:/a/b.tar", Source("/a/b.tar", "")),
        ("docker-archive:b.tar:quay.io:443/x:1", Source("b.tar", "quay.io:443/x:1")),
        ("oci:dir:1.0", Source("dir", "1.0")),
        ("oci-archive:b.tar:@2", Source("b.tar", "@2")),
        ("dir:/with:colon", Source("/with:colon", "")),
    ],
)
def test_name_is_split_at_the_first_colon(text: str, source: Source) -> None:
    assert is_source(text)
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text", ["debian", "debian:12", "docker://debian", "localhost:5000/oci:1", "oci", "ocix:y"]
)
def test_name_of_a_registry_is_no_source(text: str) -> None:
    assert not is_source(text)


@pytest.mark.parametrize("text", ["oci:", "dir:", "docker-archive::x"])
def test_source_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="a path is expected"):
        parse_source(text)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> str:
    """Path of an archive with two images."""
    made = new_store(tmp_path / "made")
    images = [
        SavedImage(add_image(made, name, [{"f": name.encode()}]), (name, f"{name}-too"))
        for name in ("a.io/one:1", "localhost/two:1")
    ]
    save_images(made, images, "docker-archive", f"{tmp_path}/two")
    return f"{tmp_path}/two"


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("a.io/one:1", ("a.io/one:1",)),
        ("two:1-too", ("localhost/two:1-too",)),
        ("@1", ("localhost/two:1", "localhost/two:1-too")),
    ],
)
def test_one_image_of_several(
    layout: Layout, two: str, wanted: str, names: tuple[str, ...]
) -> None:
    (record,) = load_archive(layout, two, KEY, wanted=wanted)
    assert record.names == names


@pytest.mark.parametrize("wanted", ["a.io/one:2", "@2", "@"])
def test_image_that_is_not_there(layout: Layout, two: str, wanted: str) -> None:
    with pytest.raises(StorageError) as caught:
        load_archive(layout, two, KEY, wanted=wanted)
    assert wanted in caught.value.message
    assert two in caught.value.message


def save_dir(tmp_path: Path) -> tuple[Path, ImageRecord]:
    made = new_store(tmp_path / "made")
    record = add_image(made, "a:1", [{"f": b"one"}, {"g": b"two"}])
    save_images(made, [SavedImage(record, ())], "docker-dir", f"{tmp_path}/dir")
    return tmp_path / "dir", record


def test_directory_of_the_dir_transport(layout: Layout, tmp_path: Path) -> None:
    path, saved = save_dir(tmp_path)
    (record,) = load_archive(layout, str(path), KEY)
    assert record.manifest_digest == saved.manifest_digest
    assert record.names == ()


def test_directory_with_several_platforms(layout: Layout, tmp_path: Path) -> None:
    path, saved = save_dir(tmp_path)
    shutil.move(path / "manifest.json", path / f"{saved.manifest_digest[7:]}.manifest.json")
    size = (path / f"{saved.manifest_digest[7:]}.manifest.json").stat().st_size
    entries = [
        Descriptor(DOCKER_MANIFEST, digest, size, DescriptorPlatform("linux", architecture, ""))
        for digest, architecture in (
            ("sha256:" + "0" * 64, "sparc"),
            (saved.manifest_digest, host_platform().architecture),
        )
    ]
    index = Index(DOCKER_LIST, tuple(entries), {})
    (path / "manifest.json").write_text(json.dumps(index.to_json()))
    (record,) = load_archive(layout, str(path), KEY)
    assert record.manifest_digest == saved.manifest_digest


def test_directory_with_changed_blobs_is_refused(layout: Layout, tmp_path: Path) -> None:
    path, saved = save_dir(tmp_path)
    (path / saved.layer_digests[1][7:]).write_bytes(b"something else")
    with pytest.raises(DigestMismatch, match="has the digest"):
        load_archive(layout, str(path), KEY)
    (path / saved.layer_digests[1][7:]).unlink()
    with pytest.raises(InvalidArchive, match="is missing"):
        load_archive(layout, str(path), KEY)
