"""Each command has a manual page, and the page and the table of options say the same."""

import os
import re

import pytest

from rootless.cli import table
from tests.unit.rootless.cli.test_table import COMMANDS

MAN = os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "contrib", "man")
OPTION = re.compile(r"(?m)^\*\*-.*$")
NAME = re.compile(r"\*\*(--?[^*]+)\*\*")
by_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def page_name(command: table.Command) -> str:
    return f"rpod-{command.name.replace(' ', '-')}.1.md"


def read(name: str) -> str:
    with open(os.path.join(MAN, name), encoding="utf-8") as file:
        return file.read()


def section(text: str, title: str) -> str:
    _, _, rest = text.partition(f"## {title}\n")
    return rest.partition("\n## ")[0]


def described(text: str) -> dict[frozenset[str], str]:
    """Return the word for the value of each option on a page, by all names of the option."""
    found = {}
    for line in OPTION.findall(section(text, "OPTIONS")):
        names, _, value = line.partition("=")
        found[frozenset(NAME.findall(names))] = value
    return found


def listed(options: tuple[table.Option, ...]) -> dict[frozenset[str], str]:
    found = {}
    for option in options:
        names = {f"--{name}" for name in (option.name, *option.aliases)}
        if option.short:
            names.add(f"-{option.short}")
        value = "|".join(option.choices) or option.metavar
        found[frozenset(names)] = "" if option.kind == table.BOOL else f"*{value}*"
    return found


def test_there_is_one_page_for_each_command() -> None:
    pages = {name for name in os.listdir(MAN) if name.endswith(".1.md")}
    groups = {f"rpod-{noun}.1.md" for noun in table.GROUPS if table.group_options(noun)}
    assert pages == {page_name(command) for command in COMMANDS} | groups | {"rpod.1.md"}


def test_page_of_a_group_has_its_options() -> None:
    options = table.group_options("compose")
    assert described(read("rpod-compose.1.md")) == listed(options)


@by_command
def test_page_has_exactly_the_options_of_the_table(command: table.Command) -> None:
    assert described(read(page_name(command))) == listed(command.options)


@by_command
def test_page_names_the_command_and_its_aliases(command: table.Command) -> None:
    text = read(page_name(command))
    assert section(text, "NAME").strip().endswith(f" - {command.help}")
    for name in (command.name, *command.aliases):
        assert f"**rpod {name}**" in section(text, "SYNOPSIS")


@by_command
def test_page_has_the_examples(command: table.Command) -> None:
    assert [
        line.strip() for line in section(read(page_name(command)), "EXAMPLES").splitlines()
    ] == [*command.examples]


def test_root_page_has_exactly_the_global_options() -> None:
    assert described(read("rpod.1.md")) == listed(table.GLOBALS)


def test_root_page_lists_every_command() -> None:
    pages = re.findall(r"\*\*(rpod-[a-z-]+)\(1\)\*\*", section(read("rpod.1.md"), "COMMANDS"))
    assert pages == sorted(page_name(command).removesuffix(".1.md") for command in COMMANDS)
