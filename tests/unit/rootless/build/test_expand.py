"""Variables and quotes in words."""

import pytest

from rootless.build.expand import Expander
from rootless.errors import UsageError

VALUES = {"a": "foo.tar.gz", "e": "", "p": "80 443", "path": "/x/y/z"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$a", "foo.tar.gz"),
        ("${a}", "foo.tar.gz"),
        ("x${a}y$e", "xfoo.tar.gzy"),
        ("$unknown", ""),
        ("\\$a", "$a"),
        ("'$a'", "$a"),
        ('"$a b"', "foo.tar.gz b"),
        ('"\\$a \\n"', "$a \\n"),
        ("a$", "a$"),
        ("$$a", "$foo.tar.gz"),
        ("$1x", "x"),
        ("${x:-w}", "w"),
        ("${e:-w}", "w"),
        ("${e-w}", ""),
        ("${x-w}", "w"),
        ("${e:+w}", ""),
        ("${e+w}", "w"),
        ("${a:+w}", "w"),
        ("${x:+w}", ""),
        ("${x:-${y:-$a}}", "foo.tar.gz"),
        ("${x:-'$a'}", "$a"),
        ("${a:?no}", "foo.tar.gz"),
        ("${a#*.}", "tar.gz"),
        ("${a##*.}", "gz"),
        ("${a%.*}", "foo.tar"),
        ("${a%%.*}", "foo"),
        ("${a#f?o}", ".tar.gz"),
        ("${a#nothing}", "foo.tar.gz"),
        ("${a/o/0}", "f0o.tar.gz"),
        ("${a//o/0}", "f00.tar.gz"),
        ("${a/.*}", "foo"),
        ("${path//\\//-}", "-x-y-z"),
    ],
)
def test_word_is_expanded(text: str, expected: str) -> None:
    assert Expander(VALUES).word(text) == expected


def test_words_are_split_where_no_quotes_are() -> None:
    assert Expander(VALUES).words("$p 22 'a b' \"$p\"") == ["80", "443", "22", "a b", "80 443"]


def test_document_keeps_quotes() -> None:
    assert Expander(VALUES).document("'$a' \"\\$a\" \\n\n") == "'foo.tar.gz' \"$a\" \\n\n"


def test_unknown_names_are_remembered() -> None:
    expander = Expander(VALUES)
    expander.word("$no ${a} ${other:-x}")
    assert expander.unknown == ["no"]


@pytest.mark.parametrize(
    "text", ["${a", "${}", "${a!b}", "'a", '"a', "${x:?it is needed}", "${x" * 100 + ":-" * 100]
)
def test_bad_word_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Expander(VALUES).word(text)


def test_escape_character_can_be_another() -> None:
    assert Expander(VALUES, "`").word("`$a \\$a") == "$a \\foo.tar.gz"
