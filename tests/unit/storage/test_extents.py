"""Ranges of the disk that several files have are counted once."""

import os
import struct
from pathlib import Path

import pytest

from storage import extents
from storage.extents import SharedExtents

_SHARED, _LAST, _UNKNOWN = 0x2000, 0x1, 0x2


class FileSystem:
    """Answers FIEMAP for files whose extents a test has written down."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._extents: dict[int, list[tuple[int, int, int]]] = {}

    def add(self, name: str, *found: tuple[int, int, int]) -> str:
        """Make a file that lies in extents of (place, length, flags)."""
        path = self._directory / name
        path.touch()
        self._extents[path.stat().st_ino] = list(found)
        return str(path)

    def ioctl(self, descriptor: int, request: int, buffer: bytearray) -> int:
        assert request == 0xC020660B
        start, _, _, _, room, _ = struct.unpack_from("=QQIIII", buffer)
        known = self._extents[os.fstat(descriptor).st_ino]
        logical, count = 0, 0
        for number, (place, length, flags) in enumerate(known):
            if logical >= start and count < room:
                last = _LAST if number == len(known) - 1 else 0
                struct.pack_into(
                    "=QQQ16xI12x", buffer, 32 + 56 * count, logical, place, length, flags | last
                )
                count += 1
            logical += length
        struct.pack_into("=I", buffer, 20, count)
        return 0


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    made = FileSystem(tmp_path)
    monkeypatch.setattr("fcntl.ioctl", made.ioctl)
    monkeypatch.setattr(extents, "_NEVER_SHARE", ())
    return made


def test_a_copy_counts_nothing_again(files: FileSystem, tmp_path: Path) -> None:
    seen = SharedExtents(str(tmp_path))
    one = files.add("one", (4096, 8192, _SHARED), (65536, 4096, 0))
    other = files.add("other", (4096, 8192, _SHARED))
    assert [seen.counted_before(path) for path in (one, other)] == [0, 8192]


def test_parts_of_an_extent_are_recognized(files: FileSystem, tmp_path: Path) -> None:
    """A part of a copy that was written to splits the extent of the other."""
    seen = SharedExtents(str(tmp_path))
    paths = [
        files.add("head", (0, 100, _SHARED)),
        files.add("tail", (200, 100, _SHARED)),
        files.add("across", (50, 200, _SHARED)),
        files.add("whole", (0, 400, _SHARED)),
        files.add("again", (10, 5, _SHARED), (380, 40, _SHARED)),
    ]
    assert [seen.counted_before(path) for path in paths] == [0, 0, 100, 300, 25]


def test_what_is_not_shared_or_not_placed_is_no_matter(files: FileSystem, tmp_path: Path) -> None:
    seen = SharedExtents(str(tmp_path))
    paths = [
        files.add(name, (0, 100, 0), (0, 100, _SHARED | _UNKNOWN), (500, 1, _SHARED))
        for name in ("one", "other")
    ]
    assert [seen.counted_before(path) for path in paths] == [0, 1]


def test_a_file_in_more_extents_than_one_answer_has_is_read_to_its_end(
    files: FileSystem, tmp_path: Path
) -> None:
    seen = SharedExtents(str(tmp_path))
    many = [(10 * number, 5, _SHARED) for number in range(200)]
    paths = [files.add(name, *many) for name in ("one", "other")]
    assert [seen.counted_before(path) for path in paths] == [0, 1000]


def test_a_file_system_that_does_not_tell_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(descriptor: int, request: int, buffer: bytearray) -> int:
        asked.append(descriptor)
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.ioctl", refuse)
    monkeypatch.setattr(extents, "_NEVER_SHARE", ())
    seen = SharedExtents(str(tmp_path))
    (tmp_path / "file").touch()
    assert [seen.counted_before(f"{tmp_path}/file") for _ in range(3)] == [0, 0, 0]
    assert len(asked) == 1
