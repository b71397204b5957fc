"""Restart policies: the monitor starts a container again, and stops doing so when asked."""

import time
from collections.abc import Callable

import pytest

from tests.support.command import Command


def wait_for(test: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < end_s, "not within the time"
        time.sleep(0.05)


def count(rpod: Command, name: str) -> int:
    return int(rpod("inspect", "-f", "{{.RestartCount}}", name).out)


def status(rpod: Command, name: str) -> str:
    return rpod("inspect", "-f", "{{.State.Status}}", name).out.strip()


def test_on_failure_gives_up_after_its_retries(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "r", "--restart", "on-failure:2", image, "sh", "-c",
         "echo again; exit 3")  # fmt: skip
    wait_for(lambda: count(rpod, "r") == 2 and status(rpod, "r") == "exited")
    assert rpod("logs", "r").lines == ["again"] * 3
    assert rpod("inspect", "-f", "{{.State.ExitCode}}", "r").out == "3\n"


def test_on_failure_leaves_a_success_alone(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "r", "--restart", "on-failure", image, "true")
    rpod("wait", "r")
    time.sleep(0.5)
    assert (count(rpod, "r"), status(rpod, "r")) == (0, "exited")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_the_user_ends_stays_ended(rpod: Command, image: str, how: str) -> None:
    rpod("run", "-d", "--name", "r", "--restart", "always", image, "sleep", "100")
    rpod(how, *(["-t", "0"] if how == "stop" else []), "r")
    time.sleep(0.5)
    assert status(rpod, "r") == "exited"


def test_always_survives_the_death_of_the_command(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "r", "--restart", "always", image, "sleep", "100")
    pid = rpod("inspect", "-f", "{{.State.Pid}}", "r").out.strip()
    rpod.shell(f"kill -9 {pid}")
    wait_for(lambda: count(rpod, "r") == 1 and status(rpod, "r") == "running")
    rpod("rm", "-f", "-t", "0", "r")


def test_a_container_between_two_starts_can_be_removed(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "r", "--restart", "always", image, "false")
    wait_for(lambda: count(rpod, "r") >= 3)
    rpod("rm", "-f", "-t", "0", "r")
    assert rpod("ps", "-aq").out == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--restart", "sometimes"),
        ("--restart", "always:3"),
        ("--restart", "on-failure:x"),
        ("--rm", "--restart", "always"),
    ],
    ids=" ".join,
)
def test_wrong_policies_are_refused(rpod: Command, image: str, options: tuple[str, ...]) -> None:
    done = rpod("create", *options, image, check=False)
    assert done.code == 125
    assert "restart" in done.err
    assert rpod("ps", "-aq").out == ""


def test_filter_finds_containers_by_policy(rpod: Command, image: str) -> None:
    rpod("create", "--name", "a", "--restart", "always", image)
    rpod("create", "--name", "b", image)
    assert rpod(
        "ps", "-a", "--filter", "restart-policy=always", "--format", "{{.Names}}"
    ).lines == ["a"]


@pytest.mark.rpod_only  # conmon does not take it so
def test_a_monitor_that_is_asked_to_end_asks_the_container(rpod: Command, image: str) -> None:
    """What a service manager does to everybody when the machine goes down."""
    script = "trap 'sleep 0.3; echo bye; exit 7' USR1; while :; do sleep 0.1; done"
    rpod("run", "-d", "--name", "r", "--restart", "always", "--stop-signal", "USR1", image,
         "sh", "-c", script)  # fmt: skip
    monitor = rpod("inspect", "-f", "{{.State.ConmonPid}}", "r").out.strip()
    rpod.shell(f"kill {monitor}")
    assert rpod("wait", "r").out == "7\n"
    time.sleep(0.5)
    assert (count(rpod, "r"), status(rpod, "r")) == (0, "exited")
    assert rpod("logs", "r").out == "bye\n"
    rpod("start", "--all", "--filter", "should-start-on-boot=true")
    assert status(rpod, "r") == "running"
    rpod("stop", "r")
    rpod("start", "--all", "--filter", "should-start-on-boot=true")
    rpod("rm", "-f", "-t", "0", "r")


@pytest.mark.rpod_only
def test_what_ignores_the_request_is_killed_after_its_time(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "r", "--stop-timeout", "1", image, "sleep", "100")
    monitor = rpod("inspect", "-f", "{{.State.ConmonPid}}", "r").out.strip()
    began_s = time.monotonic()
    rpod.shell(f"kill {monitor}; kill {monitor}")
    assert rpod("wait", "r").out == "137\n"
    assert time.monotonic() - began_s < 5
