"""init: a container is prepared, and its command waits for start."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.support.command import Command


def state(rpod: Command, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(rpod("inspect", name).out)[0]["State"]
    return found


def status(rpod: Command, name: str) -> str:
    return rpod("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").out.strip()


def test_prepared_container_waits_for_its_start(rpod: Command, image: str) -> None:
    script = "echo output; echo done >/done; sleep 99"
    rpod("create", "--name", "one", image, "sh", "-c", script)
    assert rpod("init", "one").lines == ["one"]
    found = state(rpod, "one")
    pid = int(str(found["Pid"]))
    assert (found["Status"], found["Running"]) == ("initialized", False)
    assert os.path.exists(f"/proc/{pid}")
    assert status(rpod, "one") == "Initialized"
    assert rpod("ps", "-q").out == ""
    assert rpod("logs", "one").out == ""
    assert rpod("start", "one").lines == ["one"]
    rpod("exec", "one", "sh", "-c", "until [ -e /done ]; do sleep 0.02; done")
    assert rpod("logs", "one").out == "output\n"
    assert state(rpod, "one")["Pid"] == pid
    events = rpod("events", "--stream=false", "--since", "1m", "--filter", "container=one",
                  "--format", "{{.Status}}").lines  # fmt: skip
    assert events[:3] == ["create", "init", "start"]


def test_attached_start_gets_all_output_and_the_exit_code(rpod: Command, image: str) -> None:
    rpod("create", "-i", "--name", "one", image, "sh", "-c", "cat; exit 7")
    rpod("init", "one")
    done = rpod("start", "-ai", "one", input=b"typed", check=False)
    assert (done.code, done.out) == (7, "typed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "one"), "has already been created in runtime"),
        (("exec", "one", "true"), "can only create exec sessions on running containers"),
        (("top", "one"), "top can only be used on running containers"),
        (("kill", "one"), "can only kill running containers"),
        (("pause", "one"), "pause"),
        (("attach", "one"), "you can only attach to running containers"),
    ],
    ids=["init", "exec", "top", "kill", "pause", "attach"],
)
def test_what_a_prepared_container_refuses(
    rpod: Command, image: str, words: tuple[str, ...], message: str
) -> None:
    rpod("create", "--name", "one", image, "sleep", "99")
    rpod("init", "one")
    done = rpod(*words, check=False)
    assert done.code != 0, done.told
    assert message in done.err
    assert status(rpod, "one") == "Initialized"


@pytest.mark.rpod_only  # podman waits for the grace time
def test_stop_ends_it_and_rm_needs_no_force(rpod: Command, image: str) -> None:
    for name in ("one", "two"):
        rpod("create", "--name", name, image, "sleep", "99")
    rpod("init", "--all")
    began_s = time.monotonic()
    rpod("stop", "one")
    assert time.monotonic() - began_s < 5
    assert status(rpod, "one").startswith("Exited (137)")
    rpod("rm", "two")
    rpod("init", "one")
    rpod("restart", "-t", "0", "one")
    assert status(rpod, "one").startswith("Up")


def test_removed_at_its_end_when_it_never_ran(rpod: Command, image: str) -> None:
    rpod("create", "--rm", "--name", "one", image, "sleep", "99")
    rpod("init", "--latest")
    rpod("stop", "one")
    assert rpod("container", "exists", "one", check=False).code == 1


@pytest.mark.parametrize("which", ["ConmonPid", "Pid"])
@pytest.mark.rpod_only  # podman's conmon does not end what it waits for
def test_killed_while_it_waits(rpod: Command, image: str, which: str) -> None:
    rpod("create", "--name", "one", "-p", "0:80", image, "sleep", "99")
    rpod("init", "one")
    os.kill(int(str(state(rpod, "one")[which])), signal.SIGKILL)
    end_s = time.monotonic() + 5
    while status(rpod, "one") == "Initialized" and time.monotonic() < end_s:
        time.sleep(0.02)
    assert status(rpod, "one").split(" ")[0] in ("Created", "Exited")
    rpod("start", "one")
    assert status(rpod, "one").startswith("Up")


def test_many_starts_at_once_let_it_run_once(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "sh", "-c", "echo x; sleep 99")
    rpod("init", "one")
    starts = [rpod.spawn("start", "one") for _ in range(6)]
    for process in starts:
        out, err = process.communicate()
        assert process.returncode == 0, (out, err)
    assert status(rpod, "one").startswith("Up")
    assert rpod("logs", "one").out == "x\n"


@pytest.mark.rpod_only  # podman looks for the command at init
def test_a_command_that_is_not_there_fails_the_start(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "absent-command")
    rpod("init", "one")
    done = rpod("start", "one", check=False)
    assert done.code == 125 and "absent-command" in done.err
    assert status(rpod, "one").startswith("Exited (127)")
    rpod("init", "one")
    assert rpod("start", "-a", "one", check=False).code == 127


def test_network_stands_before_the_command(rpod: Command, image: str) -> None:
    rpod("network", "create", "inits", check=False)
    try:
        rpod("create", "--name", "one", "--network", "inits", image, "ip", "addr")
        rpod("init", "one")
        address = rpod(
            "inspect", "one", "--format", "{{.NetworkSettings.Networks.inits.IPAddress}}"
        ).out.strip()
        assert address.count(".") == 3
        assert f"inet {address}/" in rpod("start", "-a", "one").out
    finally:
        rpod("rm", "-fa")
        rpod("network", "rm", "inits")


@pytest.mark.rpod_only
def test_kill_at_any_moment_leaves_a_container_that_starts(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "sleep", "99")
    for delay_s in (0.0, 0.03, 0.06, 0.09, 0.12):
        process = rpod.spawn("init", "one", stderr=subprocess.DEVNULL)
        time.sleep(delay_s)
        process.kill()
        process.communicate()
    rpod("start", "one")
    assert status(rpod, "one").startswith("Up")
