"""Many commands at once, and many that are killed: one consistent state, and nothing left."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only
STRESS = os.path.join(os.path.dirname(__file__), "..", "..", "contrib", "stress")


@pytest.mark.time_limit(180)
def test_killed_clients_and_monitors_leave_nothing(
    fresh_rpod: Command, docker_archive: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    image = fresh_rpod("images", "-q").lines[0]
    words = ["--containers", "24", "--workers", "4", "--image", image, "--seed", "7"]
    done = subprocess.run(
        [*fresh_rpod.dropping(), sys.executable, os.path.realpath(STRESS), *words,
         "--command", shlex.join(fresh_rpod.prefix)],
        env=fresh_rpod.environment, cwd="/", capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.time_limit(180)
def test_a_hundred_commands_at_once_on_one_container(rpod: Command, image: str) -> None:
    rpod("create", "--name", "c", image, "sleep", "600")
    words = [("start", "c"), ("stop", "-t", "0", "c"), ("kill", "c"), ("restart", "-t", "0", "c"),
             ("exec", "c", "true"), ("inspect", "c"), ("ps", "-a"), ("rename", "c", "c"),
             ("logs", "c"), ("top", "c")]  # fmt: skip
    running = [rpod.spawn(*words[number % len(words)]) for number in range(100)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert b"Traceback" not in err, err
        assert process.returncode in (0, 1, 125, 126, 127, 137, 143), err
    status = rpod("inspect", "--format", "{{.State.Status}}", "c").out.strip()
    assert status in ("running", "exited")
    listed = rpod("ps", "-a", "--format", "{{.Names}} {{.State}}").lines
    assert listed == [f"c {status}"]
    rpod("start", "c")
    assert rpod("exec", "c", "echo", "ok").out == "ok\n"
    rpod("rm", "-f", "-t", "0", "c")
    assert rpod("ps", "-aq").out == ""
