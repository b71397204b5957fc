"""Instructions: forms, flags, errors with their place."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootless.build import model
from rootless.build.errors import BuildError
from rootless.build.parser import parse


def first(text: str) -> object:
    return parse(f"FROM a\n{text}".encode(), "C").stages[0].instructions[0]


def fields(text: str) -> tuple[object, ...]:
    found = first(text)
    assert isinstance(found, tuple)
    return found[1:]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("env a=b c='d e' f=\"g h\"", model.Env, ((("a", "b"), ("c", "'d e'"), ("f", '"g h"')),)),
        ("ENV a b  c", model.Env, ((("a", "b  c"),),)),
        ("ARG a b=c", model.Arg, ((("a", None), ("b", "c")),)),
        ("LABEL a.b=c", model.Label, ((("a.b", "c"),),)),
        ("WORKDIR /a b", model.Workdir, ("/a b",)),
        ("USER a:b", model.User, ("a:b",)),
        ("EXPOSE 80 443/udp", model.Expose, (("80", "443/udp"),)),
        ("VOLUME /a /b", model.Volume, (("/a", "/b"),)),
        ('VOLUME ["/a b"]', model.Volume, (("/a b",),)),
        ("STOPSIGNAL SIGINT", model.StopSignal, ("SIGINT",)),
        ('SHELL ["/bin/bash", "-c"]', model.Shell, (("/bin/bash", "-c"),)),
        ("CMD a b", model.Cmd, (model.CommandLine(("a b",), True),)),
        ('CMD ["a", "b"]', model.Cmd, (model.CommandLine(("a", "b"), False),)),
        ("CMD []", model.Cmd, (model.CommandLine((), False),)),
        ("CMD ['a']", model.Cmd, (model.CommandLine(("['a']",), True),)),
        ("HEALTHCHECK NONE", model.Healthcheck, (None, "", "", "", "", "")),
        ("ONBUILD RUN a", model.Onbuild, ("RUN a",)),
        ("MAINTAINER me <m@e>", model.Maintainer, ("me <m@e>",)),
    ],
)  # fmt: skip
def test_instruction_is_read(text: str, kind: type, expected: tuple[object, ...]) -> None:
    assert isinstance(first(text), kind)
    assert fields(text) == expected


def test_healthcheck_has_its_times() -> None:
    check = first(
        "HEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD curl -f http://x || exit 1"
    )
    assert isinstance(check, model.Healthcheck)
    assert check.command == model.CommandLine(("curl -f http://x || exit 1",), True)
    assert (check.interval, check.timeout, check.retries) == ("5m", "3s", "2")


def test_copy_has_its_flags() -> None:
    copy = first("COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=*.o a b /d/")
    assert isinstance(copy, model.Copy)
    assert copy[1:] == (("a", "b"), "/d/", "b", "1:2", "u+x", True, True, ("*.o",), ())


def test_run_has_its_mounts() -> None:
    run = first(
        "RUN --mount=type=cache,target=/c,sharing=locked --mount=target=/s,ro --network=none make"
    )
    assert isinstance(run, model.Run)
    assert [(mount.kind, mount.fields) for mount in run.mounts] == [
        ("cache", (("target", "/c"), ("sharing", "locked"))),
        ("bind", (("target", "/s"), ("ro", "true"))),
    ]
    assert (run.network, run.command.words) == ("none", ("make",))


def test_stages_are_separated() -> None:
    parsed = parse(b"ARG v=1\nFROM a:$v AS One\nRUN x\nFROM --platform=linux/arm64 one\n", "C")
    assert [argument.pairs for argument in parsed.arguments] == [(("v", "1"),)]
    assert [stage.source[1:] for stage in parsed.stages] == [
        ("a:$v", "One", ""),
        ("one", "", "linux/arm64"),
    ]


@pytest.mark.parametrize(
    ("text", "message", "remedy", "caret"),
    [
        ("FROM a\nRUm x", "C:2: unknown instruction RUm", "did you mean RUN?", "^^^"),
        ("FROM a\nCOPI x y", "C:2: unknown instruction COPI", "did you mean COPY?", "^^^^"),
        (
            "FROM a\nCOPY --form=b x y",
            "C:2: COPY has no flag --form",
            "did you mean --from?",
            "     ^^^^^^^^",
        ),
        (
            "FROM a\nRUN \\\n  --mount=type=cash,target=/x y",
            "C:3: unknown type of mount 'cash'",
            "did you mean cache?",
            "  ^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        ),
        ("RUN x", "C:1: RUN stands before the first FROM", "only ARG may stand before FROM", "^^^"),
        ("FROM a\nENV a", "C:2: ENV a has no value", "write ENV a=VALUE", "    ^"),
        ("FROM a\nCOPY x", "C:2: COPY needs at least one source and the destination", "", ""),
        ("FROM a AS 1x", "C:1: 1x is no name for a stage", "", ""),
        ("FROM a b", "C:1: FROM takes one image, and a name: FROM IMAGE [AS NAME]", "", ""),
        ("FROM a\nSHELL bash", "C:2: SHELL needs the JSON form", "", ""),
        ("FROM a\nONBUILD FROM b", "C:2: ONBUILD FROM is not possible", "", ""),
        ("FROM a\nARG 1=2", "C:2: '1' is no name for an argument", "", ""),
        ("FROM a\nUSER", "C:2: USER needs at least one argument", "", ""),
        ("FROM a\nRUN --network=lan x", "C:2: --network is default, none or host, not lan", "", ""),
        ("# only a comment", "C: there is no instruction in it", "it begins with FROM IMAGE", ""),
        ("", "C: there is no instruction in it", "it begins with FROM IMAGE", ""),
    ],
)  # fmt: skip
def test_error_names_place_and_remedy(text: str, message: str, remedy: str, caret: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse(text.encode(), "C")
    assert caught.value.message == message
    if remedy:
        assert caught.value.remedy == remedy
    if caret:
        assert caught.value.excerpt.split("\n")[1].removeprefix("      | ") == caret


def test_instruction_may_begin_after_an_escape() -> None:
    (stage,) = parse(b"\\\n\n  FROM scratch\n \x0b\\\n\tLABEL a=b\n", "C").stages
    assert (stage.source.base, len(stage.instructions)) == ("scratch", 1)


@given(st.binary(max_size=400))
@example(b"\x0b\x01")
@example(b"\\\n RUN true")
@example(b"\xc2\xa0FROM x\n")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse(b"FROM a\n" + data, "C")
    except BuildError as error:
        assert error.message.startswith("C:")


@given(st.text(alphabet="$ {}:-+#%/'\"\\ab=,\n<", max_size=60), st.sampled_from(("ENV", "COPY")))
def test_any_text_is_read_or_refused(text: str, keyword: str) -> None:
    try:
        parse(f"FROM a\n{keyword} {text}".encode(), "C")
    except BuildError as error:
        assert error.message.startswith("C:")
