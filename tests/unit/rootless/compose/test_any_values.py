"""Whatever a file says is read, or refused with its place; merging and reading have properties."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.compose.documents import read_documents
from rootless.compose.errors import ComposeError, InvalidFile
from rootless.compose.merge import merge
from rootless.compose.parts import Part
from rootless.compose.project_values import PROJECT
from rootless.compose.readers import At
from rootless.compose.service_values import SERVICE, SERVICE_KEYS
from rootless.compose.show import as_text
from rootless.compose.translate import make_request
from tests.unit.rootless.compose.test_translate import NOTHING

AT = At("file", "/nowhere")
WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["a", "1", "a:b", "/a:/b:ro", "1:2", "1-2:3-4/udp", "5m", "10s", "a=b", "-1"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(), WORDS)
NAMES = st.sampled_from(
    ["source", "target", "type", "condition", "test", "path", "soft", "hard", "driver", "context",
     "resources", "limits", "cpus", "memory", "replicas", "x-a", "external", "name", "a"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
SERVICES = st.dictionaries(st.sampled_from(sorted(SERVICE_KEYS)), VALUES, max_size=4)


@settings(max_examples=300, deadline=None)
@given(SERVICES)
def test_any_service_is_read_or_refused_with_its_place(raw: dict[str, object]) -> None:
    try:
        SERVICE(raw, AT / "services" / "web")
    except InvalidFile as error:
        assert error.message.startswith("validating file: services.web")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["services", "networks", "volumes", "secrets", "configs",
                                        "include", "name"]), VALUES, max_size=3))  # fmt: skip
def test_any_file_is_read_or_refused(raw: dict[str, object]) -> None:
    try:
        PROJECT(raw, AT)
    except InvalidFile as error:
        assert error.message.startswith("validating file: ")


@settings(max_examples=200, deadline=None)
@given(SERVICES)
def test_what_is_read_becomes_a_request_or_is_refused(raw: dict[str, object]) -> None:
    from rootless.compose.project import Project

    kept = {key: value for key, value in raw.items() if key not in ("volumes", "networks")}
    try:
        fields = SERVICE(kept, AT)
        project = Project(
            "p", "/", (), {"web": Part(fields)}, {}, {}, {}, {}, {}, {}
        )  # fmt: skip
        if not {"secrets", "configs"} & set(kept):
            make_request(project, "web", NOTHING)
        assert json.loads(as_text(project, "json"))["name"] == "p"
    except ComposeError:
        return


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_documents(data, "file")
    except InvalidFile as error:
        assert "\n" not in error.message


# JSON writes what lies above as two halves, which YAML does not know.
LETTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
PLAIN = st.recursive(
    st.one_of(st.integers(-(10**17), 10**17), st.text(LETTERS, max_size=3)),
    lambda inner: st.one_of(
        st.lists(st.text(LETTERS, max_size=2), unique=True, max_size=3),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=6,
)
MAPPINGS = st.dictionaries(st.sampled_from("abcd"), PLAIN, max_size=4)


@given(MAPPINGS)
def test_merging_with_nothing_or_itself_changes_nothing(value: dict[str, object]) -> None:
    assert merge(value, {}) == merge({}, value) == merge(value, value) == value


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_merging_is_associative(
    one: dict[str, object], two: dict[str, object], three: dict[str, object]
) -> None:
    left = merge(merge(one, two), three)
    # Where a scalar stands between two mappings or lists, it has made room for the third alone.
    if _shapes_agree(one, two, three):
        assert left == merge(one, merge(two, three))


def _shapes_agree(*values: object) -> bool:
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        return False
    mappings = [value for value in values if isinstance(value, dict)]
    keys = {key for value in mappings for key in value}
    return all(_shapes_agree(*(v[key] for v in mappings if key in v)) for key in keys)


@given(MAPPINGS)
def test_yaml_gives_back_what_was_written(value: dict[str, object]) -> None:
    found = read_documents(json.dumps(value).encode(), "file")
    assert found[0].value == value
