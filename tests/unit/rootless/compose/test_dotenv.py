"""Files of variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.compose.dotenv import parse_env, parse_raw
from rootless.compose.errors import InvalidFile

TEXT = """
# a comment
A=1
export B = two words   # and a comment
C='$A # kept'
D="$A\\n\\"quoted\\" \\$A"
E=${A}b
F=
G: yaml
H
I="several
lines"
J=a#b
K=${OUTSIDE}
"""


def test_forms() -> None:
    assert parse_env(TEXT, "f", {"OUTSIDE": "out"}) == {
        "A": "1",
        "B": "two words",
        "C": "$A # kept",
        "D": '1\n"quoted" $A',
        "E": "1b",
        "F": "",
        "G": "yaml",
        "H": None,
        "I": "several\nlines",
        "J": "a#b",
        "K": "out",
    }


def test_environment_wins_over_earlier_lines() -> None:
    assert parse_env("A=1\nB=$A", "f", {"A": "2"})["B"] == "2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A=1\n!=2", "f: line 2: unexpected character in variable name"),
        ("A='open", "unterminated quoted value"),
        ('A="a" b', "unexpected text after the value"),
        ("=x", "line 1: unexpected character"),
        ("two words", "'two' has no value"),
    ],
)
def test_bad_line_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidFile, match=words):
        parse_env(text, "f", {})


def test_raw_keeps_everything() -> None:
    assert parse_raw("A='$B' # c\n# no\n\nC\nD=a=b") == {"A": "'$B' # c", "C": None, "D": "a=b"}


@given(st.text())
def test_any_text_ends_or_is_refused(text: str) -> None:
    try:
        parse_env(text, "f", {})
    except InvalidFile as error:
        assert error.exit_code == 15


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(alphabet=st.characters(exclude_characters="'\r\0"))))
def test_single_quotes_keep_everything(values: dict[str, str]) -> None:
    text = "".join(f"{key}='{value}'\n" for key, value in values.items())
    assert parse_env(text, "f", {}) == values
