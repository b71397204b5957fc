"""What the mode of a bind mount's source lets the container's user do."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.access import letters, permitted, to_inside
from rootless.container.reach import first_blocked
from rootless.linux.userns import to_host

RANGES = ((0, 1000, 1), (1, 100_000, 65_536))
OWNER, GROUP = 1000, 2000


@given(st.integers(0, 65_536))
def test_ids_inside_are_the_inverse_of_the_map(inside: int) -> None:
    host_id = to_host(RANGES, inside)
    assert host_id is not None
    assert to_inside(RANGES, host_id) == inside


@pytest.mark.parametrize("host_id", [0, 999, 1001, 99_999, 165_536])
def test_unmapped_ids_have_no_number_inside(host_id: int) -> None:
    assert to_inside(RANGES, host_id) is None


def found(mode: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, OWNER, GROUP, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "gids", "may"),
    [
        (0o740, OWNER, (1,), "rwx"),
        (0o740, 1, (1, GROUP), "r"),
        (0o745, 1, (1,), "rx"),
        # One class alone counts, even where a later one has more.
        (0o077, OWNER, (GROUP,), "nothing"),
        (0o707, 1, (GROUP,), "nothing"),
    ],
)
def test_one_class_of_the_mode_counts(mode: int, uid: int, gids: tuple[int, ...], may: str) -> None:
    assert letters(permitted(found(mode), uid, gids)) == may


def test_a_way_that_is_open_blocks_nowhere(tmp_path: os.PathLike[str]) -> None:
    assert first_blocked(os.fspath(tmp_path), os.getuid() or 1) == ""
