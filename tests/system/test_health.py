"""Health checks run by the monitor: no systemd, no daemon."""

import json
import time

import pytest

from tests.support.command import Command, is_podman

# podman 4.3 runs checks from timers of a systemd session, which podman-here has not.
needs_timer = pytest.mark.rpod_only


def start(rpod: Command, image: str, *options: str, command: str = "sleep 100") -> None:
    rpod("run", "-d", "--name", "h", *options, image, "sh", "-c", command)


@needs_timer
def test_status_follows_the_check(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "test -f /ok", "--health-interval", "300ms",
          "--health-retries", "2")  # fmt: skip
    assert rpod("wait", "--condition", "unhealthy", "h", timeout_s=10).out == "-1\n"
    assert rpod("healthcheck", "run", "h", check=False).code == 1
    assert rpod("ps", "--filter", "health=unhealthy", "--format", "{{.Status}}").out.endswith(
        "(unhealthy)\n"
    )
    rpod("exec", "h", "touch", "/ok")
    rpod("wait", "--condition", "healthy", "h", timeout_s=10)
    done = rpod("healthcheck", "run", "h")
    assert (done.code, done.out) == (0, "")
    state = json.loads(rpod("inspect", "h").out)[0]["State"]["Health"]
    assert (state["Status"], state["FailingStreak"]) == ("healthy", 0)
    assert 0 < len(state["Log"]) <= 5
    assert state["Log"][-1]["ExitCode"] == 0


def test_failures_do_not_count_in_the_start_period(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "false", "--health-interval", "200ms",
          "--health-retries", "1", "--health-start-period", "1m")  # fmt: skip
    time.sleep(1)
    assert rpod("inspect", "-f", "{{.State.Health.Status}}", "h").out == "starting\n"


@needs_timer
@pytest.mark.skipif(is_podman(), reason="podman 4 has no --health-start-interval")
def test_start_interval_is_that_of_the_start_period(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "test -e /ready", "--health-interval", "1h",
          "--health-start-period", "1m", "--health-start-interval", "100ms")  # fmt: skip
    rpod("exec", "h", "touch", "/ready")
    rpod("wait", "--condition", "healthy", "h", timeout_s=10)


@needs_timer
def test_check_that_takes_too_long_fails_and_is_killed(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", '["sleep", "50"]', "--health-interval", "disable",
          "--health-timeout", "1s", "--health-retries", "1")  # fmt: skip
    began_s = time.monotonic()
    assert rpod("healthcheck", "run", "h", check=False).code == 1
    assert time.monotonic() - began_s < 5
    assert "sleep 50" not in rpod("top", "h").out


@needs_timer
@pytest.mark.parametrize(("action", "code"), [("kill", "137"), ("stop", "137")])
def test_unhealthy_container_is_ended_when_asked(
    rpod: Command, image: str, action: str, code: str
) -> None:
    start(rpod, image, "--health-cmd", "false", "--health-interval", "200ms", "--stop-timeout",
          "0", "--health-retries", "2", "--health-on-failure", action)  # fmt: skip
    assert rpod("wait", "h", timeout_s=15).out == f"{code}\n"


@needs_timer
def test_unhealthy_container_is_restarted_when_asked(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "false", "--health-interval", "200ms", "--stop-timeout",
          "0", "--health-retries", "1", "--health-on-failure", "restart",
          command="echo begin; sleep 100")  # fmt: skip
    end_s = time.monotonic() + 10
    while len(rpod("logs", "h").lines) < 2:
        assert time.monotonic() < end_s
        time.sleep(0.1)


@needs_timer
def test_start_up_check_holds_the_others_back(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "echo regular", "--health-interval", "200ms",
          "--health-startup-cmd", "test -f /up", "--health-startup-interval", "200ms")  # fmt: skip
    time.sleep(0.8)
    assert rpod("inspect", "-f", "{{.State.Health.Status}}", "h").out == "starting\n"
    rpod("exec", "h", "touch", "/up")
    rpod("wait", "--condition", "healthy", "h", timeout_s=10)


@pytest.mark.rpod_only  # podman 4.3 has no --health-max-log-size
def test_output_of_a_check_is_kept_in_part(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "seq 1 100000", "--health-interval", "disable",
          "--health-max-log-size", "20")  # fmt: skip
    rpod("healthcheck", "run", "h")
    shown = json.loads(rpod("inspect", "h").out)[0]["State"]["Health"]["Log"][-1]
    assert shown["Output"] == "1\n2\n3\n4\n5\n6\n7\n8\n9\n10"[:20]


def test_container_without_a_check_cannot_be_checked(rpod: Command, image: str) -> None:
    start(rpod, image)
    done = rpod("healthcheck", "run", "h", check=False)
    assert done.code == 125
    assert "no defined healthcheck" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ("--health-cmd", "true", "--health-interval", "soon"),
        # podman 4.3 takes both
        pytest.param(
            ("--health-cmd", "true", "--health-timeout", "10ms"), marks=pytest.mark.rpod_only
        ),
        ("--health-cmd", "true", "--health-retries", "0"),
        pytest.param(("--health-cmd", ""), marks=pytest.mark.rpod_only),
        ("--health-cmd", "true", "--no-healthcheck"),
        ("--health-on-failure", "explode"),
    ],
    ids=" ".join,
)
def test_wrong_settings_are_refused(rpod: Command, image: str, options: tuple[str, ...]) -> None:
    done = rpod("create", *options, image, check=False)
    assert done.code == 125
    assert "health" in done.err
    assert rpod("ps", "-aq").out == ""


def test_wait_for_a_removed_container_tells_its_exit_code(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--rm", "--name", "w", image, "sh", "-c", "sleep 0.7; exit 7")
    assert rpod("wait", "w").out == "7\n"


@needs_timer
def test_restarts_of_an_unhealthy_container_are_counted(rpod: Command, image: str) -> None:
    start(rpod, image, "--health-cmd", "false", "--health-interval", "200ms", "--stop-timeout",
          "0", "--health-retries", "1", "--health-on-failure", "restart")  # fmt: skip
    end_s = time.monotonic() + 10
    while rpod("inspect", "-f", "{{.RestartCount}}", "h").out.strip() in ("0", "1"):
        assert time.monotonic() < end_s
        time.sleep(0.2)
