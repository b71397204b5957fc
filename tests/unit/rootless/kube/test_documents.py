"""Documents are read with the place in every error."""

import pytest

from rootless.errors import UsageError
from rootless.kube.documents import Fields, parse_documents


def test_documents_and_items_of_lists_are_found() -> None:
    data = b"""
kind: List
items:
- {kind: Pod, metadata: {name: a}}
- {kind: Service, metadata: {name: b}}
---
---
kind: ConfigMap
metadata: {name: c}
"""
    found = [(one.kind, one.name) for one in parse_documents(data, "f")]
    assert found == [("Pod", "a"), ("Service", "b"), ("ConfigMap", "c")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: [b", "could not be split"),
        (b"\xff\xfe\x00", "could not be split"),
        (b"- 1", "an object was expected"),
        (b"kind: Service\nmetadata: {name: x}", "any supported kube kind"),
        (b"", "any supported kube kind"),
        (b"kind: Pod", "pod does not have a name"),
        (b"kind: Pod\nmetadata: {name: 7}", "text was expected, not 7"),
        (b"kind: !!python/object/apply:os.system [id]", "could not be split"),
        (b"[" * 5000, "could not be split"),
        (b"x" * ((4 << 20) + 1), "larger than 4 MiB"),
    ],
    ids=["yaml", "bytes", "list", "kind", "empty", "nameless", "number", "python", "deep", "large"],
)
def test_what_is_wrong_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_documents(data, "f")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: f.text("number"), "Pod a.number: text was expected, not 1"),
        (lambda f: f.texts("mixed"), r"Pod a.mixed\[1\]: text was expected"),
        (lambda f: f.number("text"), "Pod a.text: a whole number was expected"),
        (lambda f: f.number("yes"), "Pod a.yes: a whole number"),
        (lambda f: f.flag("text"), "Pod a.text: true or false"),
        (lambda f: f.parts("mixed"), r"Pod a.mixed\[0\]: an object"),
        (lambda f: f.part("mixed"), "Pod a.mixed: an object"),
        (lambda f: f.texts("text"), "Pod a.text: a list"),
        (lambda f: f.needed("nothing"), "Pod a.nothing is missing"),
        (lambda f: f.numbers("mixed"), "Pod a.mixed: a list of numbers"),
        (lambda f: f.quantity("yes"), "Pod a.yes: an amount"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_place(call: object, said: str) -> None:
    fields = Fields({"number": 1, "text": "x", "mixed": ["x", 1], "yes": True}, "Pod a")
    with pytest.raises(UsageError, match=said):
        call(fields)  # type: ignore[operator]  # one of the above
