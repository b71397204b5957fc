import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.names import check_name, make_name
from rootless.errors import UsageError

FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@pytest.mark.parametrize("name", ["a", "0", "web-1", "a_b.c-d", "A" * 240])
def test_names_of_the_grammar_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-a", "_a", ".a", "a b", "a/b", "a\n", "é", "a:b", "A" * 241, "\0"],
    ids=repr,
)
def test_other_names_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match="invalid name"):
        check_name(name)


@given(name=st.text(max_size=20))
def test_a_name_that_passes_is_safe_as_a_file_name(name: str) -> None:
    try:
        check_name(name)
    except UsageError:
        return
    assert name[0] in FIRST
    assert set(name) <= set(FIRST + "_.-")


def test_made_names_follow_the_grammar_and_differ() -> None:
    names = {check_name(make_name()) for _ in range(200)}
    assert len(names) > 100
