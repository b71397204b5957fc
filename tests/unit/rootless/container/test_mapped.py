"""How fuse-overlayfs is told to show layers of one id map in a namespace with another."""

from hypothesis import given
from hypothesis import strategies as st

from rootless.container.idmap import choose
from rootless.container.mapped import mapping_options, with_layers_of
from rootless.linux.userns import IdMaps

RANGES = ((0, 1000, 1), (1, 100_000, 65_536))
DEFAULT = IdMaps(RANGES, RANGES)


def test_keep_id_shows_the_layers_of_the_default_map() -> None:
    keep = choose("keep-id", DEFAULT, 1000, 1000)
    text = "1000:0:1:0:1:1000:1001:1001:64536"
    assert mapping_options(DEFAULT, keep.maps) == f",uidmapping={text},gidmapping={text}"
    assert with_layers_of(DEFAULT, keep).layers == DEFAULT


def test_a_namespace_without_the_callers_id_has_layers_of_its_own() -> None:
    nomap = choose("nomap", DEFAULT, 1000, 1000)
    assert mapping_options(DEFAULT, nomap.maps) == ""
    assert with_layers_of(DEFAULT, nomap).layers is None
    assert with_layers_of(DEFAULT, choose("", DEFAULT, 1000, 1000)).layers is None


@given(st.integers(0, 70_000), st.integers(0, 65_536))
def test_every_owner_is_what_the_image_says(own: int, owner: int) -> None:
    maps = choose(f"keep-id:uid={own},gid=0", DEFAULT, 1000, 1000).maps
    numbers = mapping_options(DEFAULT, maps).partition("uidmapping=")[2].partition(",")[0]
    values = [int(one) for one in numbers.split(":")]
    triples = list(zip(values[::3], values[1::3], values[2::3], strict=True))
    on_disk = 1000 if owner == 0 else 100_000 + owner - 1
    (seen,) = (i + on_disk - o for i, o, count in maps.uids if o <= on_disk < o + count)
    (shown,) = (to + seen - start for start, to, count in triples if start <= seen < start + count)
    assert shown == owner
