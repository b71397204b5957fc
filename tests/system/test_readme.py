"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.command import Command
from tests.support.registry import Registry

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMAGE = "docker.io/library/debian:12"

pytestmark = pytest.mark.rpod_only


def blocks(language: str) -> list[str]:
    with open(f"{ROOT}/README.md", encoding="utf-8") as text:
        return re.findall(rf"^```{language}\n(.*?)^```", text.read(), re.MULTILINE | re.DOTALL)


def test_python_example_runs(rpod: Command, registry: Registry, docker_archive: str) -> None:
    name = registry.push(f"docker-archive:{docker_archive}", "readme:1")
    (program,) = blocks("python")
    assert IMAGE in program
    done = subprocess.run(
        [*rpod.dropping(), sys.executable, "-c", program.replace(IMAGE, name)],
        env={**rpod.environment, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    image_id, hostname, ended, log = done.stdout.splitlines()
    assert (len(image_id), len(hostname), ended, log) == (64, 12, "ended with 3", "started")
    assert rpod("ps", "-aq").out == ""
    rpod("rmi", name)


GROUPS = ("image", "kube", "network", "pod", "system", "volume")


def missing_commands() -> list[str]:
    with open(f"{ROOT}/docs/differences.md", encoding="utf-8") as text:
        part = text.read().split("## Not there yet\n\nCommands:", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"`([\w ]+)`", part)


@pytest.mark.parametrize("name", missing_commands())
def test_command_that_is_not_there_is_told_as_such(rpod: Command, name: str) -> None:
    done = rpod(*name.split(), check=False)
    assert done.code == 125, done.told
    assert f"command '{name.split()[-1]}'" in done.err, done.told


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_commands_of_the_examples_exist(rpod: Command, line: str) -> None:
    for part in re.split(r"&&|\|", line.partition("#")[0]):
        words = part.split()
        if words[:1] == ["rpod"]:
            names = words[1:3] if words[1] in GROUPS else words[1:2]
            text = rpod(*names, "--help").out
            for word in words:
                if word.startswith("--"):
                    assert word.partition("=")[0] in text, f"{word} of: {line}"
        elif words and words[0].startswith("./"):
            assert os.access(f"{ROOT}/{words[0]}", os.X_OK), line
