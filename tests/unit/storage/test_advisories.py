"""Known holes of other tools where images are read: what went wrong there stays inside here.

Each case is the attack of one advisory, as docs/security.md lists them; those that take a registry,
a container or more than a layer are tested where their subject is.
"""

import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import InvalidDocument, InvalidLayer, StorageError
from storage.oci.checks import parse_json
from storage.oci.descriptor import OCI_LAYER, OCI_LAYER_GZIP, Descriptor
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.unpack import unpack_layer
from tests.unit.storage.test_unpack import (
    Member,
    archive,
    directory,
    file,
    hard_link,
    symlink,
)

SECRET = b"of the host"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with a host's files, which nothing may change, and `layer` to unpack into."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_bytes(SECRET)
    (host / "secret").chmod(0o600)
    (tmp_path / "layer").mkdir()
    yield tmp_path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["host", "layer"]
    assert [entry.name for entry in host.iterdir()] == ["secret"]
    found = (host / "secret").stat()
    assert (found.st_nlink, stat.S_IMODE(found.st_mode)) == (1, 0o600)
    assert (host / "secret").read_bytes() == SECRET
    assert stat.S_IMODE(host.stat().st_mode) == 0o755
    for directory_path, _, names in os.walk(tmp_path / "layer"):
        for name in names:
            path = Path(directory_path, name)
            if path.is_file() and not path.is_symlink():
                assert path.read_bytes() != SECRET, path


def _layers(host: str) -> dict[str, list[Member]]:
    up = "../" * 12 + host.lstrip("/")
    chmod = Member("h", kind=tarfile.LNKTYPE, link="way/secret", mode=0o777)
    return {
        "CVE-2001-1267 dots": [file(f"{up}/new", b"x")],
        "CVE-2014-6407 symlink then hard link": [
            symlink("way", host), hard_link("h", "way/secret"),
        ],
        "CVE-2014-6407 hard link with dots": [hard_link("h", f"{up}/secret")],
        "CVE-2014-6407 absolute hard link": [hard_link("h", f"{host}/secret"), file("h", b"x")],
        "CVE-2014-9356 absolute symlink": [symlink("way", host), file("way/secret", b"x")],
        "CVE-2014-9356 symlink over symlink": [
            symlink("a", "b"), symlink("b", host), file("a/new", b"x"),
        ],
        "CVE-2020-10696 link in place of a directory": [
            directory("d"), file("d/one", b"1"), symlink("d", host), file("d/secret", b"x"),
        ],
        "CVE-2021-29136 root is a link": [
            symlink(".", host), file("new", b"x"), file("secret", b"x"),
        ],
        "CVE-2021-29136 root is a link with a slash": [
            symlink("/", host), file("/new", b"x"), file("/secret", b"x"),
        ],
        "CVE-2021-32760 mode through a hard link": [symlink("way", host), chmod],
        "CVE-2021-32760 mode through a link": [
            symlink("way", host), Member("way", kind=tarfile.DIRTYPE, mode=0o777),
            Member("way/", kind=tarfile.DIRTYPE, mode=0o777),
        ],
        "whiteout of ..": [directory("d"), file("d/.wh...", b"")],
        "whiteout of .": [directory("d"), file("d/.wh..", b"")],
        "whiteout through a link": [symlink("way", host), file("way/.wh.secret")],
        "opaque mark through a link": [symlink("way", host), file("way/.wh..wh..opq")],
        "whiteout of dots": [file(f".wh.{'../' * 9}", b""), file(".wh.", b"")],
    }  # fmt: skip


NAMES = list(_layers("/x"))


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.replace(" ", "-"))
def test_layer_of_an_advisory_changes_and_shows_nothing_of_the_host(place: Path, name: str) -> None:
    members = _layers(str(place / "host"))[name]
    try:
        unpack_layer(
            io.BytesIO(archive(*members)), media_type=OCI_LAYER, diff_id=None,
            target=str(place / "layer"),
        )  # fmt: skip
    except InvalidLayer:
        return
    assert not (place / "layer").is_symlink()


def _xz(data: bytes) -> bytes:
    return lzma.compress(data)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(bytes(1 << 16))[:-4],
        gzip.compress(archive(file("a", b"x")))[:40],
        gzip.compress(archive(file("a", b"x"))) + b"\x1f\x8b" + b"x" * 50,
        _xz(archive(file("a", b"x"))),
    ],
    ids=["cut", "cut-early", "garbage-behind", "xz-for-gzip"],
)
def test_malformed_compression_is_an_error_and_no_hang(place: Path, data: bytes) -> None:
    """CVE-2021-20291: a layer that did not inflate locked its reader for ever; CVE-2014-9357: no
    program of the image, or of the host, inflates."""
    with pytest.raises(StorageError):
        unpack_layer(
            io.BytesIO(data), media_type=OCI_LAYER_GZIP, diff_id=None,
            target=str(place / "layer"),
        )  # fmt: skip


def _document(**more: object) -> dict[str, object]:
    digest = "sha256:" + "0" * 64
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1}
    return {"schemaVersion": 2, "config": config, "layers": [], **more}


@pytest.mark.parametrize("read", [Manifest.from_json, Index.from_json], ids=["manifest", "index"])
def test_document_with_two_meanings_is_refused(read: object) -> None:
    """CVE-2021-41190, wherever the document comes from."""
    assert callable(read)
    with pytest.raises(InvalidDocument, match="at once"):
        read(_document(manifests=[]), "here")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "../../x",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 63 + "/",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "",
        "sha256",
        ":" + "0" * 64,
        None,
        7,
    ],
    ids=repr,
)
def test_digest_that_is_none_names_no_file(digest: object) -> None:
    """CVE-2024-3727, CVE-2014-9358, CVE-2014-5282: names of files were made of it."""
    raw = {"mediaType": OCI_LAYER, "digest": digest, "size": 1}
    with pytest.raises(InvalidDocument):
        Descriptor.from_json(raw, "layer")


def test_document_of_many_levels_is_an_error() -> None:
    """CVE-2023-25153, CVE-2020-1702: what is read whole has limits; so has its depth."""
    with pytest.raises(InvalidDocument):
        parse_json(b"[" * 200_000, "here")


@pytest.mark.parametrize("count", [1 << 30, (1 << 62) - 1])
def test_sparse_map_of_many_entries_costs_nothing(place: Path, count: int) -> None:
    """CVE-2025-58183: room was made for as many segments as a map announces."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s",
               "GNU.sparse.realsize": "10"}  # fmt: skip
    data = archive(Member("s", b"%d\n" % count + b"0\n" * 5000, pax=records))
    with pytest.raises(InvalidLayer):
        unpack_layer(
            io.BytesIO(data), media_type=OCI_LAYER, diff_id=None, target=str(place / "layer")
        )
