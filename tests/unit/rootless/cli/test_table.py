"""The table of commands is consistent, and `run` offers exactly what a request can hold."""

import importlib

import pytest

from rootless.cli import table
from rootless.cli.spec_run import COMMANDS as RUN_COMMANDS
from rootless.container.request import ContainerRequest, ExecRequest

MODULES = sorted({module for module, _ in table.INDEX.values()})


def specified() -> list[tuple[str, table.Command]]:
    return [
        (module, command)
        for module in MODULES
        for command in importlib.import_module(f"rootless.cli.{module}").COMMANDS
    ]


COMMANDS = [command for _, command in specified()]
by_name = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def test_index_names_every_command_and_alias() -> None:
    expected = {
        name: (module, command.name)
        for module, command in specified()
        for name in (command.name, *command.aliases)
    }
    assert expected == table.INDEX


def test_find_command_takes_an_alias() -> None:
    found = table.find_command("container list")
    assert found is not None
    assert found.name == "ps"


def test_find_command_does_not_know_everything() -> None:
    assert table.find_command("bogus") is None


@by_name
def test_command_has_a_handler(command: table.Command) -> None:
    module, _, function = command.handler.partition(":")
    assert callable(getattr(importlib.import_module(f"rootless.cli.commands.{module}"), function))


@by_name
def test_command_options_have_names_of_their_own(command: table.Command) -> None:
    options = (*table.PERSISTENT, *command.options)
    longs = [name for option in options for name in (option.name, *option.aliases)]
    shorts = [option.short for option in options if option.short]
    arguments = [argument.name for argument in command.arguments]
    fields = [option.field for option in options] + arguments
    for names in (longs, shorts, fields):
        assert len(names) == len(set(names))
    assert "help" not in longs


@by_name
def test_only_the_last_argument_takes_many(command: table.Command) -> None:
    assert all(argument.most == 1 for argument in command.arguments[:-1])


@by_name
def test_command_has_words_for_people(command: table.Command) -> None:
    assert command.examples
    assert all(
        example.startswith(("rpod ", "tar ", "zstdcat ", "mpirun ")) for example in command.examples
    )
    assert command.help[0].isupper()
    assert not command.help.endswith(".")
    assert all(option.help for option in command.options)


@pytest.mark.parametrize("noun", table.GROUPS)
def test_noun_has_commands(noun: str) -> None:
    assert any(name.startswith(f"{noun} ") for name in table.INDEX)


def test_run_offers_exactly_the_fields_of_a_request() -> None:
    (run,) = (command for command in RUN_COMMANDS if command.name == "run")
    offered = {option.field for option in run.options} | {one.name for one in run.arguments}
    of_shell = {"as_caller", "rootfs_kind", "join"}
    of_create = {"init_ctr", "create_command"}
    of_command = {"explain", "explain_json"}
    assert offered - of_command == set(ContainerRequest._fields) - of_shell - of_create


def test_run_defaults_are_those_of_a_request() -> None:
    (run,) = (command for command in RUN_COMMANDS if command.name == "run")
    # --rootfs says what the image is, and the request has the directory.
    defaults = ContainerRequest()._asdict()
    defaults |= {"rootfs": False, "explain": False, "explain_json": False}
    assert {option.field: option.default for option in run.options} == {
        option.field: defaults[option.field] for option in run.options
    }


def test_create_offers_what_run_does_but_for_the_client() -> None:
    create, run = (
        next(command for command in RUN_COMMANDS if command.name == name)
        for name in ("create", "run")
    )
    offered = {option.field for option in create.options}
    assert {option.field for option in run.options} - offered == {
        "detach",
        "detach_keys",
        "explain",
        "explain_json",
        "preserve_fds",
        "rmi",
        "sig_proxy",
    }


def test_exec_offers_exactly_the_fields_of_a_request() -> None:
    (command,) = (command for command in RUN_COMMANDS if command.name == "exec")
    offered = {option.field for option in command.options} | {one.name for one in command.arguments}
    assert offered - {"latest"} == set(ExecRequest._fields)
