"""`update` of what is no limit: restart policy, health checks, environment."""

import json
import time

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only  # podman 5's


def field(rpod: Command, form: str, name: str = "box") -> str:
    return rpod("inspect", "--format", form, name).out.strip()


def wait_for(rpod: Command, form: str, wanted: str) -> None:
    last_s = time.monotonic() + 20
    while (found := field(rpod, form)) != wanted:
        assert time.monotonic() < last_s, found
        time.sleep(0.2)


def test_restart_policy_of_a_running_container(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "box", "--restart=always", image, "sleep", "1000")
    form = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
    rpod("update", "--restart=on-failure:1", "box")
    assert field(rpod, form) == "on-failure 1"
    pid = field(rpod, "{{.State.Pid}}")
    rpod("exec", "box", "kill", "-KILL", "1", check=False)
    rpod("kill", "box", check=False)
    rpod("update", "--restart=no", "box")
    rpod("start", "box")
    assert field(rpod, "{{.State.Pid}}") != pid
    rpod("update", "--restart=always", "box")
    rpod("unshare", "kill", "-KILL", field(rpod, "{{.State.Pid}}"))
    wait_for(rpod, "{{.State.Running}} {{.RestartCount}}", "true 1")


def test_health_of_a_running_container(rpod: Command, image: str) -> None:
    options = ("--health-cmd=test -e /tmp/well", "--health-interval=1h", "--health-retries=1")
    rpod("run", "-d", "--name", "box", *options, image, "sleep", "1000")
    wait_for(rpod, "{{.State.Health.Status}}", "unhealthy")
    rpod("update", "--health-cmd=true", "--health-retries=7", "box")
    rpod("healthcheck", "run", "box")
    assert field(rpod, "{{.State.Health.Status}}") == "healthy"
    shown = json.loads(field(rpod, "{{json .Config.Healthcheck}}"))
    assert shown["Test"] == ["CMD-SHELL", "true"]
    assert (shown["Retries"], shown["Interval"]) == (7, 3600 * 10**9)
    rpod("update", "--no-healthcheck", "box")
    assert rpod("healthcheck", "run", "box", check=False).code == 125
    done = rpod("update", "--health-interval=2s", "box", check=False)
    assert done.code == 125
    assert "--health" in done.err


def test_interval_of_checks_is_that_of_the_next_one(rpod: Command, image: str) -> None:
    script = "--health-cmd=echo x >>/tmp/checks"
    rpod("run", "-d", "--name", "box", script, "--health-interval=1s", image, "sleep", "1000")
    wait_for(rpod, "{{.State.Health.Status}}", "healthy")
    rpod("update", "--health-interval=1h", "box")
    time.sleep(1.5)
    before = rpod("exec", "box", "cat", "/tmp/checks").out
    time.sleep(2.5)
    assert rpod("exec", "box", "cat", "/tmp/checks").out == before


def test_environment_is_that_of_exec_and_of_the_next_start(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "box", "-e", "A=1", "-e", "B=2", image,
         "sh", "-c", "echo $A $B $C; sleep 1000")  # fmt: skip
    rpod("update", "--env", "A=one", "--env", "C=3", "--unsetenv", "B", "box")
    assert rpod("exec", "box", "sh", "-c", "echo $A $B $C").out == "one 3\n"
    assert "B=2" not in json.loads(field(rpod, "{{json .Config.Env}}"))
    rpod("restart", "--time=0", "box")
    wait_for(rpod, "{{.State.Running}}", "true")
    last_s = time.monotonic() + 10
    while rpod("logs", "box").lines != ["1 2", "one 3"]:
        assert time.monotonic() < last_s
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "nothing to change"),
        (("--restart=sometimes",), "--restart"),
        (("--restart=always", "rm"), "--rm"),
        (("--env==x",), "--env"),
        (("--health-interval=1x",), "--health-interval"),
        (("--health-retries=2",), "--health-retries"),
    ],
)
def test_bad_change_is_refused(
    rpod: Command, image: str, options: tuple[str, ...], told: str
) -> None:
    rpod("create", "--name", "box", image, "true")
    rpod("create", "--rm", "--name", "rm", image, "true")
    before = field(rpod, "{{json .}}")
    name = () if "rm" in options else ("box",)
    done = rpod("update", *options, *name, check=False)
    assert done.code == 125
    assert told in done.err, done.told
    assert field(rpod, "{{json .}}") == before
