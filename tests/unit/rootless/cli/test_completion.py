"""Shell completion, through click's protocol; for bash also in a real one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rootless.cli.main import run as main

PROGRAM = "from rootless.cli.main import main; main()"


@pytest.fixture
def complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> "Completion":
    monkeypatch.setenv("RPOD_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("RPOD_RUNROOT", str(tmp_path / "run"))
    return Completion(monkeypatch, capfd)


class Completion:
    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.monkeypatch = monkeypatch
        self.capture = capture

    def __call__(self, *words: str) -> list[str]:
        """Return what bash is offered for the last word."""
        with self.monkeypatch.context() as patch:
            patch.setenv("_RPOD_COMPLETE", "bash_complete")
            patch.setenv("COMP_WORDS", "\n".join(["rpod", *words]))
            patch.setenv("COMP_CWORD", str(len(words)))
            assert main([]) == 0
        return self.capture.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ru",), {"plain,run"}),
        (("im",), {"plain,image", "plain,images", "plain,import"}),
        (("image", "l"), {"plain,load", "plain,ls"}),
        (("run", "--pull", "a"), {"plain,always"}),
        (("run", "--rm", "--cap-"), {"plain,--cap-add", "plain,--cap-drop"}),
        (("completion", ""), {"plain,bash", "plain,zsh", "plain,fish"}),
        (("load", "-i", "x"), {"file,x"}),
        (("--roo",), {"plain,--root"}),
        (("stop", ""), set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_completion_offers(complete: Completion, words: tuple[str, ...], offered: set[str]) -> None:
    assert set(complete(*words)) == offered


def test_completion_offers_volumes(complete: Completion) -> None:
    for name in ("data", "other"):
        assert main(["volume", "create", name]) == 0
    complete.capture.readouterr()
    assert complete("volume", "rm", "d") == ["plain,data"]
    assert complete("volume", "rm", "data", "") == ["plain,data", "plain,other"]


def test_completion_does_not_offer_podmans_hidden_global_options(complete: Completion) -> None:
    assert "plain,--runtime" not in complete("ps", "--r")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_RPOD_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_knows_three_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 125
    assert "bash, zsh, fish" in capsys.readouterr().err


def test_completion_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rpod"
    assert main(["completion", "bash", "-f", str(path)]) == 0
    assert "complete " in path.read_text()


def test_script_works_in_bash(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is missing")
    program = tmp_path / "rpod"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PROGRAM}' \"$@\"\n")
    program.chmod(0o755)
    text = """
source <(rpod completion bash)
COMP_WORDS=(rpod vol); COMP_CWORD=1
_rpod_completion rpod vol rpod
echo "${COMPREPLY[@]}"
"""
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", text], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["volume"]
