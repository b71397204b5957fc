"""Variables in values: every form, bad forms, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.compose.errors import InvalidFile
from rootless.compose.interpolate import Variables

VALUES = {"A": "a", "EMPTY": "", "N": "NAME"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "a"),
        ("${A}", "a"),
        ("x${A}y$A", "xaya"),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$$$A", "$a"),
        ("${NONE:-d}", "d"),
        ("${NONE-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:-d}", "a"),
        ("${A:+r}", "r"),
        ("${EMPTY:+r}", ""),
        ("${EMPTY+r}", "r"),
        ("${NONE+r}", ""),
        ("${NONE:-${A}}", "a"),
        ("${NONE:-${ALSO-${A}b}}c", "abc"),
        ("${NONE:-}", ""),
        ("${NONE:-$$}", "$"),
        ("${A:?must}", "a"),
        ("${NONE:-a:b}", "a:b"),
        ("$NONE", ""),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert Variables(VALUES).expand(text, "here") == expected


@pytest.mark.parametrize("text", ["$", "a$", "${", "${}", "${A", "${A!b}", "$ A", "${1}", "$1"])
def test_bad_form_names_the_place(text: str) -> None:
    with pytest.raises(InvalidFile, match=r"invalid interpolation format for services.web.image"):
        Variables(VALUES).expand(text, "services.web.image")


@pytest.mark.parametrize("text", ["${NONE:?say why}", "${NONE?say why}", "${EMPTY:?say why}"])
def test_required_variable_says_why(text: str) -> None:
    with pytest.raises(InvalidFile, match=r"required variable .* is missing a value: say why"):
        Variables(VALUES).expand(text, "here")


def test_missing_variable_is_told_once() -> None:
    told: list[str] = []
    variables = Variables({}, told.append)
    variables.expand_all({"a": "$X", "b": ["${X}", "$$X"]})
    assert told == ['The "X" variable is not set. Defaulting to a blank string.']


def test_keys_stay_as_they_are() -> None:
    assert Variables(VALUES).expand_all({"$A": ["$A", 1, None]}) == {"$A": ["a", 1, None]}


def test_nested_defaults_have_a_limit() -> None:
    text = "${X:-" * 100 + "}" * 100
    with pytest.raises(InvalidFile, match="nested too deeply"):
        Variables({}).expand(text, "here")


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_a_dollar_is_itself(text: str) -> None:
    assert Variables(VALUES).expand(text, "here") == text


@given(st.text())
def test_doubled_dollars_give_the_text_back(text: str) -> None:
    assert Variables(VALUES).expand(text.replace("$", "$$"), "here") == text


@given(st.text(alphabet="$ {}:-?+Aab"))
def test_any_text_ends_or_is_refused(text: str) -> None:
    try:
        Variables(VALUES).expand(text, "here")
    except InvalidFile as error:
        assert "here" in error.message
