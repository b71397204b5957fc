"""The record of an owner that a file cannot have."""

import os
import stat

import pytest

from storage import owners
from storage.owners import Owner


@pytest.mark.parametrize(
    ("owner", "mode", "text"),
    [
        (Owner(0, 101), 0o102755, b"0:101:02755"),
        (Owner(6, 12), 0o040755, b"6:12:0755"),
        (Owner(0, 0, stat.S_IFCHR, os.makedev(1, 3)), 0o100666, b"0:0:0666:char-1-3"),
        (Owner(0, 6, stat.S_IFBLK, os.makedev(7, 0)), 0o100660, b"0:6:0660:block-7-0"),
    ],
    ids=["setgid", "directory", "char", "block"],
)
def test_record_is_what_other_tools_read(owner: Owner, mode: int, text: bytes) -> None:
    assert owners.encode(owner, mode) == text
    assert owners.decode(text) == owner


@pytest.mark.parametrize(
    "data", [b"", b"1:2", b"x:1:0755", b"-1:1:0755", b"4294967295:0:0755", b"1:1:0:" + b"9" * 99]
)
def test_what_we_did_not_write_is_no_owner(data: bytes) -> None:
    assert owners.decode(data) is None


def test_device_of_an_unknown_kind_is_a_file() -> None:
    assert owners.decode(b"1:2:0644:fifo-0-0") == Owner(1, 2)


def test_stat_shows_the_owner_and_the_device(tmp_path: os.PathLike[str]) -> None:
    found = os.stat(tmp_path)
    shown = owners.with_owner(found, Owner(5, 6, stat.S_IFCHR, os.makedev(1, 3)))
    assert (shown.st_uid, shown.st_gid, shown.st_rdev) == (5, 6, os.makedev(1, 3))
    assert stat.S_ISCHR(shown.st_mode)
    assert (shown.st_mtime_ns, shown.st_size) == (found.st_mtime_ns, found.st_size)


def test_line_of_a_link_that_was_cut_short_is_passed_over(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "links")
    with open(path, "wb") as file:
        file.write(b"7 101 102 2f61\n8 1")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert owners.known_links(fd) == {7: Owner(101, 102)}
    finally:
        os.close(fd)
