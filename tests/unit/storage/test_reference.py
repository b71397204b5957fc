import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidReference
from storage.reference import (
    LOCAL_REGISTRY,
    Reference,
    is_short_name,
    local_candidates,
    parse_reference,
    without_digest,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("docker://quay.io/a/b", "quay.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("registry.example/a/b/c:T_1.2-x", "registry.example/a/b/c:T_1.2-x"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("127.0.0.1:5000/a__b/c-d.e", "127.0.0.1:5000/a__b/c-d.e:latest"),
        ("REG/x", "REG/x:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"quay.io/a:t@{DIGEST}", f"quay.io/a:t@{DIGEST}"),
    ],
)
def test_parse_fills_in_defaults(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "a:",
        "a:b:c",
        "A",
        "a/B",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a._b",
        "a//b",
        "/a",
        "a/",
        "a b",
        "a\0b",
        "a\n",
        "é",
        "../x",
        "x/../y",
        "a:" + "t" * 129,
        "a:.t",
        "a@sha256:12",
        "a@md5:" + "0" * 32,
        f"a@{DIGEST}0",
        "host:port/x",
        "host:99999/x",
        "a" * 256,
        "[::1/x.y",
        "0123456789abcdef" * 4,
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InvalidReference, match="image name"):
        parse_reference(text)


def test_upper_case_error_says_what_to_write() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference("quay.io/Me/App")
    assert "quay.io/me/app" in caught.value.remedy


def test_short_name_may_be_local() -> None:
    assert local_candidates("app:1") == ("localhost/app:1", "docker.io/library/app:1")
    assert local_candidates("me/app") == ("localhost/me/app:latest", "docker.io/me/app:latest")
    assert local_candidates("quay.io/me/app") == ("quay.io/me/app:latest",)
    assert is_short_name("me/app")
    assert not is_short_name("localhost/app")


def test_local_registry_as_default() -> None:
    assert str(parse_reference("x", default_registry=LOCAL_REGISTRY)) == "localhost/x:latest"


def test_without_digest_has_a_tag() -> None:
    assert str(without_digest(parse_reference(f"q.io/a@{DIGEST}"))) == "q.io/a:latest"


_word = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=6)
_component = st.lists(_word, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "---"]).map(lambda s: s.join(words))
)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_host = st.sampled_from(["docker.io", "localhost", "quay.io", "127.0.0.1:5000", "a-b.c:1", "[::1]"])


@given(
    _host,
    st.lists(_component, min_size=2, max_size=4),
    st.none() | _tag,
    st.none() | st.just(DIGEST),
)
def test_every_valid_name_survives_a_round_trip(
    host: str, parts: list[str], tag: str | None, digest: str | None
) -> None:
    wanted = Reference(host, "/".join(parts), tag or (None if digest else "latest"), digest)
    assert parse_reference(str(wanted)) == wanted


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_clear_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference as error:
        assert error.message.isprintable()
        return
    assert parse_reference(str(reference)) == reference
    assert ".." not in str(reference).split("/")


@given(st.text("abA0:/.@-_+%[]", max_size=40))
def test_names_of_near_misses(text: str) -> None:
    test_any_text_is_a_name_or_a_clear_error.hypothesis.inner_test(text)  # type: ignore[attr-defined]
