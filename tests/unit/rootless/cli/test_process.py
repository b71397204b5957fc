"""The process as a shell sees it: closed and full streams, exit codes. In processes of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from rootless.cli.main import main; main()"


def rpod(tmp_path: Path, words: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run `rpod WORDS REDIRECTION` in a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {words} {redirection}', sys.executable, PROGRAM],
        env={
            "RPOD_ROOT": str(tmp_path / "store"),
            "RPOD_RUNROOT": str(tmp_path / "run"),
            "PYTHONPATH": ":".join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", ["version", "run --help", "ps", "ps --format json"])
def test_full_disk_is_told(tmp_path: Path, words: str) -> None:
    done = rpod(tmp_path, words, ">/dev/full")
    assert done.returncode == 125
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith("No space left on device")


def test_closed_pipe_is_quiet(tmp_path: Path) -> None:
    done = rpod(tmp_path, "version; echo $? >&2", "| true")
    code, *rest = done.stderr.splitlines()
    assert code in ("0", "141")
    assert rest == []


@pytest.mark.parametrize(
    ("words", "redirection", "code"),
    [
        ("version", ">&-", 0),
        ("version", "2>&-", 0),
        ("version", "<&- >&- 2>&-", 0),
        ("ps --bad", "2>&-", 125),
        ("volume create v", "<&- >&- 2>&-", 0),
    ],
)
def test_closed_streams_are_no_problem(
    tmp_path: Path, words: str, redirection: str, code: int
) -> None:
    done = rpod(tmp_path, words, redirection)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"), [("version", 0), ("ps --bad", 125), ("volume exists v", 1)]
)
def test_exit_code_reaches_the_shell(tmp_path: Path, words: str, code: int) -> None:
    assert rpod(tmp_path, words, "").returncode == code


@pytest.mark.parametrize("name", ["$(printf '\\377')", "''", "$(printf 'a\\nb')"])
def test_odd_names_are_one_clear_error(tmp_path: Path, name: str) -> None:
    done = rpod(tmp_path, f"inspect {name}", "")
    assert (done.returncode, done.stdout) == (125, "[]\n")
    assert done.stderr.startswith("Error: inspecting object: no such object")
    assert "internal error" not in done.stderr
