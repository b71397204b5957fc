"""What names without a registry stand for: aliases, search lists, Docker Hub."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InvalidDocument, InvalidReference
from storage.registry.registries import read_registries
from storage.registry.shortnames import read_short_names, resolve_short_name

SEARCH = "unqualified-search-registries"


def resolved(name: str, *documents: dict[str, object]) -> tuple[list[str], bool]:
    known = read_short_names([(f"conf{number}", one) for number, one in enumerate(documents)])
    found = resolve_short_name(name, known)
    return [str(one) for one in found.candidates], found.must_choose


@pytest.mark.parametrize(
    ("name", "documents", "candidates"),
    [
        ("debian:12", [], ["docker.io/library/debian:12"]),
        ("a/b", [], ["docker.io/a/b:latest"]),
        ("debian", [{SEARCH: ["q.io"]}], ["q.io/debian:latest"]),
        ("debian", [{SEARCH: ["docker.io"]}], ["docker.io/library/debian:latest"]),
        ("x:1", [{SEARCH: ["q.io", "r.io:5000"]}], ["q.io/x:1", "r.io:5000/x:1"]),
        ("x:1", [{SEARCH: ["q.io"]}, {SEARCH: ["r.io"]}], ["r.io/x:1"]),
        ("x:2", [{"aliases": {"x": "q.io/y/z"}}], ["q.io/y/z:2"]),
        ("x", [{"aliases": {"x": "q.io/y"}, SEARCH: ["r.io"]}], ["q.io/y:latest"]),
        ("a/x", [{"aliases": {"x": "q.io/y"}}], ["docker.io/a/x:latest"]),
        ("x", [{"aliases": {"x": "q.io/y"}}, {"aliases": {"x": "r.io/y"}}], ["r.io/y:latest"]),
        (
            "x",
            [{"aliases": {"x": "q.io/y"}}, {"aliases": {"x": ""}}],
            ["docker.io/library/x:latest"],
        ),
    ],
)
def test_short_name_stands_for(
    name: str, documents: list[dict[str, object]], candidates: list[str]
) -> None:
    assert resolved(name, *documents) == (candidates, False)


@pytest.mark.parametrize(
    ("mode", "registries", "must"),
    [
        ("enforcing", ["q.io", "r.io"], True),
        ("enforcing", ["q.io"], False),
        ("permissive", ["q.io", "r.io"], False),
        ("disabled", ["q.io", "r.io"], False),
    ],
)
def test_enforcing_wants_a_choice_of_several(mode: str, registries: list[str], must: bool) -> None:
    document: dict[str, object] = {SEARCH: registries, "short-name-mode": mode}
    assert resolved("x", document)[1] is must


def test_empty_search_list_is_obeyed() -> None:
    with pytest.raises(InvalidReference, match="names none"):
        resolved("x", {SEARCH: []})


@pytest.mark.parametrize(
    "document",
    [
        {SEARCH: "docker.io"},
        {SEARCH: [1]},
        {SEARCH: ["no host!"]},
        {"short-name-mode": "strict"},
        {"aliases": []},
        {"aliases": {"x": 1}},
        {"aliases": {"x": "not a name"}},
    ],
    ids=str,
)
def test_what_is_wrong_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(InvalidDocument):
        resolved("x", document)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [SEARCH, "aliases", "short-name-mode", "registry", "registries", "mirror", "location", "prefix",
     "insecure", "blocked", "pull-from-mirror"]
)  # fmt: skip
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)
DOCUMENTS = st.dictionaries(KEYS, VALUES | st.lists(TABLES, max_size=3), max_size=5)


@settings(deadline=None)
@given(DOCUMENTS)
def test_any_document_is_read_or_refused(document: dict[str, object]) -> None:
    try:
        known = read_short_names([("conf", document)])
        read_registries([("conf", document)])
        assert resolve_short_name("x:1", known).candidates
    except (InvalidDocument, InvalidReference) as error:
        assert error.message
