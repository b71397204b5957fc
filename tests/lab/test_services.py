"""Services in a real user session: Quadlet, generate systemd, readiness, sockets, notes."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests import registries
from tests.support.command import Command

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNTIME = f"/run/user/{os.getuid()}"
UNITS = os.path.expanduser("~/.config/systemd/user")
QUADLET = os.path.expanduser("~/.config/containers/systemd")


def systemctl(*words: str, check: bool = True) -> str:
    done = subprocess.run(
        ["systemctl", "--user", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": RUNTIME},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def rpod(session_rpod: Command) -> Iterator[Command]:
    """The command as the service sees it: the same store, the user's real home for units."""
    os.makedirs(UNITS, exist_ok=True)
    os.makedirs(QUADLET, exist_ok=True)
    variables = ("HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "RPOD_RUNROOT", "RPOD_ROOT")
    kept = {name: session_rpod.environment.get(name, "") for name in variables}
    systemctl("set-environment", *(f"{name}={value}" for name, value in kept.items() if value))
    yield session_rpod
    systemctl("unset-environment", *variables)


def test_quadlet_service_runs_and_stops(rpod: Command, image: str) -> None:
    with open(f"{QUADLET}/web.container", "w", encoding="utf-8") as file:
        file.write(
            f"[Container]\nImage={image}\nExec=sleep 1000\nMemory=64m\nPull=never\n"
            "[Install]\nWantedBy=default.target\n"
        )
    with open(f"{QUADLET}/wrong.container", "w", encoding="utf-8") as file:
        file.write(f"[Container]\nImage={image}\nBogus=1\n")
    home = os.path.expanduser("~")
    done = rpod("quadlet", env={"XDG_CONFIG_HOME": f"{home}/.config"}, check=False)
    os.unlink(f"{QUADLET}/wrong.container")
    assert done.code == 1
    assert "Bogus= is not known" in done.err
    systemctl("daemon-reload")
    try:
        systemctl("start", "web.service")
        assert systemctl("is-active", "web.service") == "active"
        pid = rpod("inspect", "--format", "{{.State.Pid}}", "systemd-web").out.strip()
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            group = file.read().strip()
        assert "/web.service/rpod-" in group, group
        with open(f"/sys/fs/cgroup{group[3:]}/memory.max", encoding="ascii") as file:
            assert file.read() == "67108864\n"
    except AssertionError:
        sys.stderr.write(systemctl("status", "-n", "30", "web.service", check=False))
        raise
    finally:
        systemctl("stop", "web.service", check=False)
        os.unlink(f"{QUADLET}/web.container")
    assert rpod("ps", "-aq").out == ""
    rpod("quadlet", env={"XDG_CONFIG_HOME": f"{home}/.config"})
    assert not os.path.exists(f"{UNITS}/web.service")


def test_generated_unit_runs(rpod: Command, image: str) -> None:
    rpod("create", "--name", "job", "--env", "A=1 2", image, "sh", "-c", "echo $A; sleep 1000")
    unit = rpod("generate", "systemd", "--new", "--name", "job").out
    rpod("rm", "job")
    with open(f"{UNITS}/container-job.service", "w", encoding="utf-8") as file:
        file.write(unit)
    systemctl("daemon-reload")
    try:
        systemctl("start", "container-job.service")
        assert rpod("logs", "job").out == "1 2\n"
    except AssertionError:
        sys.stderr.write(systemctl("status", "-n", "30", "container-job.service", check=False))
        raise
    finally:
        systemctl("stop", "container-job.service", check=False)
        os.unlink(f"{UNITS}/container-job.service")
        systemctl("daemon-reload")


@contextlib.contextmanager
def quadlet_service(rpod: Command, name: str, text: str, kind: str = "container") -> Iterator[str]:
    """Make a service from a Quadlet file, and take it away again."""
    environment = {"XDG_CONFIG_HOME": os.path.expanduser("~/.config")}
    path = f"{QUADLET}/{name}.{kind}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    rpod("quadlet", env=environment)
    try:
        yield f"{name}.service"
    except AssertionError:
        sys.stderr.write(systemctl("status", "-n", "30", f"{name}.service", check=False))
        raise
    finally:
        systemctl("stop", f"{name}.service", check=False)
        os.unlink(path)
        rpod("quadlet", env=environment)


def test_readiness_waits_for_health(rpod: Command, image: str) -> None:
    text = (
        f"[Container]\nImage={image}\nExec=sh -c 'sleep 4; touch /up; sleep 1000'\nPull=never\n"
        "Notify=healthy\nHealthCmd=test -e /up\nHealthInterval=1s\nHealthRetries=100\n"
        "[Service]\nTimeoutStartSec=200\n"
    )
    with quadlet_service(rpod, "slow", text) as unit:
        systemctl("start", unit)
        form = "{{.State.Health.Status}}"
        assert rpod("inspect", "-f", form, "systemd-slow").out == "healthy\n"


@pytest.fixture(scope="module")
def registry_host() -> Iterator[str]:
    with registries.docker_registry() as running:
        yield running.host


def publish(rpod: Command, base: str, name: str, script: str) -> None:
    """Push an image whose command is `script` under a name."""
    rpod("rm", "--force", "maker")
    rpod("create", "--name", "maker", base)
    rpod("commit", "--quiet", "--change", f"CMD {json.dumps(['sh', '-c', script])}", "maker", name)
    rpod("rm", "maker")
    rpod("push", "--quiet", "--tls-verify=false", name)


def test_auto_update_and_rollback(rpod: Command, image: str, registry_host: str) -> None:
    name = f"{registry_host}/app:latest"
    text = (
        f"[Container]\nImage={name}\nAutoUpdate=registry\nNotify=healthy\n"
        "HealthCmd=test -e /up\nHealthInterval=1s\nHealthRetries=5\nHealthOnFailure=kill\n"
        "PodmanArgs=--tls-verify=false\n[Service]\nTimeoutStartSec=200\n"
    )
    update = ("auto-update", "--tls-verify=false", "--format", "{{.Unit}} {{.Updated}}")
    publish(rpod, image, name, "echo one; touch /up; sleep 1000")
    with quadlet_service(rpod, "app", text) as unit:
        systemctl("start", unit)
        assert rpod(*update).lines == [f"{unit} false"]
        publish(rpod, image, f"{registry_host}/other", "true")
        publish(rpod, image, name, "echo two; touch /up; sleep 1000")
        rpod("rmi", "--force", f"{registry_host}/other")
        assert rpod(*update, "--dry-run").lines == [f"{unit} pending"]
        assert rpod("logs", "systemd-app").out == "one\n"
        assert rpod(*update, timeout_s=200).lines == [f"{unit} true"]
        assert rpod("logs", "systemd-app").out == "two\n"
        publish(rpod, image, name, "echo three; sleep 1000")
        done = rpod(*update, timeout_s=200)
        assert done.lines == [f"{unit} rolled back"], done.told
        assert rpod("logs", "systemd-app").out == "two\n"
        assert systemctl("is-active", unit) == "active"


def test_auto_update_names_what_is_missing(rpod: Command, image: str) -> None:
    label = "io.containers.autoupdate=registry"
    rpod("run", "-d", "--name", "lone", "--label", label, image, "sleep", "1000")
    done = rpod("auto-update", check=False)
    assert done.code == 125
    assert "PODMAN_SYSTEMD_UNIT" in done.err
    assert "failed" in done.out


def test_socket_is_passed_to_the_container(session_rpod: Command, image: str) -> None:
    path = f"{session_rpod.account.home}/socket"
    script = "echo $LISTEN_FDS $LISTEN_PID; dd bs=100 count=1 <&3 2>/dev/null"
    words = [*session_rpod.prefix, "run", "--rm", "--network=none", image, "sh", "-c", script]
    names = [f"--setenv={name}" for name in session_rpod.environment]
    with subprocess.Popen(
        ["systemd-socket-activate", "-d", "-l", path, *names, *words],
        env=session_rpod.environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        last_s = time.monotonic() + 20
        while not os.path.exists(path) and time.monotonic() < last_s:
            time.sleep(0.1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello\n", path)
        out, _ = process.communicate(timeout=100)
    assert out.split() == ["1", "1", "hello"]


def test_lingering_account_is_told_nothing(session_rpod: Command, image: str) -> None:
    done = session_rpod("run", "-d", image, "sleep", "1000")
    assert "loginctl" not in done.err
    told = session_rpod("run", "-d", image, "sleep", "1000", env={"SLURM_JOB_ID": "77"})
    assert "slurm job 77" in told.err


class OverSocket(http.client.HTTPConnection):
    """HTTP over a unix socket: docker's API."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def ask(path: str, method: str, what: str, body: object = None) -> tuple[int, bytes]:
    connection = OverSocket(path)
    data = json.dumps(body) if body is not None else None
    connection.request(method, what, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def test_dockers_socket_is_answered_when_somebody_connects(rpod: Command, image: str) -> None:
    """The units of contrib/systemd, as the README says; limits and pause are those of a session."""
    home = rpod.environment["HOME"]
    os.makedirs(f"{home}/.local/rpod/bin")
    os.symlink(rpod.prefix[-1], f"{home}/.local/rpod/bin/rpod")
    for name in ("rpod.socket", "rpod.service"):
        shutil.copy(f"{PROJECT}/contrib/systemd/{name}", UNITS)
    systemctl("daemon-reload")
    systemctl("start", "rpod.socket")
    path = f"{RUNTIME}/rpod/rpod.sock"
    try:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert ask(path, "GET", "/_ping") == (200, b"OK")
        settings = {"Image": image, "Cmd": ["sleep", "1000"], "HostConfig": {"Memory": 64 << 20}}
        code, data = ask(path, "POST", "/v1.41/containers/create?name=box", settings)
        assert code == 201, data
        for verb in ("start", "pause", "unpause"):
            assert ask(path, "POST", f"/v1.41/containers/box/{verb}")[0] == 204
        more = {"Memory": 128 << 20}
        assert ask(path, "POST", "/v1.41/containers/box/update", more)[0] == 200
        place = rpod("inspect", "--format", "{{.State.CgroupPath}}", "box").out.strip()
        with open(f"/sys/fs/cgroup{place}/memory.max", encoding="ascii") as file:
            assert int(file.read()) == 128 << 20
        systemctl("stop", "rpod.service")
        assert rpod("ps", "--format", "{{.Names}}").out == "box\n"
    finally:
        systemctl("stop", "rpod.socket", check=False)
