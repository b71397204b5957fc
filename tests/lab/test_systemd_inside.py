"""systemd as the command of an image: it boots, shows its units, stops by its own signal."""

import os
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


@pytest.fixture
def box(session_rpod: Command, systemd_image: str) -> Iterator[Command]:
    options = ("--memory", "256m", "--network=none", "--tty")
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
    stopped = box("stop", "--time", "90", "box")
    assert "killing" not in stopped.err
    form = "{{.State.Status}} {{.State.ExitCode}}"
    assert box("inspect", "--format", form, "box").out == "exited 0\n"


def test_what_cannot_boot_is_said(session_rpod: Command, systemd_image: str) -> None:
    refused = session_rpod(
        "run", "--systemd=always", "--cgroups=disabled", systemd_image, check=False
    )
    assert refused.code == 125
    assert "cgroup of its own" in refused.err
    refused = session_rpod(
        "run", "--systemd=always", "--userns=keep-id", systemd_image, check=False
    )
    assert refused.code == 125
    assert "root of its cgroup" in refused.err
