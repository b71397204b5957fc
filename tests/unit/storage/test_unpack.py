"""Unpacking without a namespace: what appears, and above all what must not happen."""

import errno
import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import DigestMismatch, InvalidLayer, StorageError
from storage.flatten import flatten
from storage.layout import Layout
from storage.links import link_across
from storage.oci.descriptor import OCI_LAYER, OCI_LAYER_GZIP
from storage.unpack import UnpackResult, unpack_layer

UID, GID = os.getuid(), os.getgid()
MTIME = 1_600_000_000


class Member(NamedTuple):
    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    pax: dict[str, str] | None = None


def file(name: str, data: bytes = b"", mode: int = 0o644) -> Member:
    return Member(name, data, mode=mode)


def directory(name: str, mode: int = 0o755) -> Member:
    return Member(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.SYMTYPE, link=target)


def hard_link(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.LNKTYPE, link=target)


def archive(*members: Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.linkname, info.mode = member.kind, member.link, member.mode
            info.size = len(member.data)
            info.uid, info.gid, info.mtime = UID, GID, MTIME
            info.pax_headers = member.pax or {}
            tar.addfile(info, io.BytesIO(member.data))
    return out.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory to unpack into, with something beside it that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("untouched")
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


@pytest.fixture(autouse=True)
def outside_is_untouched(tmp_path: Path) -> Iterator[None]:
    yield
    outside = tmp_path / "outside"
    if outside.exists():
        assert [entry.name for entry in outside.iterdir()] == ["secret"]
        assert (outside / "secret").read_text() == "untouched"
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["layer", "outside"]


def unpack(target: Path, *members: Member, diff_id: str | None = None) -> UnpackResult:
    return unpack_layer(
        io.BytesIO(archive(*members)), media_type=OCI_LAYER, diff_id=diff_id, target=str(target)
    )


def test_ordinary_layer(target: Path) -> None:
    data = archive(
        directory("usr", 0o750), directory("usr/bin"), file("usr/bin/sh", b"#!", 0o4755),
        symlink("bin", "usr/bin"), hard_link("usr/bin/ash", "usr/bin/sh"),
        Member("pipe", kind=tarfile.FIFOTYPE, mode=0o620), directory("tmp", 0o1777),
    )  # fmt: skip
    diff_id = "sha256:" + hashlib.sha256(data).hexdigest()
    result = unpack_layer(
        io.BytesIO(gzip.compress(data)), media_type=OCI_LAYER_GZIP, diff_id=diff_id,
        target=str(target),
    )  # fmt: skip
    assert result == UnpackResult(diff_id, 2, 7, (), ())
    shell = (target / "usr/bin/sh").stat()
    assert stat.filemode(shell.st_mode) == "-rwsr-xr-x"
    assert (shell.st_mtime, shell.st_nlink) == (MTIME, 2)
    assert os.readlink(target / "bin") == "usr/bin"
    assert (target / "bin").lstat().st_mtime == MTIME
    assert stat.filemode((target / "pipe").stat().st_mode) == "prw--w----"
    for name, mode in (("usr", "drwxr-x---"), ("tmp", "drwxrwxrwt")):
        found = (target / name).stat()
        assert (stat.filemode(found.st_mode), found.st_mtime) == (mode, MTIME)


def test_wrong_diff_id_is_refused(target: Path) -> None:
    with pytest.raises(DigestMismatch, match="instead of sha256:0000"):
        unpack(target, file("x"), diff_id="sha256:" + "0" * 64)


def test_layer_of_another_type_is_refused(target: Path) -> None:
    with pytest.raises(InvalidLayer, match="not a layer"):
        unpack_layer(io.BytesIO(), media_type="text/html", diff_id=None, target=str(target))


def test_missing_parents_are_made(target: Path) -> None:
    unpack(target, file("./a//b/./c", b"x"))
    assert (target / "a/b/c").read_bytes() == b"x"
    assert stat.S_IMODE((target / "a/b").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "name", ["../outside/secret", "a/../../outside/secret", "..", "a/..", "/../outside/secret"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE], ids=repr)
def test_dot_dot_is_refused(target: Path, name: str, kind: bytes) -> None:
    with pytest.raises(InvalidLayer, match=r"'\.\.' would lead out"):
        unpack(target, Member(name, kind=kind, link="x"))


def test_absolute_names_count_from_the_root(target: Path) -> None:
    unpack(target, file("/etc/x", b"x"), hard_link("/y", "/etc/x"))
    assert (target / "etc/x").read_bytes() == b"x"
    assert (target / "y").stat().st_nlink == 2


@pytest.mark.parametrize("outwards", ["../outside", "{outside}", "../../../../..{outside}"])
@pytest.mark.parametrize(
    "last",
    [file("way/secret", b"evil"), file("way/new", b"evil"), symlink("way/secret", "x"),
     directory("way/dir"), file("way/.wh.secret"), file("way/.wh..wh..opq"),
     hard_link("way/h", "base"), Member("way/pipe", kind=tarfile.FIFOTYPE)],
    ids=lambda member: f"{member.name}-{member.kind!r}",
)  # fmt: skip
def test_links_do_not_lead_out(target: Path, outwards: str, last: Member) -> None:
    """A directory that is a link is followed as if the layer's root were `/`."""
    outside = str(target.parent / "outside")
    try:
        unpack(target, file("base"), symlink("way", outwards.format(outside=outside)), last)
    except InvalidLayer:
        return
    assert os.path.islink(target / "way")


def test_link_inside_is_followed(target: Path) -> None:
    unpack(
        target, directory("usr/lib"), symlink("lib", "/usr/lib"), symlink("l2", "usr/../lib/."),
        file("lib/a", b"1"), file("l2/b", b"2"),
    )  # fmt: skip
    assert (target / "usr/lib/a").read_bytes() == b"1"
    assert (target / "usr/lib/b").read_bytes() == b"2"


def test_hard_link_through_a_link_stays_inside(target: Path) -> None:
    outside = str(target.parent / "outside")
    result = unpack(target, symlink("way", outside), hard_link("stolen", "way/secret"))
    assert result.missing_links == (("stolen", "way/secret"),)
    assert not (target / "stolen").exists()


def test_hard_link_to_a_link_is_not_followed(target: Path) -> None:
    outside = str(target.parent / "outside" / "secret")
    unpack(target, symlink("s", outside), hard_link("h", "s"))
    assert os.readlink(target / "h") == outside


def test_file_on_a_link_replaces_the_link(target: Path) -> None:
    outside = str(target.parent / "outside" / "secret")
    unpack(target, symlink("x", outside), file("x", b"evil"))
    assert not (target / "x").is_symlink()
    assert (target / "x").read_bytes() == b"evil"


def test_swapping_a_cached_directory_for_a_link_does_not_help(target: Path) -> None:
    """The directory's descriptor is remembered under the name that becomes a link."""
    outside = str(target.parent / "outside")
    unpack(
        target, directory("d"), file("d/a"), symlink("d", outside), file("d/secret", b"evil"),
        directory("d"), file("d/b"),
    )  # fmt: skip
    assert (target / "d").is_dir()
    assert (target / "d/b").exists()
    assert not (target / "d/a").exists()


def test_cached_link_swapped_for_a_directory(target: Path) -> None:
    unpack(
        target, directory("one"), symlink("way", "one"), file("way/a"), directory("way"),
        file("way/b"),
    )  # fmt: skip
    assert sorted(os.listdir(target / "one")) == ["a"]
    assert sorted(os.listdir(target / "way")) == ["b"]


def test_directory_metadata_does_not_follow_a_swapped_link(target: Path) -> None:
    outside = target.parent / "outside"
    before = outside.stat()
    unpack(target, directory("d", 0o777), symlink("d", str(outside)))
    after = outside.stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_link_loops_end(target: Path) -> None:
    with pytest.raises(InvalidLayer, match="too many symbolic links"):
        unpack(target, symlink("a", "b"), symlink("b", "a"), file("a/x"))


def test_link_with_endless_dots_ends(target: Path) -> None:
    deep = "d/" * 1000
    with pytest.raises(InvalidLayer, match="too many symbolic links"):
        unpack(
            target, directory("d"), symlink("s", deep + "../" * 300), symlink("d/d", "."),
            file("s/" * 9 + "x"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (file("a" * 300), "too long"),
        (file("a/" * 5000 + "x"), "at most 4096"),
        (file("n" * 10_000), "at most 4096"),
        (hard_link("x", "n" * 10_000), "at most 4096"),
        (symlink("x", ""), "without a target"),
        (symlink("x", "t" * 5000), "too long"),
        (file("."), "in the place of the root"),
        (symlink("/", "x"), "replace the root"),
        (hard_link("x", "/"), "hard link to nothing"),
        (file(".wh."), "names nothing"),
        (file("a/.wh..."), None),
        (file(".wh..."), None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_impossible_names_are_clear_errors(target: Path, member: Member, why: str | None) -> None:
    if why is None:
        with pytest.raises(InvalidLayer, match="names nothing"):
            unpack(target, member)
        return
    with pytest.raises(InvalidLayer) as caught:
        unpack(target, member)
    assert why in caught.value.message.lower()
    assert len(caught.value.message) < 500


def test_file_below_a_file_is_an_error(target: Path) -> None:
    with pytest.raises(InvalidLayer, match="f is not a directory"):
        unpack(target, file("f"), file("f/x"))


def test_hard_link_to_a_directory_is_an_error(target: Path) -> None:
    with pytest.raises(InvalidLayer, match="hard link to the directory"):
        unpack(target, directory("d"), hard_link("x", "d"))


def test_devices_are_skipped_with_a_note(target: Path) -> None:
    names = [f"dev/{name}" for name in ("a", "b", "c", "d", "e")]
    result = unpack(target, *(Member(name, kind=tarfile.CHRTYPE) for name in names))
    assert result.notes == ("device nodes were skipped: dev/a, dev/b, dev/c and 2 more",)
    assert list(target.iterdir()) == []


def test_names_in_notes_hold_no_control_characters(target: Path) -> None:
    result = unpack(target, Member("a\x1b[2Jb\n", kind=tarfile.BLKTYPE))
    assert result.notes == ("device nodes were skipped: a?[2Jb?",)


def test_later_entries_replace_earlier_ones(target: Path) -> None:
    unpack(
        target, file("f", b"one"), hard_link("keep", "f"), file("f", b"two"), directory("d"),
        file("d/x"), file("d", b"file"), file("g"), directory("g"), file("g/y"),
    )  # fmt: skip
    assert (target / "f").read_bytes() == b"two"
    assert (target / "keep").read_bytes() == b"one"
    assert (target / "d").read_bytes() == b"file"
    assert (target / "g/y").exists()


def test_same_directory_twice_keeps_its_content(target: Path) -> None:
    unpack(target, directory("d"), file("d/x"), directory("d", 0o700))
    assert (target / "d/x").exists()
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700


def test_hard_link_to_itself_is_harmless(target: Path) -> None:
    unpack(target, file("f", b"x"), hard_link("f", "f"))
    assert (target / "f").read_bytes() == b"x"


def test_root_entry_sets_the_root(target: Path) -> None:
    unpack(target, directory("./", 0o701))
    assert stat.S_IMODE(target.stat().st_mode) == 0o701


def test_empty_layer(target: Path) -> None:
    result = unpack(target)
    assert (result.entries, list(target.iterdir())) == (0, [])


def test_overlay_marks_of_a_layer_are_not_set(target: Path) -> None:
    marks = {
        f"SCHILY.xattr.{name}": "y"
        for name in ("user.overlay.opaque", "user.fuseoverlayfs.opaque", "trusted.x", "user.ok")
    }
    result = unpack(target, Member("d", kind=tarfile.DIRTYPE, pax=marks))
    assert os.listxattr(target / "d") == ["user.ok"]
    assert len(result.notes) == 3


def test_what_overlayfs_notes_for_itself_is_left_out_silently(target: Path) -> None:
    marks = {f"SCHILY.xattr.user.overlay.{name}": "y" for name in ("origin", "impure", "nlink")}
    result = unpack(target, Member("d", kind=tarfile.DIRTYPE, pax=marks))
    assert os.listxattr(target / "d") == []
    assert not result.notes


def test_sparse_file_has_holes(target: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("sparse")
        info.size = 4
        info.pax_headers = {"GNU.sparse.map": "8388608,4", "GNU.sparse.size": str(1 << 24)}
        tar.addfile(info, io.BytesIO(b"data"))
    unpack_layer(io.BytesIO(out.getvalue()), media_type=OCI_LAYER, diff_id=None, target=str(target))
    found = (target / "sparse").stat()
    assert found.st_size == 1 << 24
    assert found.st_blocks * 512 < 1 << 20
    with open(target / "sparse", "rb") as content:
        assert content.read() == bytes(8388608) + b"data" + bytes((1 << 24) - 8388612)


def test_names_of_dots_are_ordinary(target: Path) -> None:
    unpack(target, file(".../x", b"1"), file("./..../...", b"2"), file("./y", b"3"))
    assert (target / "..." / "x").read_bytes() == b"1"
    assert (target / "...." / "...").read_bytes() == b"2"
    assert (target / "y").read_bytes() == b"3"


def test_very_many_directories_cost_bounded_memory(target: Path) -> None:
    members = [directory(f"d{number}", 0o711) for number in range(21_000)]
    unpack(target, *members)
    assert stat.S_IMODE((target / "d0").stat().st_mode) == 0o711
    assert stat.S_IMODE((target / "d20999").stat().st_mode) == 0o711


def test_deep_directories_cost_one_descriptor(target: Path) -> None:
    unpack(target, file("d/" * 1500 + "x"))
    fd = os.open(target, os.O_RDONLY)
    for _ in range(1500):
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    assert os.listdir(fd) == ["x"]
    os.close(fd)
    from storage.remove import remove_tree

    remove_tree(str(target / "d"))
    assert list(target.iterdir()) == []


def test_link_across_layers_copies_the_file(tmp_path: Path) -> None:
    lower, middle, upper = (tmp_path / name for name in ("lower", "middle", "upper"))
    for path in (lower, middle, upper):
        path.mkdir()
    unpack(lower, file("a/f", b"old"))
    unpack(middle, file("a/f", b"content", 0o4750))
    result = unpack(upper, hard_link("b/g", "a/f"), hard_link("b/h", "a/f"))
    assert len(result.missing_links) == 2
    copied = link_across(str(upper), [str(lower), str(middle)], result.missing_links)
    assert copied == len(b"content")
    found = (upper / "b/g").stat()
    assert (found.st_nlink, stat.S_IMODE(found.st_mode), found.st_mtime) == (3, 0o4750, MTIME)
    assert (upper / "a/f").read_bytes() == b"content"


def test_link_across_layers_stays_inside(tmp_path: Path) -> None:
    lower, upper, outside = (tmp_path / name for name in ("lower", "upper", "outside"))
    for path in (lower, upper, outside):
        path.mkdir()
    (outside / "secret").write_text("untouched")
    unpack(lower, symlink("way", str(outside)), symlink("s", str(outside / "secret")))
    for name in ("way/secret", "s", "nothing"):
        with pytest.raises(InvalidLayer, match="is in no lower layer"):
            link_across(str(upper), [str(lower)], (("h", name),))
    (outside / "secret").unlink()
    outside.rmdir()


def _no_device(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "mknod")


def _no_attribute(*_: object) -> None:
    raise OSError(errno.ENOTSUP, "setxattr")


def test_marks_without_devices_and_attributes_are_files(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old kernels and file systems: the forms that fuse-overlayfs reads besides overlayfs's own."""
    monkeypatch.setattr(os, "mknod", _no_device)
    monkeypatch.setattr("storage.tree.make_opaque", _no_attribute)
    unpack(target, file("a/.wh.x"), file("b/.wh..wh..opq"), file("b/new"))
    assert os.listdir(target / "a") == [".wh.x"]
    assert sorted(os.listdir(target / "b")) == [".wh..wh..opq", "new"]


def test_flatten_reads_every_form_of_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(str(tmp_path), str(tmp_path))
    parts = (
        [file("a/x", b"1"), file("a/y", b"1"), file("b/old", b"1"), symlink("s", "a")],
        [file("a/.wh.x"), file("b/.wh..wh..opq"), file("b/new", b"2"), file("s/in", b"2")],
    )
    for number, members in enumerate(parts):
        os.makedirs(layout.layer_diff("k", f"{number}"))
        if number:
            monkeypatch.setattr(os, "mknod", _no_device)
            monkeypatch.setattr("storage.tree.make_opaque", _no_attribute)
        unpack(Path(layout.layer_diff("k", f"{number}")), *members)
    merged = tmp_path / "merged"
    merged.mkdir()
    flatten(layout, "k", ("0", "1"), str(merged))
    found = sorted(str(path.relative_to(merged)) for path in merged.rglob("*"))
    assert found == ["a", "a/y", "b", "b/new", "s", "s/in"]


_names = st.sampled_from(
    ["a", "b", "a/b", "a/a", "a/b/c", "/a", "./b/", "../x", "a/../b", ".wh.a", "a/.wh.b",
     "a/.wh..wh..opq", "", ".", "b/a"]
)  # fmt: skip
_targets = st.sampled_from(
    ["a", "b", "..", ".", "/", "../outside", "a/b", "/a", "../../../../../../..", "b/../.."]
)
_kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.builds(Member, _names, st.just(b"evil"), _kinds, _targets), max_size=9))
def test_no_sequence_of_entries_leaves_the_target(tmp_path: Path, members: list[Member]) -> None:
    base = tmp_path / os.urandom(8).hex()
    target = base / "layer"
    (base / "outside").mkdir(parents=True)
    target.mkdir()
    members = [m._replace(data=b"") if m.kind != tarfile.REGTYPE else m for m in members]
    try:
        unpack(target, *members)
    except StorageError as error:
        assert isinstance(error, InvalidLayer)
    assert sorted(os.listdir(base)) == ["layer", "outside"]
    assert os.listdir(base / "outside") == []
