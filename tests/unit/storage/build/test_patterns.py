"""Ignore patterns as moby's patternmatcher reads them, wildcards as Go's filepath.Match does."""

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.build.errors import InvalidPattern
from storage.build.patterns import Patterns, compile_glob, read_ignore_file


def leaves_out(patterns: list[str], path: str) -> bool:
    """Match a path as a walk from the top does."""
    matcher = Patterns(patterns)
    parts = path.split("/")
    mask = 0
    verdict = False
    for depth in range(1, len(parts) + 1):
        verdict, mask = matcher.match("/".join(parts[:depth]), mask)
    return verdict


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["*"], "fileutils.go", True),
        (["*"], "a/b", True),
        (["*.go"], "fileutils.go", True),
        (["*.go"], "x/fileutils.go", False),
        (["**/*.go"], "x/y/fileutils.go", True),
        (["**/*.go"], "fileutils.go", True),
        (["**"], "anything/below", True),
        (["**/"], "file", True),
        (["dir/**"], "dir/file", True),
        (["dir/**"], "dir", False),
        (["dir/**"], "other/dir/file", False),
        (["**/dir2/*"], "dir/dir2/file", True),
        (["**/dir2/*"], "dir/dir2/dir2/file", True),
        (["**/dir2/**"], "dir/dir2/sub/file", True),
        (["**/**"], "file", True),
        (["**file"], "dir/xfile", True),
        (["**file"], "xfile", True),
        (["**/file"], "dir/file", True),
        (["**/file"], "xfile", False),
        (["**/*.txt"], "dir/.txt", True),
        (["a**/*.txt"], "a/file.txt", True),
        (["a**/*.txt"], "a/b/file.txt", True),
        (["a**/*.txt"], "ab/file.txt", True),
        (["a**/*.txt"], "b/file.txt", False),
        (["a/b"], "a/b/c", True),
        (["a/b"], "x/a/b", False),
        (["a[b-d]e"], "ace", True),
        (["a[b-d]e"], "afe", False),
        (["a[^b]c"], "adc", True),
        (["a[^b]c"], "abc", False),
        (["a\\*b"], "a*b", True),
        (["a\\*b"], "axb", False),
        (["a?b"], "a/b", False),
        (["ab{1}"], "ab{1}", True),
        (["a.b"], "axb", False),
        (["a(b)"], "a(b)", True),
        ([".*"], ".foo", True),
        ([".*"], "foo", False),
        (["node_modules", "!node_modules/keep"], "node_modules/keep", False),
        (["node_modules", "!node_modules/keep"], "node_modules/lost", True),
        (["*", "!src"], "src/main.c", False),
        (["*", "!src", "src/*.o"], "src/main.o", True),
        (["!a", "a"], "a", True),
        (["a", "!a"], "a", False),
        (["docs", "!docs/README.md", "docs/README.*"], "docs/README.md", True),
        (["**/secret", "!**/secret/public"], "x/secret/public", False),
        ([""], "file", False),
    ],
)
def test_ignore_pattern_leaves_out(patterns: list[str], path: str, expected: bool) -> None:
    assert leaves_out(patterns, path) is expected


@pytest.mark.parametrize("pattern", ["!", "a[", "[]a]", "[-x]", "a\\", "[a-]"])
def test_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        Patterns([pattern])


def test_ignore_file_is_cleaned() -> None:
    text = "\ufeff# comment\n\n  a/b/../c  \n/top\n! /kept\n  #not a comment\n./x/\n"
    assert read_ignore_file(text.encode()) == ("a/c", "top", "!kept", "#not a comment", "x")


def test_binary_ignore_file_is_refused() -> None:
    with pytest.raises(InvalidPattern):
        read_ignore_file(b"\0\1\2")


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["!a/b/c"], "a", True),
        (["!a/b/c"], "a/b", True),
        (["!a/b/c"], "x", False),
        (["!**/c"], "x", True),
        (["!a/*/c"], "a/q", True),
        (["!a/*/c"], "b", False),
        (["!a"], "a/b", True),
    ],
)
def test_exception_may_keep_below(patterns: list[str], path: str, expected: bool) -> None:
    assert Patterns(patterns).may_keep_below(path) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("abc", "abc", True),
        ("*c", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a[!a]b", "a☺b", False),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("*x", "xxx", True),
        ("[\\]a]", "]", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
    ],
)
def test_glob_matches(pattern: str, name: str, expected: bool) -> None:
    assert bool(compile_glob(pattern).match(name)) is expected


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        matcher = Patterns([text])
    except InvalidPattern:
        return
    assert matcher.match("a/b") == matcher.match("a/b")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("*a" * 12 + "b", "a" * 200), ("**/a/" * 12 + "b", "a/" * 100 + "a")],
    ids=["stars", "directories"],
)
def test_many_wildcards_take_no_exponential_time(pattern: str, path: str) -> None:
    assert not leaves_out([pattern], path)
    assert leaves_out([pattern], path.replace("a", "x") + "a" * 12 + "b") is pattern.startswith(
        "*a"
    )


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**/", "/**"]), min_size=1, max_size=7),
    st.text("ab/", min_size=1, max_size=8),
)
def test_pattern_matches_as_its_plain_expression(pieces: list[str], path: str) -> None:
    pattern = posixpath.normpath("".join(pieces))
    path = posixpath.normpath(path)
    if pattern.startswith(("/", "**")) or path.startswith("/") or "***" in pattern:
        return
    plain = ""
    position = 0
    while position < len(pattern):
        if pattern.startswith("**", position):
            position += 3 if pattern.startswith("**/", position) else 2
            plain += "(.*/)?" if position < len(pattern) else ".*"
            continue
        letter = pattern[position]
        plain += {"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter))
        position += 1
    expected = re.fullmatch(f"(?s:{plain})", path) is not None
    assert Patterns([pattern]).match(path)[0] is expected
