"""What survives a reboot of the machine: a Quadlet service, and restart policies by one unit.

`contrib/lab/test` runs the first half, reboots the machine in good order, and runs the second. Both
use the user's own home and store, as a person would.
"""

import os
import pwd
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.support import images
from tests.support.accounts import Account, subordinate_ids
from tests.support.command import TIME_FACTOR, Command

SCRIPT = "trap 'echo ended in order; exit 5' TERM; while :; do sleep 0.2; done"
FORM = "{{.State.Status}} {{.State.ExitCode}}"


@pytest.fixture
def own_rpod() -> Command:
    """The command with the real home and the session's own runtime directory."""
    entry = pwd.getpwuid(os.getuid())
    ids = subordinate_ids(entry.pw_name, entry.pw_uid)
    runtime = f"/run/user/{entry.pw_uid}"
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, runtime, ids)
    return Command(account, account.environment())


def systemctl(rpod: Command, *words: str, check: bool = True) -> str:
    done = subprocess.run(
        ["systemctl", "--user", *words],
        capture_output=True, text=True, check=False, env=rpod.environment,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(test: Callable[[], bool], what: str, timeout_s: float = 10) -> None:
    last_s = time.monotonic() + timeout_s * TIME_FACTOR
    while not test():
        assert time.monotonic() < last_s, what
        time.sleep(0.5)


@pytest.mark.skipif(os.environ.get("LAB_BOOT") != "1", reason="the first boot of a lab machine")
def test_before_the_reboot(own_rpod: Command, docker_archive: str) -> None:
    rpod, home = own_rpod, own_rpod.account.home
    rpod("load", "--input", docker_archive)
    os.makedirs(f"{home}/.config/containers/systemd", exist_ok=True)
    os.makedirs(f"{home}/.config/systemd/user", exist_ok=True)
    with open(f"{home}/.config/containers/systemd/web.container", "w", encoding="ascii") as file:
        file.write(
            f"[Container]\nImage={images.NAME}\nExec=sleep 1000\nPull=never\nVolume=data:/data\n"
            "[Install]\nWantedBy=default.target\n"
        )
    rpod("quadlet")
    systemctl(rpod, "start", "web.service")
    rpod("exec", "systemd-web", "sh", "-c", "echo kept >/data/file")
    for name, policy in (("a", "always"), ("u", "unless-stopped"), ("n", "no")):
        rpod("run", "-d", "--name", name, f"--restart={policy}", images.NAME, "sh", "-c", SCRIPT)
    rpod("run", "-d", "--name", "s", "--restart=unless-stopped", images.NAME, "sh", "-c", SCRIPT)
    rpod("stop", "s", timeout_s=20)
    rpod("generate", "systemd", "--at-boot", "--files", cwd=f"{home}/.config/systemd/user")
    systemctl(rpod, "daemon-reload")
    systemctl(rpod, "enable", "rpod-restart.service")


@pytest.mark.skipif(os.environ.get("LAB_BOOT") != "2", reason="the second boot of a lab machine")
def test_after_the_reboot(own_rpod: Command) -> None:
    rpod = own_rpod
    for unit in ("web.service", "rpod-restart.service"):
        wait_for(lambda: systemctl(rpod, "is-active", unit, check=False) == "active",  # noqa: B023
                 systemctl(rpod, "status", unit, check=False))  # fmt: skip
    assert rpod("exec", "systemd-web", "cat", "/data/file").out == "kept\n"
    states = {name: rpod("inspect", "-f", FORM, name).out.strip() for name in ("a", "u", "n", "s")}
    assert states == {"a": "running 0", "u": "running 0", "n": "exited 5", "s": "exited 5"}
    # The machine went down in order: each had its stop signal and the time to say so.
    for name in ("a", "u", "n", "s"):
        assert rpod("logs", name).out == "ended in order\n", name
    rpod("rm", "--force", "--all", "--time", "0")
    systemctl(rpod, "stop", "web.service")
