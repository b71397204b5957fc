"""The fast parser and click give the same result for every argument vector."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rootless.cli import table
from rootless.cli.clickapp import explain
from rootless.cli.fast import parse
from rootless.cli.invocation import Invocation

NAMES = sorted(table.INDEX)
# Starts with a letter: neither click nor pflag takes it for an option.
WORDS = st.text("abcxyz=:,./-_0123456789 \u00e9", max_size=8).map(lambda text: f"w{text}")
VALUES = st.one_of(
    WORDS, st.sampled_from(["", "-", "--", "-x", "--name", "a=b", "a,b,c", "=", "="])
)


def values_for(option: table.Option) -> st.SearchStrategy[str]:
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind == table.INTEGER:
        return st.integers(-5, 10**6).map(str)
    if option.kind == table.SIZE:
        return st.tuples(st.integers(0, 1000), st.sampled_from(["", "k", "m", "GiB"])).map(
            lambda pair: f"{pair[0]}{pair[1]}"
        )
    return VALUES


@st.composite
def option_words(draw: st.DrawFn, options: tuple[table.Option, ...]) -> list[str]:
    option = draw(st.sampled_from(options))
    name = draw(st.sampled_from([option.name, *option.aliases]))
    if option.kind == table.BOOL:
        value = draw(st.sampled_from(["", "=true", "=false", "=1", "=F"]))
        if option.short and draw(st.booleans()):
            switches = [one.short for one in options if one.kind == table.BOOL and one.short]
            others = draw(st.lists(st.sampled_from(switches), max_size=3))
            return [f"-{''.join(others)}{option.short}{value}"]
        return [f"--{name}{value}"]
    value = draw(values_for(option))
    forms = [[f"--{name}", value], [f"--{name}={value}"]]
    if option.short:
        forms.append([f"-{option.short}", value])
        if len(value) > 0 and not value.startswith("="):
            forms += [[f"-{option.short}{value}"], [f"-{option.short}={value}"]]
    return draw(st.sampled_from(forms))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(NAMES))
    command = table.find_command(name)
    assert command is not None
    options = (*table.PERSISTENT, *command.options)
    least = sum(argument.least for argument in command.arguments)
    most = sum(5 if one.most == table.UNLIMITED else one.most for one in command.arguments)
    words = [[word] for word in draw(st.lists(WORDS, min_size=least, max_size=most))]
    pieces = draw(st.lists(option_words(options), max_size=6))
    mixed = [*pieces, *words]
    if command.interspersed:
        mixed = draw(st.permutations(mixed))
    before = draw(st.lists(option_words(table.PERSISTENT), max_size=2))
    noun, _, verb = name.rpartition(" ")
    # --version is a command by itself there.
    options = tuple(one for one in table.group_options(noun) if one.name != "version")
    between = draw(st.lists(option_words(options), max_size=2)) if options else []
    nouns = noun.split()
    return [*sum(before, []), *nouns, *sum(between, []), verb, *sum(mixed, [])]  # noqa: RUF017 - short lists


@settings(max_examples=300, deadline=None)
@given(command_lines())
def test_valid_lines_are_read_alike(argv: list[str]) -> None:
    fast = parse(argv)
    slow = explain(argv)
    assert fast is not None
    assert isinstance(slow, Invocation)
    assert fast.command is slow.command
    assert fast.given == slow.given
    assert fast.settings == slow.settings


ANY_WORDS = st.sampled_from(
    [
        *(
            "-",
            "--",
            "---",
            "--=",
            "-=",
            "",
            "a",
            "5",
            "x=y",
            "-i",
            "-it",
            "-x",
            "-v",
            "-v=",
            "-v=a",
        ),
        *("-itv", "-itva", "-e=", "-e==", "--rm", "--rm=", "--rm=x", "--name", "--name=", "--nam"),
        *("--time", "--root"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["run", "exec", "rm", "ps", "import", "logs"]), st.lists(ANY_WORDS, max_size=5)
)
@example("run", ["--rm=", "--rm", "-"])
def test_odd_lines_are_read_alike_or_refused_by_both(name: str, words: list[str]) -> None:
    argv = [name, *words]
    fast, slow = parse(argv), explain(argv)
    if fast is None:
        assert isinstance(slow, int)
        return
    assert isinstance(slow, Invocation)
    assert (fast.command, fast.given, fast.settings) == (slow.command, slow.given, slow.settings)


@pytest.mark.parametrize("reader", [parse, explain], ids=["fast", "click"])
def test_both_read_what_pflag_reads(reader: Callable[[list[str]], object]) -> None:
    result = reader(["run", "-itv=a:b", "--rm=false", "-e", "-x", "image", "-v", "--"])
    assert isinstance(result, Invocation)
    assert result.given == {
        "interactive": True,
        "tty": True,
        "volume": ("a:b",),
        "rm": False,
        "env": ("-x",),
        "image": "image",
        "command": ("-v", "--"),
    }
