"""`exec`: a second command in a running container."""

import time
from collections.abc import Iterator

import pytest

from tests.support.command import Command


@pytest.fixture
def target(rpod: Command, image: str) -> Iterator[str]:
    """A running container with an environment of its own."""
    rpod("run", "-d", "--name", "target", "-e", "OF_RUN=yes", image, "sleep", "1000")
    yield "target"


@pytest.mark.parametrize("status", [0, 7])
def test_exec_gives_the_status(rpod: Command, target: str, status: int) -> None:
    assert rpod("exec", target, "sh", "-c", f"exit {status}", check=False).code == status


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param("/no/such/command", 127, id="missing"),
        pytest.param("/etc/not-executable", 126, id="not executable"),
    ],
)
def test_exec_of_what_cannot_run(rpod: Command, target: str, command: str, status: int) -> None:
    assert rpod("exec", target, command, check=False).code == status


def test_exec_keeps_the_streams_apart(rpod: Command, target: str) -> None:
    done = rpod("exec", target, "sh", "-c", "echo to-out; echo to-err >&2")
    assert (done.out, done.err) == ("to-out\n", "to-err\n")


def test_exec_is_in_the_container(rpod: Command, target: str) -> None:
    script = "for n in user mnt pid net ipc uts cgroup; do readlink /proc/1/ns/$n; done"
    own = script.replace("/proc/1/", "/proc/self/")
    assert rpod("exec", target, "sh", "-c", own).out == rpod("exec", target, "sh", "-c", script).out


def test_exec_has_the_environment_of_the_container(rpod: Command, target: str) -> None:
    done = rpod("exec", "-e", "OF_EXEC=too", target, "env", env={"SECRET_OF_THE_HOST": "leaked"})
    variables = dict(line.split("=", 1) for line in done.lines)
    assert variables["OF_RUN"] == "yes"
    assert variables["OF_EXEC"] == "too"
    assert variables["FROM_IMAGE"] == "yes"
    assert "SECRET_OF_THE_HOST" not in variables


def test_exec_user_and_workdir(rpod: Command, target: str) -> None:
    script = 'echo "$(id -u) $(id -g) $(pwd) $HOME"'
    done = rpod("exec", "-u", "alice", "-w", "/home", target, "sh", "-c", script)
    assert done.out.split()[:3] == ["1000", "1000", "/home"]


def test_exec_reads_standard_input(rpod: Command, target: str) -> None:
    assert rpod("exec", "-i", target, "tr", "a-z", "A-Z", input=b"shout").out == "SHOUT"


def test_exec_without_interactive_reads_nothing(rpod: Command, target: str) -> None:
    assert rpod("exec", target, "cat", input=b"x").out == ""


def test_exec_detached_returns_at_once(rpod: Command, target: str) -> None:
    begin = time.monotonic()
    rpod("exec", "-d", target, "sh", "-c", "sleep 0.5; echo done >/mark; sleep 100")
    assert time.monotonic() - begin < 20
    deadline = time.monotonic() + 20
    while rpod("exec", target, "cat", "/mark", check=False).out != "done\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_exec_ends_with_the_container(rpod: Command, target: str) -> None:
    process = rpod.spawn("exec", target, "sh", "-c", "echo ready; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    rpod("kill", target)
    process.communicate(timeout=20)
    assert process.returncode == 137


def test_exec_has_the_capabilities_of_the_container(rpod: Command, target: str) -> None:
    query = ("grep", "-E", "Cap(Eff|Bnd|Prm)|Seccomp:", "/proc/self/status")
    of_init = rpod("exec", target, "grep", "-E", "Cap(Eff|Bnd|Prm)|Seccomp:", "/proc/1/status")
    assert rpod("exec", target, *query).out == of_init.out


def test_exec_in_a_stopped_container_is_refused(rpod: Command, image: str) -> None:
    rpod("create", "--name", "idle", image)
    done = rpod("exec", "idle", "true", check=False)
    assert done.code in (125, 255), done.told
    assert done.err.startswith("Error: ")


def test_exec_is_binary_clean(rpod: Command, target: str) -> None:
    data = bytes(range(256)) * 1024
    assert rpod("exec", "-i", target, "cat", input=data).out_bytes == data


def test_ten_execs_at_once(rpod: Command, target: str) -> None:
    running = [rpod.spawn("exec", target, "sh", "-c", f"echo {n}; exit {n}") for n in range(10)]
    results = [(process.communicate(timeout=50)[0], process.returncode) for process in running]
    assert results == [(f"{n}\n".encode(), n) for n in range(10)]


@pytest.mark.rpod_only  # podman gives the runtime's exit code
def test_exec_as_an_id_that_is_not_mapped_is_refused(rpod: Command, target: str) -> None:
    done = rpod("exec", "-u", "99999999", target, "true", check=False)
    assert done.code in (125, 126), done.told
    assert "99999999" in done.err


@pytest.mark.rpod_only  # podman waits for whoever has the streams
def test_exec_ends_with_its_command_though_a_child_has_the_streams(
    rpod: Command, target: str
) -> None:
    began_s = time.monotonic()
    assert rpod("exec", target, "sh", "-c", "sleep 30 & echo out; exit 3", check=False).code == 3
    assert time.monotonic() - began_s < 15
