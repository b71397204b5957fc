"""Packing a tree by descriptors and putting it into another."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.pack import END, Packer
from storage.place import Placer, Rules
from storage.tar import TarReader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def pack(path: Path, *, layer: bool = False) -> bytes:
    top = os.open(path, _DIRECTORY)
    try:
        return b"".join(Packer(layer=layer).tree(top, b"")) + END
    finally:
        os.close(top)


def open_beneath(top: int, path: bytes) -> int:
    return os.open(path, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)


def place(data: bytes, path: Path, *, overwrite: bool = False) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(data), 700):
            yield data[start : start + 700]

    top = os.open(path, _DIRECTORY)
    try:
        Placer(top, Rules(overwrite=overwrite), open_beneath).place(chunks())
    finally:
        os.close(top)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    (tree / "deep" / "down").mkdir(parents=True)
    (tree / "deep" / "down" / ("n" * 150)).write_text("long name")
    (tree / "file").write_text("text")
    (tree / "link").symlink_to("file")
    os.link(tree / "file", tree / "hard")
    with open(tree / "sparse", "wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    (tree / "deep").chmod(0o500)
    return tree


def test_tree_survives_packing_and_placing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    data = pack(source)
    assert len(data) < 1 << 20
    place(data, target)
    assert (target / "deep" / "down" / ("n" * 150)).read_text() == "long name"
    assert os.readlink(target / "link") == "file"
    assert (target / "file").stat().st_ino == (target / "hard").stat().st_ino
    assert (target / "sparse").stat().st_size == (8 << 20) + 3
    assert (target / "sparse").read_bytes().endswith(b"\0end")
    assert (target / "deep").stat().st_mode & 0o777 == 0o500
    assert (target / "file").stat().st_mtime_ns == (source / "file").stat().st_mtime_ns


def test_other_readers_understand_it(source: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(source))) as archive:
        assert archive.getmember("sparse").size == (8 << 20) + 3
        assert archive.getmember("hard").islnk()


def archive_of(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "members",
    [
        (member("../out"),),
        (member("a", tarfile.SYMTYPE, ".."), member("a/out")),
        (member("a", tarfile.SYMTYPE, ".."), member("b", tarfile.LNKTYPE, "a/secret")),
        (member("b", tarfile.LNKTYPE, "../secret"),),
    ],
    ids=["dots", "through a link", "hard link through a link", "hard link with dots"],
)
def test_nothing_lands_outside(tmp_path: Path, members: tuple[tarfile.TarInfo, ...]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "secret").write_text("outside")
    with pytest.raises(StorageError):
        place(archive_of(*members), target)
    assert sorted(os.listdir(tmp_path)) == ["secret", "target"]
    assert not (target / "b").exists()


def test_kinds_are_not_exchanged_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "a" / "full").mkdir(parents=True)
    (target / "b").write_text("old")
    for found in (member("a"), member("b", tarfile.DIRTYPE)):
        with pytest.raises(StorageError, match="cannot overwrite"):
            place(archive_of(found), target)
        place(archive_of(found), target, overwrite=True)
    assert (target / "a").is_file()
    assert (target / "b").is_dir()


def test_layer_marks_what_was_removed(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "new").mkdir(parents=True)
    try:
        os.mknod(upper / "new" / "gone", 0o020000, os.makedev(0, 0))
        os.setxattr(upper / "new", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"whiteouts need a kernel and a file system that have them: {error}")
    reader = TarReader(iter([pack(upper, layer=True)]))
    names = []
    while (entry := reader.next_entry()) is not None:
        names.append(entry.name)
    assert names == [b"./", b"new/", b"new/.wh..wh..opq", b"new/.wh.gone"]
