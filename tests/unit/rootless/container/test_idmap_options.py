"""--uidmap, --gidmap, --userns=auto: maps in the user's own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.idmap_options import _fill, mapped_namespace, parse_entry
from rootless.errors import HostError, RootlessError, UsageError
from rootless.linux.userns import IdMaps, IdRange

DEFAULT: tuple[IdRange, ...] = ((0, 1000, 1), (1, 100_000, 65_536))
MAPS = IdMaps(DEFAULT, ((0, 1001, 1), (1, 200_000, 65_536)))


def uids(*texts: str) -> tuple[IdRange, ...]:
    return mapped_namespace(texts, ("0:0:1",), "host", MAPS).maps.uids


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (("0:0:1000",), ((0, 1000, 1), (1, 100_000, 999))),
        (("0:1:10", "10:0"), ((0, 100_000, 10), (10, 1000, 1))),
        (("0:@100005:3",), ((0, 100_005, 3),)),
        (("0:0:10", "+100:5"), ((0, 1000, 1), (1, 100_000, 4), (6, 100_005, 4), (100, 100_004, 1))),
        (("+70000:65536",), ((0, 1000, 1), (1, 100_000, 65_535), (70_000, 165_535, 1))),
    ],
)
def test_uidmap_counts_in_the_default_map(
    texts: tuple[str, ...], wanted: tuple[IdRange, ...]
) -> None:
    assert uids(*texts) == wanted


@pytest.mark.parametrize(
    "texts",
    [
        ("",), ("1",), ("a:b:c",), ("0:0:0",), ("0:0:99999999",), ("0:0:1:1",), ("5:0:1",),
        ("0:0:5", "3:7:1"), ("0:0:5", "9:1:1"), ("0:@4:1",), ("0:70000:1",), ("0:-1:1",),
    ],
)  # fmt: skip
def test_bad_maps_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as failure:
        uids(*texts)
    assert "--uidmap" in failure.value.message


def test_groups_are_as_users_when_they_are_not_given() -> None:
    maps = mapped_namespace(("0:0:10",), (), "", MAPS).maps
    assert maps.gids == ((0, 1001, 1), (1, 200_000, 9))


def test_flags_choose_a_side() -> None:
    maps = mapped_namespace(("0:0:10", "u20:20", "g30:30"), (), "", MAPS).maps
    assert maps.uids == ((0, 1000, 1), (1, 100_000, 9), (20, 100_019, 1))
    assert maps.gids == ((0, 1001, 1), (1, 200_000, 9), (30, 200_029, 1))


def test_maps_and_userns_do_not_go_together() -> None:
    with pytest.raises(UsageError):
        mapped_namespace(("0:0:10",), (), "keep-id", MAPS)
    with pytest.raises(HostError):
        mapped_namespace(("0:0:1",), (), "", IdMaps(((0, 1, 1),), ((0, 1, 1),)))


@given(st.text(alphabet="+ug:@0123456789-x", max_size=14))
def test_any_text_is_a_map_or_an_error(text: str) -> None:
    try:
        result = uids(text)
    except RootlessError:
        return
    outer = [one for _, start, count in result for one in (start, start + count)]
    assert min(outer) >= 1000
    assert any(inside == 0 for inside, _, _ in result)


@given(
    st.integers(1, 3000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 500)), max_size=5),
)
def test_auto_gives_no_id_twice(size: int, used: list[tuple[int, int]]) -> None:
    default: tuple[IdRange, ...] = ((0, 1000, 1), (1, 100_000, 1500), (1501, 300_000, 1500))
    taken: list[IdRange] = [(0, 100_000 + start, count) for start, count in used]
    chosen = [parse_entry("5:0:1", "x")]
    try:
        result = _fill(size, chosen, default, taken, "uid")
    except HostError:
        return
    inside = sorted(one for i, _, n in result for one in range(i, i + n))
    assert inside[:size] == list(range(size))
    outside = {one for _, o, n in result for one in range(o, o + n)}
    assert len(outside) == len(inside)
    assert not outside & {one for _, o, n in taken for one in range(o, o + n)}
