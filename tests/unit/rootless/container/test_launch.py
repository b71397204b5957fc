"""The monitor that waits for its container."""

import os
import time
from types import SimpleNamespace
from typing import cast

import pytest

from rootless.container.launch import MonitorProcess
from rootless.host.paths import Host

HOST = cast("Host", SimpleNamespace(environ={}))


@pytest.mark.parametrize("attach", [True, False], ids=["attached", "detached"])
def test_monitor_without_a_container_ends_with_its_client(attach: bool) -> None:
    before = _forks_of_this_program()
    with MonitorProcess(HOST, attach=attach):
        pass  # as for bad input: nothing is launched
    deadline_s = time.monotonic() + 10
    while _forks_of_this_program() - before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert _forks_of_this_program() - before == set()


def test_monitor_ends_when_its_client_is_killed() -> None:
    before = _forks_of_this_program()
    client = os.fork()
    if client == 0:
        MonitorProcess(HOST, attach=False)
        os.kill(os.getpid(), 9)
    os.waitpid(client, 0)
    deadline_s = time.monotonic() + 10
    while _forks_of_this_program() - before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert _forks_of_this_program() - before == set()


def _forks_of_this_program() -> set[str]:
    """Return the live processes with this one's arguments; a monitor is nobody's child."""
    with open("/proc/self/cmdline", "rb") as file:
        own = file.read()
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read() == own:
                    found.add(pid)
        except OSError:
            continue
    return found
