import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.registry.challenge import Challenge, format_challenges, parse_challenges

_TOKEN = st.text(alphabet=string.ascii_lowercase + string.digits + "-._", min_size=1, max_size=12)
_VALUE = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=0, max_size=30
)
_CHALLENGES = st.lists(
    st.builds(Challenge, _TOKEN, st.dictionaries(_TOKEN, _VALUE, max_size=4)), max_size=4
).map(tuple)


@given(_CHALLENGES)
def test_challenges_survive_writing_and_reading(challenges: tuple[Challenge, ...]) -> None:
    assert parse_challenges(format_challenges(challenges)) == challenges


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Basic", [("basic", {})], id="scheme-alone"),
        pytest.param('Basic realm="x y"', [("basic", {"realm": "x y"})], id="quoted"),
        pytest.param("Bearer realm=x , service=y", [("bearer", {"realm": "x", "service": "y"})],
                     id="unquoted"),
        pytest.param(
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
            'scope="repository:library/busybox:pull,push"',
            [("bearer", {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:library/busybox:pull,push",
            })],
            id="docker-hub-with-a-comma-in-a-value",
        ),
        pytest.param('Negotiate, Basic realm="r", Bearer realm="b"',
                     [("negotiate", {}), ("basic", {"realm": "r"}), ("bearer", {"realm": "b"})],
                     id="several"),
        pytest.param('Negotiate a87421000492aa874209af8bc028==, Basic realm="r"',
                     [("negotiate", {}), ("basic", {"realm": "r"})], id="token68"),
        pytest.param(r'Basic realm="a\"b\\c"', [("basic", {"realm": 'a"b\\c'})], id="escaped"),
        pytest.param('Basic realm="open', [("basic", {"realm": "open"})], id="no-closing-quote"),
        pytest.param('BASIC REALM="R"', [("basic", {"realm": "R"})], id="case"),
        pytest.param(",, ,Basic realm=x,", [("basic", {"realm": "x"})], id="empty-elements"),
        pytest.param("", [], id="empty"),
        pytest.param('"', [], id="no-scheme"),
    ],
)  # fmt: skip
def test_challenge_is_read(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(challenge) for challenge in parse_challenges(text)] == expected


def test_a_parameter_that_is_repeated_keeps_its_first_value() -> None:
    (challenge,) = parse_challenges("Bearer realm=first, realm=second")
    assert challenge.parameters == {"realm": "first"}
