"""Maps of `--userns`: whole, without overlaps, the caller where asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.idmap import choose, fit_single_id, storage_maps
from rootless.errors import HostError, UsageError
from rootless.linux.userns import IdMaps, IdRange, to_host

Ranges = tuple[IdRange, ...]
UID, GID = 1000, 1001
RANGES: Ranges = ((1, 100_000, 65_536),)


def default_map(own: int, subordinate: list[tuple[int, int]]) -> Ranges:
    """Return what `rootless.host.identity.default_maps` makes: the caller, then the ranges."""
    lines, inside = [(0, own, 1)], 1
    for first, count in subordinate:
        lines.append((inside, first, count))
        inside += count
    return tuple(lines)


def expand(ranges: Ranges) -> dict[int, int]:
    """Return every single id; fails when one is there twice, inside or outside."""
    result: dict[int, int] = {}
    for inside, outside, count in ranges:
        assert count > 0
        for offset in range(count):
            assert inside + offset not in result
            result[inside + offset] = outside + offset
    assert len(set(result.values())) == len(result)
    return result


@st.composite
def subordinate_ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Some short ranges, apart from each other and from small host ids."""
    result, first = [], 100_000
    for _ in range(draw(st.integers(1, 4))):
        first += draw(st.integers(0, 50))
        count = draw(st.integers(1, 40))
        result.append((first, count))
        first += count
    return draw(st.permutations(result))


@given(ranges=subordinate_ranges(), inside=st.integers(0, 200))
def test_keep_id_maps_every_id_once_and_the_caller_where_asked(
    ranges: list[tuple[int, int]], inside: int
) -> None:
    default = default_map(UID, ranges)
    chosen = choose(f"keep-id:uid={inside}", IdMaps(default, default), UID, GID)
    ids = expand(chosen.maps.uids)
    assert ids[inside] == UID
    assert set(ids.values()) == set(expand(default).values())
    others = sorted(number for number in ids if number != inside)
    beside = [number for number in range(len(others) + 1) if number != inside]
    assert others == beside[: len(others)], "the other ids begin at 0 and leave nothing out"
    assert (chosen.own_uid, chosen.own_gid) == (inside, GID)


@given(ranges=subordinate_ranges())
def test_nomap_has_every_id_but_the_caller(ranges: list[tuple[int, int]]) -> None:
    default = default_map(UID, ranges)
    chosen = choose("nomap", IdMaps(default, default), UID, GID)
    ids = expand(chosen.maps.uids)
    assert sorted(ids) == list(range(len(ids)))
    assert set(ids.values()) == set(expand(default).values()) - {UID}
    assert (chosen.own_uid, chosen.own_gid) == (None, None)


@given(ranges=subordinate_ranges(), mode=st.sampled_from(["host", "keep-id", "nomap"]))
def test_layers_are_unpacked_by_a_map_that_has_the_caller(
    ranges: list[tuple[int, int]], mode: str
) -> None:
    default = IdMaps(default_map(UID, ranges), default_map(GID, ranges))
    chosen = choose(mode, default, UID, GID)
    maps = storage_maps(chosen, default)
    assert UID in expand(maps.uids).values()
    assert GID in expand(maps.gids).values()
    for inside, outside in expand(chosen.maps.uids).items():
        assert to_host(maps.uids, inside) == outside, "a file has the same owner on disk"


@given(ranges=subordinate_ranges(), number=st.integers(0, 200))
def test_to_host_finds_what_the_map_says(ranges: list[tuple[int, int]], number: int) -> None:
    default = default_map(UID, ranges)
    assert to_host(default, number) == expand(default).get(number)


@pytest.mark.parametrize("mode", ["", "host", "private"])
def test_the_default_map_has_the_caller_as_root(mode: str) -> None:
    default = IdMaps(((0, UID, 1), *RANGES), ((0, GID, 1), *RANGES))
    chosen = choose(mode, default, UID, GID)
    assert (chosen.maps, chosen.own_uid, chosen.own_gid) == (default, 0, 0)


def test_keep_id_takes_user_and_group_apart() -> None:
    default = IdMaps(((0, UID, 1), *RANGES), ((0, GID, 1), *RANGES))
    chosen = choose("keep-id:uid=5,gid=7", default, UID, GID)
    assert to_host(chosen.maps.uids, 5) == UID
    assert to_host(chosen.maps.gids, 7) == GID
    assert to_host(chosen.maps.uids, 0) == 100_000


@pytest.mark.parametrize(
    "mode",
    ["auto", "keep-id:uid", "keep-id:uid=x", "keep-id:uid=-1", "keep-id:size=x",
     "keep-id:uid=4294967295", "keep-id:uid=99999999999", "host:5", "nomap:x", "container:x"],
)  # fmt: skip
def test_wrong_modes_are_usage_errors(mode: str) -> None:
    default = IdMaps(((0, UID, 1), *RANGES), ((0, GID, 1), *RANGES))
    with pytest.raises(UsageError, match="--userns"):
        choose(mode, default, UID, GID)


class TestSingleId:
    default = IdMaps(((0, UID, 1),), ((0, GID, 1),))

    def test_nomap_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(HostError) as caught:
            choose("nomap", self.default, UID, GID)
        assert "doctor" in caught.value.remedy

    def test_keep_id_maps_the_caller_to_himself(self) -> None:
        chosen = choose("keep-id", self.default, UID, GID)
        assert chosen.maps == IdMaps(((UID, UID, 1),), ((GID, GID, 1),))

    def test_the_id_stands_for_the_user_of_the_process(self) -> None:
        chosen = fit_single_id(choose("host", self.default, UID, GID), 33, 44)
        assert chosen.maps == IdMaps(((33, UID, 1),), ((44, GID, 1),))
        assert (chosen.own_uid, chosen.own_gid) == (33, 44)

    def test_keep_id_stays_as_it_is(self) -> None:
        chosen = choose("keep-id", self.default, UID, GID)
        assert fit_single_id(chosen, 33, 44) == chosen

    def test_layers_lie_under_the_default_map(self) -> None:
        chosen = choose("keep-id", self.default, UID, GID)
        assert storage_maps(chosen, self.default) == self.default
