"""Build checks: each rule finds what it is about, and nothing else."""

import pytest

from rootless.build.checks import check, settings
from rootless.build.parser import parse
from rootless.build.scope import GlobalArguments, Platforms

GOOD = """# syntax=docker/dockerfile:1
ARG VERSION=12
FROM --platform=$BUILDPLATFORM debian:${VERSION} AS build
ARG TARGETARCH
ARG PUBLIC_KEY
ENV HOME_DIR=/x
WORKDIR /src
WORKDIR sub
COPY . $HOME_DIR/$TARGETARCH
FROM build
RUN echo $anything
LABEL a=$HOME_DIR b=$PATH
EXPOSE 80/tcp
CMD ["sh"]
"""


def rules(text: str) -> list[tuple[str, int]]:
    parsed = parse(text.encode(), "C")
    arguments = GlobalArguments({}, Platforms("linux/amd64", "linux/amd64").arguments(""))
    arguments.declare(parsed.arguments, parsed.escape)
    found = check(parsed, arguments, lambda path: path == "ignored")
    return [(one.rule, one.range.first) for one in found]


def test_good_file_has_no_findings() -> None:
    assert rules(GOOD) == []
    described = "# check=experimental=all\n# V what it is\nARG V=1\n\n# b is built\nFROM a AS b\n"
    assert rules(described) == []
    assert rules("# other\nFROM a AS b\n# anything\nARG V\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN x \\\n\n  y", ("NoEmptyContinuation", 2)),
        ("FROM a\nRUN b\nrun c", ("ConsistentInstructionCasing", 3)),
        ("FROM a AS Build", ("StageNameCasing", 1)),
        ("FROM a AS scratch", ("ReservedStageName", 1)),
        ("FROM a AS b\nFROM a AS b", ("DuplicateStageName", 2)),
        ("FROM a as b", ("FromAsCasing", 1)),
        ("FROM --platform=$TARGETPLATFORM a", ("RedundantTargetPlatform", 1)),
        ("FROM --platform=linux/arm64 a", ("FromPlatformFlagConstDisallowed", 1)),
        ("FROM a\nMAINTAINER me", ("MaintainerDeprecated", 2)),
        ("FROM a\nENV a b", ("LegacyKeyValueFormat", 2)),
        ("FROM a\nCMD a b", ("JSONArgsRecommended", 2)),
        ("FROM a\nWORKDIR b", ("WorkdirRelativePath", 2)),
        ("FROM a\nEXPOSE 127.0.0.1:80:80", ("ExposeInvalidFormat", 2)),
        ("FROM a\nEXPOSE 80/TCP", ("ExposeProtoCasing", 2)),
        ("# check=experimental=all\n\n# other\nFROM a AS b", ("InvalidDefinitionDescription", 4)),
        (
            "# check=experimental=InvalidDefinitionDescription\n# x\nARG V\nFROM a",
            ("InvalidDefinitionDescription", 3),
        ),
        ("FROM a\nARG API_TOKEN", ("SecretsUsedInArgOrEnv", 2)),
        ("FROM a\nCMD []\nCMD []", ("MultipleInstructionsDisallowed", 2)),
        ("FROM a\nCOPY a # b /c/", ("InvalidInlineComment", 2)),
        ("FROM a:$none", ("UndefinedArgInFrom", 1)),
        ("ARG tag\nFROM a:$tag", ("InvalidDefaultArgInFrom", 2)),
        ("FROM a\nUSER $none", ("UndefinedVar", 2)),
        ("FROM a\nCOPY ignored /x", ("CopyIgnoredFile", 2)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_rule_finds(text: str, expected: tuple[str, int]) -> None:
    assert expected in rules(text)


def test_directive_leaves_rules_out() -> None:
    text = "# check=skip=JSONArgsRecommended,stagenamecasing;error=true\nFROM a AS B\nCMD a"
    assert rules(text) == []
    assert settings(parse(text.encode(), "C")) == (
        frozenset(("jsonargsrecommended", "stagenamecasing")),
        True,
    )
    assert rules("# check=skip=all\nFROM a\nMAINTAINER me") == []
