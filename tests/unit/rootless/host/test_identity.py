"""Subordinate ids: what is read, and that the kernel would take the map."""

from hypothesis import given
from hypothesis import strategies as st

from rootless.host.identity import Ranges, default_maps, disjoint, parse_ranges

TEXT = """\
# comment
alice:100000:65536
bob:200000:65536
1000:300000:10
alice:400000:0
alice:x:5
alice:500000
alice:600000:7 \n
"""


def test_lines_of_name_and_number_are_read() -> None:
    assert parse_ranges(TEXT, 1000, "alice") == ((100000, 65536), (300000, 10), (600000, 7))


def test_other_users_lines_are_not() -> None:
    assert parse_ranges(TEXT, 1001, "bob") == ((200000, 65536),)


def test_map_stacks_the_ranges() -> None:
    maps = default_maps(1000, 1001, Ranges(((100000, 10), (300000, 5)), ((100000, 15),)))
    assert maps.uids == ((0, 1000, 1), (1, 100000, 10), (11, 300000, 5))
    assert maps.gids == ((0, 1001, 1), (1, 100000, 15))


def test_without_ranges_the_map_is_single() -> None:
    maps = default_maps(1000, 1001, Ranges((), (), "none", "add some"))
    assert (maps.uids, maps.gids) == (((0, 1000, 1),), ((0, 1001, 1),))
    assert maps.is_single


def test_own_id_is_cut_out_of_a_range() -> None:
    assert disjoint(((999, 3),), 1000) == ((999, 1), (1001, 1))


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=6),
    st.integers(0, 60),
)
def test_no_id_is_mapped_twice_and_none_is_lost(ranges: list[tuple[int, int]], own: int) -> None:
    result = disjoint(tuple(ranges), own)
    ids = [number for first, count in result for number in range(first, first + count)]
    wanted = {number for first, count in ranges for number in range(first, first + count)}
    assert len(ids) == len(set(ids))
    assert set(ids) == wanted - {own}


def test_ids_beyond_the_last_are_cut() -> None:
    assert disjoint(((4294967290, 100),), 0) == ((4294967290, 5),)
