"""podman's commands and options: each is in the table, or its absence has a reason."""

import json
import os

import pytest

from rootless.cli import absent, table
from rootless.cli.main import run as main

TOP = os.path.dirname(os.path.abspath(__file__ + "/../../../.."))
with open(f"{TOP}/contrib/docs/podman-commands.json", encoding="utf-8") as _file:
    PODMAN: dict[str, list[str]] = json.load(_file)
_OURS = sorted(name for name in PODMAN if table.find_command(name) is not None)


@pytest.mark.parametrize("name", sorted(PODMAN))
def test_command_is_there_or_its_absence_has_a_reason(name: str) -> None:
    assert table.find_command(name) is not None or absent.why_no_command(name)


@pytest.mark.parametrize("name", _OURS)
def test_option_is_there_or_its_absence_has_a_reason(name: str) -> None:
    command = table.find_command(name)
    assert command is not None
    have = {option.name for option in (*command.options, *table.PERSISTENT)}
    have |= {alias for option in command.options for alias in option.aliases}
    for option in set(PODMAN[name]) - have:
        assert absent.why_no_option(option, name), option


def test_the_document_has_a_row_for_every_command() -> None:
    with open(f"{TOP}/docs/commands.md", encoding="utf-8") as file:
        rows = {line.split("`")[1] for line in file if line.startswith("| `")}
    assert rows == set(PODMAN)


def test_missing_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--device-cgroup-rule", "a", "i"]) == 125
    assert absent.why_no_option("device-cgroup-rule") in capsys.readouterr().err


def test_missing_command_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "init"]) == 125
    assert absent.why_no_command("machine init") in capsys.readouterr().err
