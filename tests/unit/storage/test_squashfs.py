"""Formats of one-file images."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InvalidArchive, StoreUnusable
from storage.squashfs import SquashFile, is_file_name, open_squash_file, trailer
from tests.support.sif import sif_of

SQUASHFS = b"hsqs" + bytes(36) + (4096).to_bytes(8, "little") + bytes(4096 - 48)


def opened(path: Path, data: bytes) -> SquashFile:
    path.write_bytes(data)
    fd, found = open_squash_file(str(path))
    os.close(fd)
    return found


def test_plain_squashfs_is_found_without_configuration(tmp_path: Path) -> None:
    found = opened(tmp_path / "a", SQUASHFS + bytes(100))
    assert (found.offset, found.size_bytes, found.config, found.is_sif) == (0, 4096, b"", False)


def test_configuration_is_read_back(tmp_path: Path) -> None:
    assert opened(tmp_path / "a", SQUASHFS + trailer(b'{"a":1}')).config == b'{"a":1}'


def test_length_of_the_configuration_cannot_reach_into_the_squashfs(tmp_path: Path) -> None:
    data = trailer(b"x")
    lie = data[:1] + (4000).to_bytes(8, "little") + data[9:]
    assert opened(tmp_path / "a", SQUASHFS + lie).config == b""


def test_partition_of_a_sif_file_is_found(tmp_path: Path) -> None:
    found = opened(tmp_path / "a", sif_of(SQUASHFS))
    assert (found.offset, found.size_bytes, found.is_sif) == (36864, 4096, True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a squashfs nor a SIF"),
        (b"PK" + bytes(500), "neither a squashfs nor a SIF"),
        (SQUASHFS[:3000], "cut short, 3000 of 4096"),
        (sif_of(SQUASHFS)[:38000], "cut short"),
        (sif_of(SQUASHFS, file_system=2), "is ext3"),
        (sif_of(SQUASHFS, file_system=5), "is encrypted"),
        (sif_of(SQUASHFS, role=3), "no system partition"),
        (sif_of(SQUASHFS)[:100], "damaged"),
    ],
    ids=["empty", "zip", "cut", "sif cut", "ext3", "encrypted", "data only", "header cut"],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidArchive, match=message):
        opened(tmp_path / "a", data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=700), st.integers(0, 700))
def test_any_sif_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    data = sif_of(SQUASHFS)
    place = (at % 200) if at < 350 else 4096 + at
    data = data[:place] + noise + data[place + len(noise) :]
    try:
        found = opened(tmp_path_factory.mktemp("sif") / "a", data)
    except (InvalidArchive, StoreUnusable):
        return
    assert found.offset + found.size_bytes <= len(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.sqfs", True), ("/x/b.sif", True), ("debian:12", False), ("a.sif:latest", False)],
)
def test_file_names(text: str, expected: bool) -> None:
    assert is_file_name(text) is expected
