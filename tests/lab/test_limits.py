"""Limits in a real user session: the tree, the kernel's files, what happens at a limit."""

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

from tests.support.command import Command

ROOT = "/sys/fs/cgroup"


@pytest.fixture
def box(session_rpod: Command, image: str) -> Iterator[str]:
    """A running container with limits; its cgroup directory."""
    session_rpod(
        "run", "-d", "--name", "box", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50",
        image, "sleep", "1000",
    )  # fmt: skip
    yield ROOT + inspect(session_rpod, "{{.State.CgroupPath}}")


def inspect(command: Command, form: str) -> str:
    return command("inspect", "--format", form, "box").out.strip()


def content(directory: str, name: str) -> str:
    with open(f"{directory}/{name}", encoding="ascii") as file:
        return file.read().strip()


def cgroup_of(pid: str) -> str:
    return content(f"/proc/{pid}", "cgroup").removeprefix("0::")


def test_tree_and_files(session_rpod: Command, box: str) -> None:
    pid, monitor = inspect(session_rpod, "{{.State.Pid}} {{.State.ConmonPid}}").split()
    scope = os.path.dirname(box)
    name = inspect(session_rpod, "{{.Id}}")
    assert os.path.basename(scope) == f"rpod-{name}.scope"
    assert f"/user@{os.getuid()}.service/user.slice/" in scope
    assert ROOT + cgroup_of(pid) == box
    assert ROOT + cgroup_of(monitor) == f"{scope}/monitor"
    files = {name: content(box, name) for name in ("memory.max", "cpu.max", "pids.max")}
    assert files == {"memory.max": "67108864", "cpu.max": "50000 100000", "pids.max": "50"}
    assert content(box, "memory.swap.max") == "67108864"
    inside = session_rpod("exec", "box", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/memory.max")
    assert inside.lines == ["0::/", "67108864"]
    unit = ["systemctl", "--user", "show", "-P", "Delegate", f"rpod-{name}.scope"]
    assert subprocess.run(unit, capture_output=True, text=True, check=False).stdout == "yes\n"


def test_container_cannot_raise_its_limit(session_rpod: Command, image: str) -> None:
    script = (
        "mount -t cgroup2 none /tmp; echo max >/tmp/memory.max; cat /tmp/memory.max;"
        " mkdir /tmp/x && echo 1 >/tmp/cgroup.procs; ls -d /tmp/../user.slice"
    )
    done = session_rpod(
        "run", "--rm", "--privileged", "--memory", "64m", image, "sh", "-c", script, check=False
    )
    assert "67108864" in done.out, done.told


def test_update_pause_and_stats(session_rpod: Command, box: str) -> None:
    session_rpod("update", "--memory", "128m", "--cpus", "1", "box")
    assert content(box, "memory.max") == "134217728"
    assert content(box, "cpu.max") == "100000 100000"
    refused = session_rpod("update", "--pids-limit", "9", "--cpuset-cpus", "0", "box", check=False)
    assert refused.code == 125
    assert content(box, "pids.max") == "50"
    session_rpod("pause", "box")
    assert inspect(session_rpod, "{{.State.Status}} {{.State.Paused}}") == "paused true"
    assert "frozen 1" in content(box, "cgroup.events")
    again = session_rpod("pause", "box", check=False)
    assert again.code == 125
    session_rpod("unpause", "box")
    stats = json.loads(session_rpod("stats", "--no-stream", "--format", "json", "box").out)[0]
    assert stats["pids"] == content(box, "pids.current")
    assert stats["mem_usage"].endswith("/ 134.2MB") or stats["mem_usage"].endswith("/ 134MB")
    session_rpod("stop", "--time", "0", "box")
    session_rpod("start", "box")
    assert content(ROOT + inspect(session_rpod, "{{.State.CgroupPath}}"), "cpu.max").startswith(
        "100000"
    )


def test_paused_container_is_removed(session_rpod: Command, box: str) -> None:
    session_rpod("pause", "box")
    session_rpod("rm", "--force", "box")
    last_s = time.monotonic() + 20
    while os.path.exists(box) and time.monotonic() < last_s:
        time.sleep(0.1)
    assert not os.path.exists(os.path.dirname(box))


def test_cgroup_namespace(session_rpod: Command, image: str) -> None:
    """Its own by default; with the host's the container sees where it is."""
    show = ("--network=none", image, "cat", "/proc/self/cgroup")
    for option, seen in (("private", "0::/"), ("host", f"0::/user.slice/user-{os.getuid()}.slice")):
        done = session_rpod("run", "--rm", f"--cgroupns={option}", *show)
        assert done.lines[0].startswith(seen), done.told
        assert (done.lines == [seen]) == (option == "private"), done.told


def test_pod_is_paused_with_its_containers(session_rpod: Command, image: str) -> None:
    session_rpod("pod", "create", "--name", "group")
    try:
        session_rpod("run", "-d", "--pod", "group", "--name", "box", image, "sleep", "1000")
        group = ROOT + inspect(session_rpod, "{{.State.CgroupPath}}")
        session_rpod("pod", "pause", "group")
        assert "frozen 1" in content(group, "cgroup.events")
        assert session_rpod("pod", "ps", "--format", "{{.Status}}").out == "Paused\n"
        session_rpod("pod", "unpause", "group")
        assert "frozen 0" in content(group, "cgroup.events")
    finally:
        session_rpod("pod", "rm", "--force", "--time", "0", "group")


def test_memory_hog_is_killed_and_reported(session_rpod: Command, image: str) -> None:
    arguments = ("run", "--name", "box", "--memory", "32m", image, "tail", "/dev/zero")
    assert session_rpod(*arguments, check=False).code == 137
    assert inspect(session_rpod, "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"
    events = session_rpod("events", "--stream=false", "--filter", "container=box", check=False)
    assert " oom " in events.out, events.told


def test_fork_bomb_is_held(session_rpod: Command, image: str) -> None:
    script = "b() { b & b & sleep 100; }; b 2>/dev/null & sleep 1000"
    session_rpod("run", "-d", "--name", "box", "--pids-limit", "20", image, "sh", "-c", script)
    time.sleep(2)
    group = ROOT + inspect(session_rpod, "{{.State.CgroupPath}}")
    assert 10 < int(content(group, "pids.current")) <= 20
    assert "max" in content(group, "pids.events")
    full = session_rpod("exec", "box", "true", check=False)
    assert full.code in (0, 125, 126), full.told
    session_rpod("rm", "--force", "box")


def used_us(directory: str) -> int:
    return int(content(directory, "cpu.stat").split()[1])


def test_cpu_quota_is_held(session_rpod: Command, image: str) -> None:
    busy = (image, "sh", "-c", "while :; do :; done & while :; do :; done")
    session_rpod("run", "-d", "--name", "box", "--network=none", "--cpus=0.25", *busy)
    group = ROOT + inspect(session_rpod, "{{.State.CgroupPath}}")
    began_s, before_us = time.monotonic(), used_us(group)
    time.sleep(6)
    used = used_us(group) - before_us
    assert 0 < used < 0.35e6 * (time.monotonic() - began_s), used


def test_cpu_shares_are_held_between_containers(session_rpod: Command, image: str) -> None:
    """Two that want every processor: 1024 to 256 is four to one, and `update` turns it round."""
    busy = "while :; do :; done & while :; do :; done"
    groups = {}
    for name, shares in (("much", "1024"), ("less", "256")):
        session_rpod(
            "run", "-d", "--name", name, "--network=none", "--cpu-shares", shares,
            image, "sh", "-c", busy,
        )  # fmt: skip
        path = session_rpod("inspect", "--format", "{{.State.CgroupPath}}", name).out.strip()
        groups[name] = ROOT + path
    assert 2 < used_by(groups, "much") / used_by(groups, "less") < 8
    for name, shares in (("much", "256"), ("less", "1024")):
        session_rpod("update", "--cpu-shares", shares, name)
        weights = {
            content(path, "cpu.weight")
            for path in (groups[name], os.path.dirname(groups[name]),
                         f"{os.path.dirname(groups[name])}/monitor")
        }  # fmt: skip
        assert len(weights) == 1, weights
    subprocess.run(["systemctl", "--user", "daemon-reload"], check=True)
    assert 2 < used_by(groups, "less") / used_by(groups, "much") < 8


def used_by(groups: dict[str, str], name: str) -> int:
    """Return what one used in some seconds."""
    before_us = used_us(groups[name])
    time.sleep(4)
    return used_us(groups[name]) - before_us


def test_protected_memory_holds_from_the_scope_on(session_rpod: Command, image: str) -> None:
    session_rpod(
        "run", "-d", "--name", "box", "--memory-reservation", "32m", image, "sleep", "1000"
    )
    group = ROOT + inspect(session_rpod, "{{.State.CgroupPath}}")
    scope = os.path.dirname(group)
    assert (content(group, "memory.low"), content(scope, "memory.low")) == ("33554432",) * 2
    session_rpod("update", "--memory-reservation", "16m", "box")
    assert (content(group, "memory.low"), content(scope, "memory.low")) == ("16777216",) * 2


def test_step_of_a_build_has_its_limits(session_rpod: Command, image: str) -> None:
    files = "memory.max cpu.max pids.max cpu.weight"
    source = f"FROM {image}\nRUN cd /sys/fs/cgroup && cat {files} | sed 's/^/= /'\n"
    limits = ("--memory=64m", "--cpus=0.5", "--pids-limit=50", "--cpu-shares=2")
    done = session_rpod("build", "--no-cache", *limits, "-", input=source.encode())
    seen = [line.removeprefix("= ") for line in done.lines if line.startswith("= ")]
    assert seen == ["67108864", "50000 100000", "50", "1"]
    source = f"FROM {image}\nRUN head -c 200m /dev/zero | tail >/dev/null\n"
    killed = session_rpod("build", "--memory=32m", "-", input=source.encode(), check=False)
    assert killed.code != 0
    source = f"FROM {image}\nRUN sed 's/^/= /' /proc/self/cgroup\n"
    options = ("--cgroup-parent=builds.slice", "--cgroupns=host")
    done = session_rpod("build", "--no-cache", *options, "-", input=source.encode())
    (line,) = (line for line in done.lines if line.startswith("= "))
    assert "/builds.slice/rpod-" in line


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--cpuset-cpus", "0"), "controller cpuset is not delegated"),
        (("--blkio-weight", "100"), "controller io is not delegated"),
        (("--memory", "1k"), "minimum is 6m"),
        (("--cpus", "64"), "this host has"),
        (("--cgroup-parent", "x"), "slice"),
        (("--pids-limit", "-7"), "--pids-limit -7"),
        (("--memory-swappiness", "10"), "cgroup v1"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_impossible_limit_is_refused(
    session_rpod: Command, image: str, option: tuple[str, ...], words: str
) -> None:
    done = session_rpod("run", "--rm", *option, image, "true", check=False)
    assert done.code == 125
    assert words in done.err
    if "delegated" in words:
        assert "user@.service.d/delegate.conf" in done.err


def test_best_effort_says_what_is_less(session_rpod: Command, image: str) -> None:
    script = ("grep", "Cpus_allowed_list", "/proc/self/status")
    done = session_rpod("run", "--rm", "--cpuset-cpus", "0", "--limits=best-effort", image, *script)
    assert done.out.split() == ["Cpus_allowed_list:", "0"]
    assert "affinity" in done.err


def test_delegated_cgroup_without_manager(session_rpod: Command, image: str) -> None:
    script = (
        'own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir "$own/shell";'
        ' echo $$ >"$own/shell/cgroup.procs"; "$@"; cut -d: -f3 /proc/self/cgroup; ls -d "$own"/*/'
    )
    rpod = [*session_rpod.prefix, "--cgroup-manager=cgroupfs", "run", "--rm", "--memory", "64m"]
    done = subprocess.run(
        ["systemd-run", "--user", "--scope", "-q", "-p", "Delegate=yes", "bash", "-c", script, "sh",
         *rpod, image, "cat", "/sys/fs/cgroup/memory.max"],
        capture_output=True, text=True, check=False,
        env={**session_rpod.environment, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"},
    )  # fmt: skip
    lines = done.stdout.split()
    assert lines[0] == "67108864", done.stderr
    assert lines[1].endswith("/shell")
    assert len(lines) == 3, lines


def test_hanging_manager_is_an_error_in_time(session_rpod: Command, image: str) -> None:
    with tempfile.TemporaryDirectory() as runtime:
        os.mkdir(f"{runtime}/systemd")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{runtime}/systemd/private")
            listener.listen(1)
            began_s = time.monotonic()
            words = [*session_rpod.prefix, "run", "--rm", "--memory", "64m", image, "true"]
            environment = {**session_rpod.environment, "XDG_RUNTIME_DIR": runtime}
            done = subprocess.run(
                words, capture_output=True, text=True, check=False, env=environment
            )
    assert done.returncode == 125
    assert "systemd" in done.stderr
    assert time.monotonic() - began_s < 25


def test_manager_that_dies_is_said_where_no_limit_was_asked(
    session_rpod: Command, image: str
) -> None:
    with tempfile.TemporaryDirectory() as runtime:
        os.mkdir(f"{runtime}/systemd")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{runtime}/systemd/private")
        variables = {"XDG_RUNTIME_DIR": runtime}
        done = session_rpod("run", "--rm", image, "echo", "hello", env=variables)
        limited = session_rpod("run", "--memory=64m", image, "true", env=variables, check=False)
    assert done.out == "hello\n"
    assert "no cgroup of its own" in done.err
    assert limited.code == 125
    assert "systemd" in limited.err
