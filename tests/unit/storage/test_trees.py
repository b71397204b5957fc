"""Writing trees as archives, and removing them."""

import io
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.remove import remove_tree
from storage.tar import TarReader
from storage.tar_writer import tar_directory
from storage.unpack import unpack_tar


def _members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive.getmembers()}


def test_written_archive_is_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o2710)
    os.chmod(tmp_path / "d", 0o2710)
    (tmp_path / "d" / "f").write_bytes(b"x" * 700)
    os.chmod(tmp_path / "d" / "f", 0o4755)
    os.utime(tmp_path / "d" / "f", ns=(0, 1_500_000_000_123_456_789))
    os.setxattr(tmp_path / "d" / "f", "user.a", b"\0\n")
    os.link(tmp_path / "d" / "f", tmp_path / "z")
    (tmp_path / "s").symlink_to("t" * 300)
    os.mkfifo(tmp_path / "p")
    (tmp_path / ("n" * 200)).touch()
    os.utime(tmp_path / ("n" * 200), ns=(0, -1_500_000_000))
    data = b"".join(tar_directory(str(tmp_path)))
    found = _members(data)
    assert sorted(found) == sorted([".", "d", "d/f", "z", "s", "p", "n" * 200])
    assert (found["d"].isdir(), found["d"].mode) == (True, 0o2710)
    assert (found["z"].size, found["z"].mode) == (700, 0o4755)
    assert found["z"].mtime == pytest.approx(1_500_000_000.123456789)
    assert found["n" * 200].mtime == pytest.approx(-1.5)
    assert found["z"].pax_headers["SCHILY.xattr.user.a"] == "\0\n"
    assert (found["d/f"].islnk(), found["d/f"].linkname) == (True, "z")
    assert found["s"].linkname == "t" * 300
    assert found["p"].isfifo()
    assert (found["d/f"].uid, found["d/f"].gid) == (os.getuid(), os.getgid())


_name = st.text("abc\u00e9 \n\\-", min_size=1, max_size=120).filter(
    lambda name: len(name.encode()) < 250
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_name, st.binary(max_size=2000), max_size=6), st.integers(0, 2**34))
def test_tree_survives_a_round_trip(tmp_path: Path, files: dict[str, bytes], mtime: int) -> None:
    base = tmp_path / os.urandom(8).hex()
    source, target = base / "source", base / "target"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    for number, (name, data) in enumerate(files.items()):
        path = source / "d" / name if number % 2 else source / f"x{name}"
        path.write_bytes(data)
        os.utime(path, (0, mtime))
    unpack_tar(tar_directory(str(source)), diff_id=None, target=str(target))
    for directory, _, names in os.walk(source):
        for name in names:
            old = Path(directory, name)
            new = target / old.relative_to(source)
            assert new.read_bytes() == old.read_bytes()
            assert new.stat().st_mtime_ns == old.stat().st_mtime_ns
            assert new.stat().st_mode == old.stat().st_mode


def test_file_that_shrinks_while_it_is_written_keeps_the_archive_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * (3 << 20))
    pieces = tar_directory(str(tmp_path))
    start = [next(pieces) for _ in range(3)]
    os.truncate(path, 10)
    reader = TarReader(iter([*start, *pieces]))
    sizes = {}
    while (entry := reader.next_entry()) is not None:
        sizes[entry.name] = sum(len(piece) for piece in reader.data())
    assert sizes[b"f"] == 3 << 20


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nothing"))


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").touch()
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "way").symlink_to(tmp_path / "outside")
    (tree / "d" / "way").symlink_to("../../outside")
    remove_tree(str(tree))
    assert not tree.exists()
    assert (tmp_path / "outside" / "f").exists()
    (tmp_path / "link").symlink_to("outside")
    remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "outside" / "f").exists()


def test_removing_goes_deeper_than_descriptors_and_stack(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for number in range(3000):
        os.mkdir("d", dir_fd=fd)
        if number % 100 == 0:
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(str(tree))
    assert not tree.exists()


def test_removing_closed_directories_of_our_own(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pid = os.fork()
        if pid == 0:
            try:
                os.chown(tmp_path, 12345, 12345)
                for parent in (tmp_path.parent, tmp_path.parent.parent):
                    os.chmod(parent, stat.S_IMODE(parent.stat().st_mode) | 0o011)
                os.setgid(12345)
                os.setuid(12345)
                _remove_closed(tmp_path)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        _remove_closed(tmp_path)


def _remove_closed(base: Path) -> None:
    tree = base / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").touch()
    for path, mode in ((tree / "a" / "b", 0), (tree / "a", 0o555), (tree, 0o100)):
        os.chmod(path, mode)
    remove_tree(str(tree))
    assert not tree.exists()


def test_a_directory_may_be_left_out(tmp_path: Path) -> None:
    """Importing a home must not pack the very store that the layer is built in."""
    (tmp_path / "home" / "store").mkdir(parents=True)
    (tmp_path / "home" / "store" / "blob").touch()
    (tmp_path / "home" / "f").touch()
    data = b"".join(tar_directory(str(tmp_path / "home"), without=f"{tmp_path}/home/../home/store"))
    assert sorted(_members(data)) == [".", "f"]


def test_threads_do_not_outlive_an_unpacking(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(bytes(5 << 20))
    before = threading.active_count()
    for number in range(5):
        target = tmp_path / str(number)
        target.mkdir()
        unpack_tar(tar_directory(str(tmp_path / "source")), diff_id=None, target=str(target))
    assert threading.active_count() == before
