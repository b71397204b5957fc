"""Pulls, runs and prunes in one store at the same moment, and pulls that are killed anywhere."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.accounts import Account
from tests.support.command import Command
from tests.support.images import File
from tests.support.registry import Registry
from tests.system.conftest import check_nothing_left, make_command, traces

pytestmark = pytest.mark.rpod_only


@pytest.fixture(scope="module")
def names(registry: Registry, shared_dir: str) -> list[str]:
    """Two images that share their lower layer; the upper ones take a moment to fetch."""
    base = images.tar(images.busybox_files())
    found = []
    for number in range(2):
        own = images.tar([File(f"own/{part}", os.urandom(300_000)) for part in range(10)])
        path = f"{shared_dir}/at-once-{number}.tar"
        with open(path, "wb") as out:
            out.write(images.docker_archive([base, own], {"Cmd": ["sh"]}, f"at/once:{number}"))
        found.append(registry.push(f"docker-archive:{path}", f"at/once:{number}"))
    return found


def test_pulls_runs_and_prunes_at_once(fresh_rpod: Command, names: list[str]) -> None:
    commands = [
        ["pull", "-q", names[0]],
        ["pull", "-q", names[1]],
        ["image", "prune", "-af"],
        ["run", "--rm", "--network=none", names[0], "true"],
        ["system", "prune", "-f"],
        ["rmi", "-f", "-i", names[1]],
        ["system", "df"],
    ] * 3
    running = [fresh_rpod.spawn(*words, stderr=subprocess.PIPE) for words in commands]
    for words, process in zip(commands, running, strict=True):
        _, said = process.communicate(timeout=120)
        # An image may be pruned between the pull of a run and its container.
        tolerated = words[0] == "run" and b"run the command again" in said
        assert process.returncode == 0 or tolerated, (words, said)
    assert fresh_rpod("system", "check").out == ""
    fresh_rpod("pull", "-q", names[0])
    assert fresh_rpod("run", "--rm", "--network=none", names[0], "echo", "ran").out == "ran\n"


@pytest.fixture
def elsewhere(account_without_ids: Account) -> Iterator[Command]:
    """Another user, who has no subordinate ids, with a store of their own."""
    command = make_command(account_without_ids, account_without_ids.environment())
    before = traces(account_without_ids)
    yield command
    command("rmi", "-af", check=False)
    check_nothing_left(command, before)


@pytest.mark.time_limit(120)
def test_two_users_with_two_stores_each_pull_and_prune_at_once(
    fresh_rpod: Command, elsewhere: Command, names: list[str], account_dir: str
) -> None:
    home = elsewhere.account.home
    places = [
        (fresh_rpod, ()),
        (fresh_rpod, (f"--root={account_dir}/second",)),
        (elsewhere, ()),
        (elsewhere, (f"--root={home}/second",)),
    ]
    words = [("pull", "-q", names[0]), ("image", "prune", "-af"), ("pull", "-q", names[1]),
             ("system", "prune", "-af"), ("pull", "-q", names[0])]  # fmt: skip
    running = [
        (one, command.spawn(*where, *one, stderr=subprocess.PIPE))
        for one in words
        for command, where in places
    ]
    assert len(running) == 20
    for one, process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, (one, said)
    for command, where in places:
        assert command(*where, "system", "check").out == ""
        command(*where, "pull", "-q", names[0])
        ran = command(*where, "run", "--rm", "--network=none", names[0], "echo", "ran")
        assert ran.out == "ran\n"


def test_killed_pulls_are_made_good(fresh_rpod: Command, names: list[str]) -> None:
    for number in range(8):
        process = fresh_rpod.spawn("pull", "-q", names[number % 2], stderr=subprocess.PIPE)
        time.sleep(0.04 * (number + 1))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    for name in names:
        fresh_rpod("pull", "-q", name)
        assert fresh_rpod("run", "--rm", "--network=none", name, "echo", "ran").out == "ran\n"
    assert fresh_rpod("system", "check").out == ""
    assert fresh_rpod.shell(
        "ls $XDG_DATA_HOME/rpod/partial $XDG_DATA_HOME/rpod/tmp"
    ).out.split() == [
        f"{fresh_rpod.environment['XDG_DATA_HOME']}/rpod/{name}:" for name in ("partial", "tmp")
    ]
