"""Archives of images, whole and broken; layers belong to the caller, so no namespace is needed."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from storage.archive import import_rootfs, load_archive
from storage.errors import (
    DigestMismatch,
    InvalidArchive,
    InvalidDocument,
    InvalidReference,
    NoMatchingPlatform,
    StorageError,
)
from storage.events import Event
from storage.images import find_image, image_config
from storage.layout import Layout
from storage.platform import host_platform
from tests.unit.storage.stores import KEY, image_documents, layer_tar, new_store

LAYERS = [layer_tar({"f": b"one"}), layer_tar({"g": b"two"})]
MANIFEST, CONFIG = image_documents(LAYERS)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_store(tmp_path)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def docker_files(**changes: object) -> dict[str, bytes]:
    entry = {
        "Config": "config.json",
        "RepoTags": ["app:1", "quay.io/a/app:2"],
        "Layers": ["0/layer.tar", "1/layer.tar"],
        **changes,
    }
    return {
        "0/layer.tar": LAYERS[0],
        "1/layer.tar": LAYERS[1],
        "config.json": CONFIG,
        "manifest.json": json.dumps([entry]).encode(),
    }


def oci_files(annotations: dict[str, str] | None = None) -> dict[str, bytes]:
    manifest = MANIFEST.replace(
        b"vnd.docker.distribution.manifest.v2+json", b"vnd.oci.image.manifest.v1+json"
    ).replace(b"vnd.docker.container.image.v1+json", b"vnd.oci.image.config.v1+json")
    manifest = manifest.replace(b"vnd.docker.image.rootfs.diff.tar", b"vnd.oci.image.layer.v1.tar")
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(manifest),
        "size": len(manifest),
        "annotations": annotations or {},
    }
    files = {f"blobs/sha256/{digest(d)[7:]}": d for d in (*LAYERS, CONFIG, manifest)}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return files


def load(layout: Layout, tmp_path: Path, data: bytes) -> list[tuple[str, ...]]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return [record.names for record in load_archive(layout, str(path), KEY)]


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, zstandard.compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
def test_docker_archive(layout: Layout, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert load(layout, tmp_path, pack(tar(docker_files()))) == [
        ("docker.io/library/app:1", "quay.io/a/app:2")
    ]
    image = find_image(layout, "app:1")
    assert image.image_id == digest(CONFIG)[7:]
    assert image_config(layout, image).cmd == ("sh",)
    found = [os.listdir(layout.layer_diff(KEY, chain)) for chain in image.chain_ids]
    assert found == [["f"], ["g"]]
    assert os.listdir(layout.tmp_dir) == []


def test_manifest_may_come_first_and_layers_may_be_links(layout: Layout, tmp_path: Path) -> None:
    files = docker_files(Layers=["a/layer.tar", "b/layer.tar"])
    files = {"manifest.json": files.pop("manifest.json"), **files}
    links = {"a/layer.tar": "../0/layer.tar", "b/layer.tar": "../1/layer.tar"}
    assert len(load(layout, tmp_path, tar(files, links))) == 1


def test_later_member_of_a_name_counts(layout: Layout, tmp_path: Path) -> None:
    wrong = tar({"config.json": b"{}", "0/layer.tar": b"x"})
    assert len(load(layout, tmp_path, wrong[: 4 * 512] + tar(docker_files()))) == 1


def test_layers_may_be_compressed(layout: Layout, tmp_path: Path) -> None:
    files = docker_files()
    files["0/layer.tar"] = gzip.compress(LAYERS[0])
    files["1/layer.tar"] = zstandard.compress(LAYERS[1])
    load(layout, tmp_path, tar(files))
    kinds = [kind.rpartition(".")[2] for kind in find_image(layout, "app:1").layer_media_types]
    assert kinds == ["gzip", "zstd"]


def test_archive_without_names_has_an_id(layout: Layout, tmp_path: Path) -> None:
    assert load(layout, tmp_path, tar(docker_files(RepoTags=None))) == [()]
    assert find_image(layout, digest(CONFIG)[7:19]).image_id == digest(CONFIG)[7:]


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({}, ()),
        ({"org.opencontainers.image.ref.name": "1.0"}, ("localhost/1.0:latest",)),
        ({"org.opencontainers.image.ref.name": "quay.io/a:1"}, ("quay.io/a:1",)),
        (
            {
                "org.opencontainers.image.ref.name": "1",
                "io.containerd.image.name": "docker.io/library/a:1",
            },
            ("docker.io/library/a:1",),
        ),
    ],
    ids=["none", "tag", "full", "containerd"],
)
def test_oci_archive_and_directory(
    layout: Layout, tmp_path: Path, annotations: dict[str, str], names: tuple[str, ...]
) -> None:
    files = oci_files(annotations)
    assert load(layout, tmp_path, tar(files)) == [names]
    directory = tmp_path / "layout"
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    assert [record.names for record in load_archive(layout, str(directory), KEY)] == [names]


def test_archive_in_both_formats_has_all_names(layout: Layout, tmp_path: Path) -> None:
    files = oci_files({"org.opencontainers.image.ref.name": "1"})
    entry = {"Config": f"blobs/sha256/{digest(CONFIG)[7:]}", "RepoTags": ["a:1", "a:2"],
             "Layers": []}  # fmt: skip
    files["manifest.json"] = json.dumps([entry]).encode()
    assert load(layout, tmp_path, tar(files)) == [
        ("docker.io/library/a:1", "docker.io/library/a:2")
    ]


def _index_of_platforms(platforms: list[str]) -> dict[str, bytes]:
    files = oci_files()
    index = json.loads(files["index.json"])
    [entry] = index["manifests"]
    del entry["annotations"]
    entries = [{**entry, "platform": {"os": "linux", "architecture": name}} for name in platforms]
    inner = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files[f"blobs/sha256/{digest(inner)[7:]}"] = inner
    index["manifests"] = [
        {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest(inner),
            "size": len(inner),
            "annotations": {"org.opencontainers.image.ref.name": "localhost/multi:1"},
        }
    ]
    files["index.json"] = json.dumps(index).encode()
    return files


def test_index_by_platform(layout: Layout, tmp_path: Path) -> None:
    files = _index_of_platforms(["s390x", host_platform().architecture])
    assert load(layout, tmp_path, tar(files)) == [("localhost/multi:1",)]


def test_index_without_this_platform(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(NoMatchingPlatform, match="linux/sparc"):
        load(layout, tmp_path, tar(_index_of_platforms(["sparc"])))


def _changed(name: str, data: bytes) -> bytes:
    return tar({**docker_files(), name: data})


def _without(name: str) -> bytes:
    files = docker_files()
    del files[name]
    return tar(files)


def _oci_changed(find: bytes, replace: bytes) -> bytes:
    files = oci_files()
    return tar({name: data.replace(find, replace) for name, data in files.items()})


BROKEN: dict[str, tuple[bytes, type[StorageError], str]] = {
    "empty": (b"", InvalidArchive, "no image archive"),
    "text": (b"hello\n" * 500, InvalidArchive, "not a tar archive"),
    "cut": (tar(docker_files())[:20_000], InvalidArchive, "ends in the middle"),
    "cut-gzip": (gzip.compress(tar(docker_files()))[:-9], InvalidArchive, "ends too early"),
    "rootfs": (LAYERS[0], InvalidArchive, "neither manifest.json nor index.json"),
    "no-layer": (_without("0/layer.tar"), InvalidArchive, "'0/layer.tar' is missing"),
    "no-config": (_without("config.json"), InvalidArchive, "'config.json' is missing"),
    "html": (_changed("manifest.json", b"<html>"), InvalidDocument, "not JSON"),
    "object": (_changed("manifest.json", b"{}"), InvalidArchive, "not a list"),
    "no-image": (_changed("manifest.json", b"[]"), InvalidArchive, "no image in it"),
    "types": (tar(docker_files(Layers="x")), InvalidDocument, "manifest.json[0].Layers: an array"),
    "tag": (tar(docker_files(RepoTags=["A B"])), InvalidDocument, "image name 'A B'"),
    "config": (_changed("config.json", b'{"rootfs":1}'), InvalidDocument, "rootfs: an object"),
    "counts": (tar(docker_files(Layers=["0/layer.tar"])), InvalidDocument, "2 diff_ids for the 1"),
    "outside": (tar(docker_files(Config="../../../etc/passwd")), InvalidArchive, "is missing"),
    "absolute": (tar(docker_files(Config="/etc/passwd")), InvalidArchive, "is missing"),
    "bzip2-layer": (
        _changed("0/layer.tar", bz2.compress(LAYERS[0])), InvalidArchive, "compressed with bzip2",
    ),
    "other-layer": (
        _changed("0/layer.tar", layer_tar({"x": b"evil"})), DigestMismatch, "instead of",
    ),
    "layer-text": (_changed("0/layer.tar", b"text" * 500), StorageError, "not a tar archive"),
    "oci-blob": (_oci_changed(b"one", b"two"), DigestMismatch, "has the digest"),
    "oci-index": (tar({"index.json": b"[]"}), InvalidDocument, "an object is expected"),
    "oci-digest": (_oci_changed(b'"sha256:', b'"sha512:'), InvalidDocument, "sha512 is not"),
    "oci-missing": (
        tar({"index.json": oci_files()["index.json"]}), InvalidArchive, "is missing in it",
    ),
    "large": (
        _changed("manifest.json", b" " * (5 << 20)), InvalidDocument, "too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archive_is_a_clear_error(layout: Layout, tmp_path: Path, name: str) -> None:
    data, kind, why = BROKEN[name]
    with pytest.raises(kind) as caught:
        load(layout, tmp_path, data)
    assert why in caught.value.message
    assert str(tmp_path / "archive") in caught.value.message
    assert "\n" not in caught.value.message
    for directory in (layout.tmp_dir, layout.partial_dir, layout.images_dir, layout.names_dir):
        assert os.listdir(directory) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_layer_unlike_its_diff_id_is_refused_when_the_promised_one_is_there(
    layout: Layout, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Nothing would have to be unpacked, so nothing but the check looks into the layer."""
    load(layout, tmp_path, tar(docker_files()))
    names, blobs = os.listdir(layout.names_dir), os.listdir(layout.blobs_dir)
    lie = docker_files(RepoTags=["lie:1"])
    lie["1/layer.tar"] = pack(layer_tar({"g": b"delivered"}))
    with pytest.raises(DigestMismatch):
        load(layout, tmp_path, tar(lie))
    assert os.listdir(layout.names_dir) == names
    assert os.listdir(layout.tmp_dir) == []
    image = find_image(layout, "app:1")
    with open(f"{layout.layer_diff(KEY, image.chain_ids[1])}/g", "rb") as file:
        assert file.read() == b"two"
    assert set(os.listdir(layout.blobs_dir)) >= set(blobs)


