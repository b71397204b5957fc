"""Units of systemd and readiness, as far as they need no systemd."""

import json
import os
import socket

import pytest

from tests.support.command import TIME_FACTOR, Command

pytestmark = pytest.mark.rpod_only  # podman's units start podman


@pytest.fixture
def manager(rpod: Command) -> "socket.socket":
    """The socket of a service manager."""
    path = f"{rpod.account.runtime_dir}/notify"
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.settimeout(10 * TIME_FACTOR)
    return listener


def test_ready_once_the_first_check_has_passed(
    rpod: Command, image: str, manager: socket.socket
) -> None:
    environment = {"NOTIFY_SOCKET": f"{rpod.account.runtime_dir}/notify"}
    rpod(
        "run", "-d", "--name", "h", "--network=none", "--sdnotify=healthy", "--health-cmd",
        "test -e /up", "--health-interval=1s", image, "sleep", "1000", env=environment,
    )  # fmt: skip
    assert manager.recv(100).startswith(b"MAINPID=")
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    manager.settimeout(10 * TIME_FACTOR)
    rpod("exec", "h", "touch", "/up")
    assert manager.recv(100) == b"READY=1"
    manager.close()


def test_readiness_by_health_needs_a_check(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--sdnotify=healthy", image, "true", check=False)
    assert done.code == 125
    assert "requires a healthcheck" in done.err


def test_unit_for_all_that_restart_at_boot(rpod: Command) -> None:
    unit = rpod("generate", "systemd", "--at-boot").out
    assert "start --all --filter should-start-on-boot=true" in unit.replace('"', "")
    assert "WantedBy=default.target" in unit
    for words in ([], ["--at-boot", "box"]):
        assert "at-boot" in rpod("generate", "systemd", *words, check=False).err


def test_unit_of_a_container(rpod: Command, image: str) -> None:
    rpod("create", "--name", "job", "--memory=64m", "--limits=best-effort", image, "sleep", "7")
    unit = rpod("generate", "systemd", "--new", "--name", "job").out
    assert "--memory=64m" in unit
    assert "sleep 7" in unit


def test_nothing_to_update_is_no_error(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--network=none", image, "sleep", "1000")
    done = rpod("auto-update")
    assert (done.code, done.out) == (0, "")


def test_unit_that_makes_a_container_is_written_down(rpod: Command, image: str) -> None:
    rpod("create", "--name", "u", image, env={"PODMAN_SYSTEMD_UNIT": "web.service"})
    form = '{{index .Config.Labels "PODMAN_SYSTEMD_UNIT"}}'
    assert rpod("inspect", "-f", form, "u").out == "web.service\n"


def test_unit_with_relations_and_variables(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "true")
    words = ("--wants", "a.service", "--after", "b.target,c.target", "--requires", "d.service",
             "-e", "A=with blank", "--start-timeout", "7", "--format", "json",
             "--name")  # fmt: skip
    units = json.loads(rpod("generate", "systemd", *words, "one").out)
    lines = units["container-one"].splitlines()
    for line in ("Wants=a.service", "After=b.target c.target", "Requires=d.service",
                 'Environment="A=with blank"', "TimeoutStartSec=7"):  # fmt: skip
        assert line in lines
    done = rpod("generate", "systemd", "--after", "a\nExecStart=b", "one", check=False)
    assert done.code == 125 and "--after" in done.err
