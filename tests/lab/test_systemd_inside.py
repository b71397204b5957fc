"""systemd as the command of an image: it boots, shows its units, stops by its own signal."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.command import Command, Done

NAME = "localhost/systemd:latest"


@pytest.fixture(scope="module")
def systemd_image(session_rpod: Command) -> str:
    """A small Debian with systemd (`contrib/lab/vm rootfs`)."""
    path = os.environ.get("RPOD_LAB_SYSTEMD", "")
    if not os.path.exists(path):
        pytest.skip("no image with systemd: start contrib/lab/test as root once")
    session_rpod("import", "--change", 'CMD ["/sbin/init"]', path, NAME)
    return NAME


def booted(rpod: Command) -> Done:
    last_s = time.monotonic() + 200
    while True:
        shown = rpod("exec", "box", "systemctl", "is-system-running", check=False)
        if shown.out == "running\n" or time.monotonic() > last_s:
            return shown
        time.sleep(1)


@pytest.fixture(params=[(), ("--userns=keep-id", "--user=root")], ids=["host", "keep-id"])
def box(
    request: pytest.FixtureRequest, session_rpod: Command, systemd_image: str
) -> Iterator[Command]:
    options = ("--memory", "256m", "--network=none", "--tty", *request.param)
    session_rpod("run", "-d", "--name", "box", *options, systemd_image)
    yield session_rpod


def test_systemd_boots_and_stops(box: Command) -> None:
    shown = booted(box)
    assert shown.out == "running\n", shown.told + box("logs", "box").told
    listed = box("exec", "box", "systemctl", "list-units", "--no-pager", "--plain")
    assert "systemd-journald.service" in listed.out
    assert "Welcome to" in box("logs", "box").out
    done = box("exec", "box", "systemd-run", "-q", "--wait", "-p", "MemoryMax=20M", "true")
    assert done.code == 0
    limit = box("exec", "box", "cat", "/sys/fs/cgroup/memory.max", "/etc/machine-id")
    assert limit.lines == [f"{256 << 20}", box("inspect", "-f", "{{.Id}}", "box").out[:32]]
    raised = box("exec", "box", "sh", "-c", "echo max >/sys/fs/cgroup/memory.max", check=False)
    assert raised.code != 0
    assert box("exec", "box", "cat", "/sys/fs/cgroup/memory.max").out == limit.lines[0] + "\n"
    form = "{{.Config.StopSignal}} {{.Config.SystemdMode}}"
    assert box("inspect", "--format", form, "box").out == "37 true\n"
    place = "/sys/fs/cgroup" + box("inspect", "-f", "{{.State.CgroupPath}}", "box").out.strip()
    assert os.path.isdir(f"{place}/system.slice")
    stopped = box("stop", "--time", "90", "box")
    assert "killing" not in stopped.err
    form = "{{.State.Status}} {{.State.ExitCode}}"
    assert box("inspect", "--format", form, "box").out == "exited 0\n"
    is_gone(place)


def is_gone(place: str) -> None:
    """What systemd has made below the scope is removed with it, whoever owns it."""
    last_s = time.monotonic() + 20
    while os.path.exists(os.path.dirname(place)):
        assert time.monotonic() < last_s, os.listdir(place)
        time.sleep(0.2)


def test_killed_monitor_leaves_a_cgroup_that_can_be_used_and_removed(box: Command) -> None:
    place = "/sys/fs/cgroup" + box("inspect", "-f", "{{.State.CgroupPath}}", "box").out.strip()
    last_s = time.monotonic() + 60
    while not os.path.isdir(f"{place}/init.scope"):
        assert time.monotonic() < last_s, os.listdir(place)
        time.sleep(0.2)
    with open(f"{os.path.dirname(place)}/monitor/cgroup.procs", encoding="ascii") as file:
        for line in file:
            os.kill(int(line), signal.SIGKILL)
    box("wait", "box", check=False)
    box("start", "box")
    assert box("exec", "box", "true", check=False).code == 0
    box("rm", "--force", "--time=0", "box")
    is_gone(place)


def test_what_cannot_boot_is_said(session_rpod: Command, systemd_image: str) -> None:
    refused = session_rpod(
        "run", "--systemd=always", "--cgroups=disabled", systemd_image, check=False
    )
    assert refused.code == 125
    assert "cgroup of its own" in refused.err
    for mode, told in (("keep-id", "--user=root"), ("nomap", "root of its cgroup")):
        refused = session_rpod(
            "run", "--systemd=always", f"--userns={mode}", systemd_image, check=False
        )
        assert refused.code == 125
        assert told in refused.err, refused.told