def test_missing_archive_is_named(layout: Layout) -> None:
    with pytest.raises(InvalidArchive, match="load /none: No such file"):
        load_archive(layout, "/none", KEY)


def test_links_of_a_layout_directory_lead_nowhere(layout: Layout, tmp_path: Path) -> None:
    files = oci_files()
    index = files["index.json"].replace(b"sha256:", b"sha256:../../")
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "index.json").write_bytes(index)
    with pytest.raises(InvalidDocument, match="is not a digest"):
        load_archive(layout, str(tmp_path / "layout"), KEY)


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, zstandard.compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
def test_import_of_an_archive(
    layout: Layout, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(LAYERS[0])
    (tmp_path / "rootfs").write_bytes(packed)
    events: list[Event] = []
    record = import_rootfs(
        layout, str(tmp_path / "rootfs"), KEY, reference="mine",
        changes=lambda config: {**config, "Cmd": ["sh"], "Env": ["A=1"]},
        message="why", events=events.append,
    )  # fmt: skip
    assert record.names == ("localhost/mine:latest",)
    assert record.diff_ids == (digest(LAYERS[0]),)
    config = image_config(layout, record)
    assert (config.cmd, config.env) == (("sh",), ("A=1",))
    assert config.history[0]["comment"] == "why"
    stored = Path(layout.blob(record.layer_digests[0])).read_bytes()
    if record.layer_media_types[0].endswith("zstd"):
        assert stored == packed
    else:
        assert gzip.decompress(stored) == LAYERS[0]
    assert os.listdir(layout.layer_diff(KEY, record.chain_ids[0])) == ["f"]
    assert [event.kind for event in events] == ["blob-done", "unpack-done"]


def test_import_of_a_directory(layout: Layout, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "f").write_bytes(b"x" * 1000)
    os.link(root / "a" / "f", root / "g")
    (root / "s").symlink_to("../../etc/passwd")
    record = import_rootfs(layout, str(root), KEY)
    assert record.names == ()
    diff = Path(layout.layer_diff(KEY, record.chain_ids[0]))
    assert (diff / "g").stat().st_ino == (diff / "a" / "f").stat().st_ino
    assert os.readlink(diff / "s") == "../../etc/passwd"
    assert (diff / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"text" * 500, "not a tar archive"),
        (bytes(2000), "it is empty"),
        (LAYERS[0][:514], "ends in the middle"),
        (gzip.compress(LAYERS[0])[:-10], "too early"),
    ],
    ids=["empty", "text", "zeros", "cut", "cut-gzip"],
)
def test_import_of_what_is_none(layout: Layout, tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "rootfs").write_bytes(data)
    with pytest.raises(InvalidArchive) as caught:
        import_rootfs(layout, str(tmp_path / "rootfs"), KEY)
    assert why in caught.value.message
    for directory in (layout.tmp_dir, layout.partial_dir, layout.blobs_dir, layout.images_dir):
        assert os.listdir(directory) == []


def test_wrong_name_is_refused_before_any_work(layout: Layout) -> None:
    with pytest.raises(InvalidReference):
        import_rootfs(layout, "/none", KEY, reference="A B")
