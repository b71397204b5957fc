"""Errors become one clear text on standard error and podman's exit code."""

import errno
import io
import os
import sys
from collections.abc import Callable

import pytest

from rootless.cli import table
from rootless.cli.invocation import Invocation
from rootless.cli.main import run as main
from rootless.cli.reporting import print_error, report
from rootless.errors import CommandNotExecutable, CommandNotFound, Interrupted, UsageError
from storage.errors import ImageNotFound, InUse

Reporting = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (
            ["run", "--rn", "i"],
            "Error: No such option '--rn'. Did you mean --rm or --userns or --rmi?\n"
            "See 'rpod run --help'\n",
        ),
        (["run", "-iZ", "i"], "Error: No such option '-Z'.\nSee 'rpod run --help'\n"),
        (
            ["run", "--xyzzy", "1g", "i"],
            "Error: No such option '--xyzzy'.\nSee 'rpod run --help'\n",
        ),
        (["run"], "Error: Missing argument 'IMAGE'.\nSee 'rpod run --help'\n"),
        (
            ["run", "--name"],
            "Error: Option '--name' requires an argument.\nSee 'rpod run --help'\n",
        ),
        (
            ["ps", "extra"],
            "Error: Got unexpected extra argument (extra)\nSee 'rpod ps --help'\n",
        ),
        (
            ["stop", "-t", "soon", "a"],
            "Error: Invalid value for '-t' / '--time' / '--timeout': 'soon' is not a whole number."
            "\nSee 'rpod stop --help'\n",
        ),
        (
            ["imagse"],
            "Error: No such command 'imagse'. Did you mean image or images?\nSee 'rpod --help'\n",
        ),
        (
            ["image", "lss"],
            "Error: No such command 'lss'. Did you mean ls?\nSee 'rpod image --help'\n",
        ),
        (["--rot", "/x", "ps"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_suggest_and_end_with_125(
    capsys: Reporting, argv: list[str], text: str | None
) -> None:
    assert main(argv) == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    if text is None:
        assert "--root" in captured.err
    else:
        assert captured.err == text


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["run", "--help"], ["image", "--help"], ["ps", "-h"], ["help"], ["help", "run"]],
    ids=" ".join,
)
def test_help_goes_to_standard_output(capsys: Reporting, argv: list[str]) -> None:
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: rpod")
    assert captured.err == ""


def test_run_takes_h_for_the_hostname(capsys: Reporting) -> None:
    assert main(["run", "-h"]) == 125
    assert "requires an argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (UsageError("a b", remedy="do c"), "Error: a b\n  do c\n", 125),
        (ImageNotFound("no image x"), "Error: no image x\n", 125),
        (InUse("in use"), "Error: in use\n", 2),
        (CommandNotExecutable("x"), "Error: x\n", 126),
        (CommandNotFound("x"), "Error: x\n", 127),
        (Interrupted(15), "Error: interrupted\n", 143),
        (OSError(errno.ENOENT, "No such file or directory", "/x"), None, 125),
        (OSError(errno.EIO, "Input/output error"), "Error: Input/output error\n", 125),
        (MemoryError(), "Error: out of memory\n", 125),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_report_prints_message_and_remedy(
    capsys: Reporting, error: Exception, text: str | None, code: int
) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == (text or "Error: /x: No such file or directory\n")


def test_report_prints_notes(capsys: Reporting) -> None:
    error = UsageError("a")
    error.add_note("cleaning up: b")
    report(error)
    assert capsys.readouterr().err == "Error: a\n  cleaning up: b\n"


def test_a_defect_is_one_line_without_traceback(
    capsys: Reporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPOD_DEBUG", raising=False)
    assert report(ValueError("odd")) == 125
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Error: internal error: ValueError: odd"
    assert "RPOD_DEBUG=1" in lines[1]
    assert len(lines) == 2


def test_debug_shows_where(capsys: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPOD_DEBUG", "1")
    report(ValueError("odd"))
    assert "ValueError: odd" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
    ids=["terminal", "NO_COLOR", "dumb", "no TERM"],
)
def test_colours_only_where_wanted(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], coloured: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    print_error("m")
    assert ("\x1b[31m" in stream.getvalue()) is coloured


def test_no_colours_in_a_pipe(capsys: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    print_error("m")
    assert capsys.readouterr().err == "Error: m\n"


def run_with(monkeypatch: pytest.MonkeyPatch, handler: Callable[[Invocation], int]) -> int:
    """Run `rpod version` with another handler."""
    monkeypatch.setattr("rootless.cli.commands.system.version", handler)
    return main(["version"])


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Reporting) -> None:
    def interrupted(invocation: Invocation) -> int:
        raise KeyboardInterrupt

    assert run_with(monkeypatch, interrupted) == 130
    assert capsys.readouterr().err == ""


def test_handlers_code_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(monkeypatch, lambda _: 7) == 7


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (["--runtime", "crun"], "--runtime has no effect"),
        (["--storage-driver", "vfs"], "rpod calls it copy"),
    ],
    ids=["runtime", "vfs"],
)
def test_podmans_global_options_are_explained(
    capsys: Reporting, option: list[str], text: str
) -> None:
    assert main([*option, "version"]) == 0
    assert text in capsys.readouterr().err


def test_storage_driver_reaches_the_host(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPOD_STORAGE_DRIVER", raising=False)
    command = table.find_command("ps")
    assert command is not None
    settings: dict[str, object] = {
        "root": f"{tmp_path}/store",
        "runroot": f"{tmp_path}/run",
        "storage_driver": "vfs",
    }
    host = Invocation(command, {}, settings).host()
    assert host.config.storage_driver == "copy"
    assert host.layout.store == f"{tmp_path}/store"
    assert "RPOD_STORAGE_DRIVER" not in os.environ
