"""Killed parts: what the next command says and does."""

import os
import signal
import time

import pytest

from tests.support import leaks
from tests.support.command import Command

pytestmark = pytest.mark.rpod_only  # how podman takes these is its own affair


def wait_for_status(rpod: Command, name: str, status: str) -> None:
    deadline = time.monotonic() + 10
    while rpod("inspect", "--format", "{{.State.Status}}", name).out.strip() != status:
        assert time.monotonic() < deadline, f"{name} is not {status}"
        time.sleep(0.05)


def host_pid(rpod: Command, name: str) -> int:
    return int(rpod("inspect", "--format", "{{.State.Pid}}", name).out)


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_killed_init_is_seen_as_exited(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "victim", image, "sleep", "1000")
    os.kill(host_pid(rpod, "victim"), signal.SIGKILL)
    assert rpod("wait", "victim").out == "137\n"
    wait_for_status(rpod, "victim", "exited")


def test_killed_monitor_ends_the_container(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "orphan", image, "sleep", "1000")
    os.kill(parent_of(host_pid(rpod, "orphan")), signal.SIGKILL)
    wait_for_status(rpod, "orphan", "exited")
    left = leaks.wait_until_gone(lambda: leaks.own_processes(rpod.account), 5)
    assert left == []
    assert "orphan" not in rpod("ps", "--format", "{{.Names}}").lines


def test_container_with_a_killed_monitor_can_be_started_again(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "orphan", image, "sleep", "1000")
    os.kill(parent_of(host_pid(rpod, "orphan")), signal.SIGKILL)
    wait_for_status(rpod, "orphan", "exited")
    rpod("start", "orphan")
    wait_for_status(rpod, "orphan", "running")


def test_container_with_a_killed_monitor_can_be_removed(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "orphan", image, "sleep", "1000")
    os.kill(parent_of(host_pid(rpod, "orphan")), signal.SIGKILL)
    rpod("rm", "--force", "--time", "0", "orphan")
    assert rpod("ps", "-aq").out == ""


def test_killed_network_helper_does_not_break_the_end(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "cut", "--network=slirp4netns", image, "sleep", "1000")
    for process in leaks.own_processes(rpod.account):
        if process.name == "slirp4netns":
            os.kill(process.pid, signal.SIGKILL)
    assert rpod("exec", "cut", "echo", "alive").out == "alive\n"
    rpod("rm", "--force", "--time", "0", "cut")


def test_everything_killed_at_once(rpod: Command, image: str) -> None:
    for name in ("one", "two"):
        rpod("run", "-d", "--name", name, image, "sleep", "1000")
    for process in leaks.own_processes(rpod.account):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for name in ("one", "two"):
        wait_for_status(rpod, name, "exited")
    assert rpod("ps", "-q").out == ""
    assert len(rpod("ps", "-aq").lines) == 2
    rpod("start", "one", "two")
    assert len(rpod("ps", "-q").lines) == 2


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_killed_run_leaves_nothing_in_the_way(
    rpod: Command, image: str, docker_archive: str, delay_s: float
) -> None:
    process = rpod.spawn("run", "--name", "cut", image, "sleep", "0.3")
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=20)
    done = rpod("run", "--replace", "--name", "cut", image, "echo", "works")
    assert done.out == "works\n"
    rpod("load", "-i", docker_archive)  # removes what nobody holds any more


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2, 0.4])
def test_killed_load_is_made_good_by_the_next(
    fresh_rpod: Command, docker_archive: str, image: str, delay_s: float
) -> None:
    process = fresh_rpod.spawn("load", "-i", docker_archive)
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=20)
    fresh_rpod("load", "-i", docker_archive)
    assert fresh_rpod("run", "--rm", image, "echo", "works").out == "works\n"
