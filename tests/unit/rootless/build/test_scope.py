"""ARG and ENV, the graph of stages, edits of the configuration, keys."""

import pytest

from rootless.build import model
from rootless.build.errors import BuildError
from rootless.build.graph import make_graph
from rootless.build.image_config import edit
from rootless.build.keys import digests_of, explain, key_of
from rootless.build.model import CommandLine, Range
from rootless.build.parser import parse
from rootless.build.scope import GlobalArguments, Platforms, Scope
from rootless.errors import UsageError

HERE = Range(1, 1)
PLATFORM = Platforms("linux/arm64/v8", "linux/amd64")


def arguments(source: str = "", **given: str) -> GlobalArguments:
    found = GlobalArguments(given, PLATFORM.arguments(""))
    found.declare(parse(f"{source}\nFROM a".encode(), "C").arguments, "\\")
    return found


def declare(scope: Scope, *pairs: tuple[str, str | None], **environment: str) -> None:
    scope.declare(model.Arg(HERE, pairs), environment)


def test_global_argument_is_visible_where_declared_again() -> None:
    scope = Scope(arguments("ARG v=1\nARG w=${v}2"), {}, "\\")
    assert scope.values() == {}
    declare(scope, ("w", None))
    assert scope.values() == {"w": "12"}


def test_command_line_goes_before_defaults() -> None:
    scope = Scope(arguments("ARG v=1", v="2", x="3"), {}, "\\")
    declare(scope, ("v", "0"), ("x", "0"), ("y", "0"))
    assert scope.values() == {"v": "2", "x": "3", "y": "0"}


def test_argument_default_sees_variables() -> None:
    scope = Scope(arguments(), {"a": "1"}, "\\")
    declare(scope, ("b", "$a$E"), E="e")
    assert scope.values()["b"] == "1e"


def test_environment_goes_before_arguments() -> None:
    scope = Scope(arguments(), {"a": "arg"}, "\\")
    assert scope.expander({"a": "env"}).word("$a") == "env"


def test_platforms_are_automatic_arguments() -> None:
    scope = Scope(arguments(), {}, "\\")
    declare(scope, ("TARGETARCH", None), ("TARGETVARIANT", None), ("BUILDPLATFORM", None))
    assert scope.values() == {
        "TARGETARCH": "arm64",
        "TARGETVARIANT": "v8",
        "BUILDPLATFORM": "linux/amd64",
    }


def test_unused_arguments_are_found() -> None:
    assert arguments(a="1", http_proxy="p").unused(()) == ["a"]


def test_proxies_are_given_without_being_declared() -> None:
    scope = Scope(arguments(http_proxy="p"), {}, "\\")
    assert (scope.values(), scope.of_command_line()) == ({}, {"http_proxy": "p"})


SOURCE = b"""FROM a AS one
RUN 1
FROM a AS two
FROM one AS three
COPY --from=two x y
FROM b AS unused
FROM c
ARG from=0
RUN --mount=from=$from,target=/x true
COPY --from=three x y
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", {0: (), 1: (), 2: (0, 1), 4: (0, 2)}),
        ("two", {1: ()}),
        ("THREE", {0: (), 1: (), 2: (0, 1)}),
        ("3", {3: ()}),
    ],
)
def test_graph_has_what_the_target_needs(target: str, expected: dict[int, tuple[int, ...]]) -> None:
    graph = make_graph(parse(SOURCE, "C"), arguments(), target, frozenset())
    assert {node.stage.position: tuple(sorted(node.needs)) for node in graph.nodes} == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("FROM a AS x\nCOPY --from=x a b", "C:2: the stage x copies from itself"),
        (
            "FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nCOPY --from=x a b",
            "C:2: the stage y comes later: only earlier stages can be used",
        ),
        ("FROM a\nCOPY --from=1 a b\nFROM c", "C:2: --from=1: there is no stage 1 before this one"),
        ("FROM a AS x\nFROM b AS X", "C:2: the stage X is already defined in line 1"),
        ("FROM $none", "C:1: FROM $none: the name of the image is empty"),
    ],
)
def test_bad_graph_is_refused(source: str, message: str) -> None:
    parsed = parse(source.encode(), "C")
    with pytest.raises(BuildError) as caught:
        make_graph(parsed, arguments(), "1" if "y comes" in message else "", frozenset())
    assert caught.value.message == message


def test_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="--target four: there is no such stage in C"):
        make_graph(parse(SOURCE, "C"), arguments(), "four", frozenset())


SHELL_FORM = CommandLine(("a b",), is_shell=True)


@pytest.mark.parametrize(
    ("instruction", "expected", "text"),
    [
        (model.Env(HERE, (("A", "2"), ("B", "x y"))), {"Env": ["A=2", "B=x y"]}, "ENV A=2 B=x y"),
        (model.Cmd(HERE, SHELL_FORM), {"Cmd": ["/bin/bash", "-c", "a b"]},
         'CMD ["/bin/bash" "-c" "a b"]'),
        (model.Expose(HERE, ("80", "53/udp", "90-91")),
         {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}},
         "EXPOSE [80 53/udp 90-91]"),
        (model.Workdir(HERE, "x/../y"), {"WorkingDir": "/w/y"}, "WORKDIR /w/y"),
        (model.Volume(HERE, ("/v",)), {"Volumes": {"/v": {}}}, "VOLUME [/v]"),
        (model.StopSignal(HERE, "SIGINT"), {"StopSignal": "SIGINT"}, "STOPSIGNAL SIGINT"),
        (model.Healthcheck(HERE, SHELL_FORM, interval="1m30s", retries="2"),
         {"Healthcheck": {"Test": ["CMD-SHELL", "a b"], "Interval": 90_000_000_000, "Retries": 2}},
         'HEALTHCHECK ["CMD-SHELL" "a b"]'),
        (model.Onbuild(HERE, "RUN x"), {"OnBuild": ["RUN x"]}, "ONBUILD RUN x"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, tuple) else "",
)  # fmt: skip
def test_instruction_edits_the_configuration(
    instruction: model.Instruction, expected: dict[str, object], text: str
) -> None:
    config: dict[str, object] = {
        "Env": ["A=1"], "WorkingDir": "/w", "Shell": ["/bin/bash", "-c"],
    }  # fmt: skip
    assert edit(config, instruction) == text
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    "instruction",
    [
        model.Expose(HERE, ("http",)),
        model.Expose(HERE, ("70000",)),
        model.Expose(HERE, ("9-8",)),
        model.StopSignal(HERE, "SIGNONE"),
        model.Healthcheck(HERE, SHELL_FORM, interval="soon"),
        model.Healthcheck(HERE, SHELL_FORM, retries="-1"),
    ],
    ids=str,
)
def test_bad_value_is_refused(instruction: model.Instruction) -> None:
    with pytest.raises(UsageError):
        edit({}, instruction)


def test_key_depends_on_every_input_and_not_on_their_order() -> None:
    one = {"a": "1", "b": "2"}
    assert key_of(one) == key_of({"b": "2", "a": "1"})
    assert len({key_of(one), key_of({**one, "a": "2"}), key_of({"a": "12", "b": ""})}) == 3


def test_miss_is_explained_by_what_has_changed() -> None:
    before = digests_of({"command": "a", "variable X": "1"})
    now = digests_of({"command": "a", "variable X": "2", "files": "f"})
    assert explain(before, now) == "changed: variable X, files"
    assert explain({}, now) == "it has not been built before"
    assert explain(now, now) == "what it made has been removed from the cache"
