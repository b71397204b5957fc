"""What registries.conf says about where an image comes from."""

import pytest

from storage.errors import InvalidDocument, PolicyRefused
from storage.reference import parse_reference
from storage.registry.registries import find_sources, read_registries

DIGEST = "sha256:" + "1" * 64


def _sources(name: str, *tables: dict[str, object]) -> list[tuple[str, bool]]:
    registries = read_registries([("conf", {"registry": list(tables)})])
    found = find_sources(registries, parse_reference(name))
    return [(str(one.reference), one.insecure) for one in found]


@pytest.mark.parametrize(
    ("name", "table", "found"),
    [
        ("a.io/x", {"location": "b.io"}, "a.io/x:latest"),
        ("a.io/x", {"prefix": "a.io", "location": "b.io/c"}, "b.io/c/x:latest"),
        ("a.io/x/y:1", {"prefix": "a.io/x", "location": "b.io"}, "b.io/y:1"),
        ("a.io/xy:1", {"prefix": "a.io/x", "location": "b.io"}, "a.io/xy:1"),
        ("a.io/x:1", {"prefix": "a.io/x", "location": "b.io/z"}, "b.io/z:1"),
        (f"a.io/x@{DIGEST}", {"prefix": "a.io", "location": "b.io"}, f"b.io/x@{DIGEST}"),
        ("a.io:5000/x", {"prefix": "a.io", "location": "b.io"}, "b.io:5000/x:latest"),
        ("n.a.io/x", {"prefix": "*.a.io", "location": "b.io"}, "b.io/x:latest"),
        ("a.io/x", {"prefix": "*.a.io", "location": "b.io"}, "a.io/x:latest"),
        ("na.io/x", {"prefix": "*.a.io", "location": "b.io"}, "na.io/x:latest"),
        ("n.a.io/x", {"prefix": "*.a.io"}, "n.a.io/x:latest"),
        ("busybox", {"prefix": "docker.io", "location": "b.io"}, "b.io/library/busybox:latest"),
    ],
)
def test_location_takes_the_place_of_the_prefix(
    name: str, table: dict[str, object], found: str
) -> None:
    assert _sources(name, table) == [(found, False)]


def test_longest_prefix_decides() -> None:
    tables = ({"location": "a.io", "blocked": True}, {"location": "a.io/x", "insecure": True})
    assert _sources("a.io/x/y", *tables) == [("a.io/x/y:latest", True)]
    with pytest.raises(PolicyRefused, match="blocked"):
        _sources("a.io/z", *tables)


def test_mirrors_come_first_where_they_may_be_asked() -> None:
    table: dict[str, object] = {
        "location": "a.io",
        "mirror": [
            {"location": "m1.io", "insecure": True},
            {"location": "m2.io/p", "pull-from-mirror": "digest-only"},
            {"location": "m3.io", "pull-from-mirror": "tag-only"},
        ],
    }
    assert _sources("a.io/x:1", table) == [
        ("m1.io/x:1", True), ("m3.io/x:1", False), ("a.io/x:1", False),
    ]  # fmt: skip
    assert [name for name, _ in _sources(f"a.io/x@{DIGEST}", table)] == [
        f"m1.io/x@{DIGEST}", f"m2.io/p/x@{DIGEST}", f"a.io/x@{DIGEST}",
    ]  # fmt: skip
    by_digest = {**table, "mirror-by-digest-only": True}
    assert _sources("a.io/x:1", by_digest) == [("a.io/x:1", False)]


def test_later_file_replaces_the_table_of_a_prefix() -> None:
    documents: list[tuple[str, dict[str, object]]] = [
        ("one", {"registry": [{"location": "a.io", "blocked": True}]}),
        ("two", {"registry": [{"location": "a.io"}]}),
    ]
    assert len(find_sources(read_registries(documents), parse_reference("a.io/x"))) == 1


@pytest.mark.parametrize(
    "document",
    [
        {"registry": {"location": "a.io"}},
        {"registry": [1]},
        {"registry": [{}]},
        {"registry": [{"prefix": "a.io"}]},
        {"registry": [{"prefix": "a.*.io", "location": "a.io"}]},
        {"registry": [{"location": 1}]},
        {"registry": [{"location": "a.io", "insecure": "yes"}]},
        {"registry": [{"location": "a.io", "mirror": [{}]}]},
        {"registry": [{"location": "a", "mirror": [{"location": "b", "pull-from-mirror": "x"}]}]},
        {"registries": {"block": {"registries": ["a.io"]}}},
    ],
    ids=repr,
)
def test_what_is_not_understood_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(InvalidDocument, match="conf"):
        read_registries([("conf", document)])
