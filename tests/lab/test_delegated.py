"""All controllers delegated (the drop-in that an error prints): each limit as the kernel has it.

`contrib/lab/test` lets root write the drop-in first.
"""

import os
import subprocess

import pytest

from tests.support.command import Command

ROOT = "/sys/fs/cgroup"
SERVICE = f"{ROOT}/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
DEVICE = "/dev/vda"


@pytest.fixture(autouse=True)
def all_delegated() -> None:
    with open(f"{SERVICE}/cgroup.controllers", encoding="ascii") as file:
        missing = {"cpu", "cpuset", "io", "memory", "pids"} - set(file.read().split())
    if missing:
        pytest.skip(f"not delegated to this account: {', '.join(sorted(missing))}")


def group_of(rpod: Command, name: str = "box") -> str:
    return ROOT + rpod("inspect", "--format", "{{.State.CgroupPath}}", name).out.strip()


def content(directory: str, name: str) -> str:
    with open(f"{directory}/{name}", encoding="ascii") as file:
        return file.read().strip()


def own_path(pid: str) -> str:
    return content(f"/proc/{pid}", "cgroup").removeprefix("0::")


def number_of(device: str) -> str:
    status = os.stat(device)
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def test_every_limit_has_its_file(session_rpod: Command, image: str) -> None:
    session_rpod(
        "run", "-d", "--name", "box",
        "--memory=64m", "--memory-swap=96m", "--memory-reservation=32m",
        "--cpu-quota=30000", "--cpu-period=200000", "--cpu-shares=512",
        "--cpuset-cpus=0", "--cpuset-mems=0", "--pids-limit=33",
        f"--device-read-bps={DEVICE}:1mb", f"--device-write-bps={DEVICE}:2mb",
        f"--device-read-iops={DEVICE}:300", f"--device-write-iops={DEVICE}:400",
        "--cgroup-conf=memory.high=60000000", "--cgroup-conf=cpu.idle=0",
        image, "sleep", "1000",
    )  # fmt: skip
    box = group_of(session_rpod)
    found = {
        name: content(box, name)
        for name in (
            "memory.max", "memory.swap.max", "memory.low", "memory.high", "cpu.max", "cpu.weight",
            "cpuset.cpus", "cpuset.mems", "pids.max", "io.max",
        )
    }  # fmt: skip
    page = 4096
    assert found == {
        "memory.max": f"{64 << 20}", "memory.swap.max": f"{32 << 20}", "memory.low": f"{32 << 20}",
        "memory.high": f"{60000000 // page * page}", "cpu.max": "30000 200000", "cpu.weight": "20",
        "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "33",
        "io.max": f"{number_of(DEVICE)} rbps=1048576 wbps=2097152 riops=300 wiops=400",
    }  # fmt: skip
    shown = session_rpod("exec", "box", "grep", "Cpus_allowed_list", "/proc/1/status").out
    assert shown.split() == ["Cpus_allowed_list:", "0"]
    session_rpod("update", "--cpuset-cpus=0-1", "box")
    assert content(box, "cpuset.cpus") == "0-1"


def test_weight_of_block_devices(session_rpod: Command, image: str) -> None:
    """Weighed where the kernel can (iocost), else refused: the kernel's files decide which."""
    options = ("--name", "box", "--network=none", "--blkio-weight=500")
    done = session_rpod("run", "-d", *options, image, "sleep", "1000", check=False)
    if not os.path.exists(f"{SERVICE}/io.weight"):
        assert done.code == 125, done.told
        assert "io.weight" in done.err, done.told
        assert session_rpod("ps", "-aq").out == ""
        best = session_rpod("run", *options, "--limits=best-effort", image, "echo", "ran")
        assert best.out == "ran\n"
        assert "io.weight" in best.err, best.told
        return
    assert done.code == 0, done.told
    assert content(group_of(session_rpod), "io.weight").splitlines()[0] == "default 4950"


def test_what_the_kernel_does_not_have_is_refused(session_rpod: Command, image: str) -> None:
    """What no table can know: the machine's processors, the kernel's files, what they take."""
    for option, words in (
        ("--cpuset-cpus=0,63", "not available: 63"),
        ("--cpuset-mems=7", "not available: 7"),
        (f"--device-read-bps={DEVICE}:0", "more than 0"),
        ("--cgroup-conf=memory.high=lots", "memory.high"),
        ("--cgroup-conf=memory.nonsense=1", "memory.nonsense"),
    ):
        done = session_rpod("run", "--rm", "--network=none", option, image, "true", check=False)
        assert done.code == 125, done.told
        assert words in done.err, done.told
        assert len(done.err.splitlines()) <= 3, done.told
    assert session_rpod("ps", "-aq").out == ""


def test_no_limit_is_none(session_rpod: Command, image: str) -> None:
    options = ("--memory=-1", "--cpus=0", "--pids-limit=0", "--cpu-shares=0")
    script = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max"
    done = session_rpod("run", "--rm", "--network=none", *options, image, "sh", "-c", script)
    assert done.lines == ["max", "max 100000", "max"]


def test_limit_above_that_of_a_cgroup_above(session_rpod: Command, image: str) -> None:
    subprocess.run(
        ["systemctl", "--user", "set-property", "--runtime", "tight.slice", "MemoryMax=50M",
         "TasksMax=40"],
        check=True, env={**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"},
    )  # fmt: skip
    parent = "--cgroup-parent=tight.slice"
    session_rpod("run", "-d", "--name", "box", parent, "--memory=20m", image, "sleep", "1000")
    assert "/tight.slice/rpod-" in group_of(session_rpod)
    for option in ("--memory=90m", "--pids-limit=90"):
        done = session_rpod("run", "--rm", parent, option, image, "true", check=False)
        assert done.code == 125
        assert "tight.slice" in done.err, done.told
    refused = session_rpod("update", "--memory=90m", "box", check=False)
    assert refused.code == 125
    assert content(group_of(session_rpod), "memory.max") == f"{20 << 20}"


def test_monitor_stays_with_no_monitor(session_rpod: Command, image: str) -> None:
    session_rpod("run", "-d", "--name", "box", "--cgroups=no-monitor", "--memory=64m", image,
                 "sleep", "1000")  # fmt: skip
    form = "{{.State.Pid}} {{.State.ConmonPid}}"
    pid, monitor = session_rpod("inspect", "--format", form, "box").out.split()
    assert ROOT + own_path(pid) == group_of(session_rpod)
    assert own_path(monitor) == own_path("self")
    assert content(group_of(session_rpod), "memory.max") == f"{64 << 20}"
    assert session_rpod("exec", "box", "cat", "/proc/self/cgroup").out == "0::/\n"


def test_no_cgroup_where_none_is_wanted(session_rpod: Command, image: str) -> None:
    session_rpod("run", "-d", "--name", "box", "--cgroups=disabled", image, "sleep", "1000")
    pid = session_rpod("inspect", "--format", "{{.State.Pid}}", "box").out.strip()
    assert own_path(pid) == own_path("self")
    done = session_rpod("run", "--cgroups=disabled", "--memory=64m", image, "true", check=False)
    assert done.code == 125
    assert "--cgroups=disabled" in done.err


def in_service(rpod: Command, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run words as a service of the user's with a delegated cgroup."""
    variables = (f"--setenv={name}={value}" for name, value in rpod.environment.items())
    return subprocess.run(
        ["systemd-run", "--user", "--pipe", "--wait", "-q", "-p", "Delegate=yes", *variables,
         "--unit=splits", *words],
        capture_output=True, text=True, check=False,
        env={**rpod.environment, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"},
    )  # fmt: skip


def test_split_divides_the_service_of_the_caller(session_rpod: Command, image: str) -> None:
    words = [*session_rpod.prefix, "run", "--rm", "--cgroups=split", "--memory=64m", image]
    script = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max"
    done = in_service(session_rpod, *words, "sh", "-c", script)
    assert done.stdout.splitlines() == ["0::/", f"{64 << 20}"], done.stderr


def test_split_moves_nobody_but_rpod(session_rpod: Command, image: str) -> None:
    """A script that calls rpod stays where it is, and then there is no room for limits."""
    words = " ".join([*session_rpod.prefix, "run --rm --cgroups=split --memory=64m", image, "true"])
    done = in_service(session_rpod, "sh", "-c", f"{words}; cat /proc/self/cgroup")
    assert done.stdout.splitlines()[0].endswith("/splits.service")
    assert "has no processes of its own" in done.stderr


def test_cgroup_removed_by_somebody_else(session_rpod: Command, image: str) -> None:
    """The unit is stopped behind rpod's back: the container has ended, and starts again."""
    session_rpod("run", "-d", "--name", "box", "--memory=64m", image, "sleep", "1000")
    name = session_rpod("inspect", "--format", "{{.Id}}", "box").out.strip()
    subprocess.run(
        ["systemctl", "--user", "stop", f"rpod-{name}.scope"], check=True,
        env={**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"},
    )  # fmt: skip
    form = "{{.State.Status}}"
    assert session_rpod("inspect", "--format", form, "box").out == "exited\n"
    refused = session_rpod("exec", "box", "true", check=False)
    assert refused.code == 125
    session_rpod("start", "box")
    assert content(group_of(session_rpod), "memory.max") == f"{64 << 20}"


def test_exec_where_the_process_limit_is_full(session_rpod: Command, image: str) -> None:
    script = "b() { sleep 1000 & b; }; b 2>/dev/null; sleep 1000"
    session_rpod("run", "-d", "--name", "box", "--pids-limit=8", image, "sh", "-c",
                 f"trap '' TERM; ({script}); sleep 1000")  # fmt: skip
    done = session_rpod("exec", "box", "sh", "-c", "true & wait", check=False, timeout_s=20)
    assert done.code != 0, done.told
    assert done.err, done.told
    assert session_rpod("rm", "-f", "-t", "0", "box", timeout_s=20).code == 0


def test_cgroupfs_in_a_delegated_scope(session_rpod: Command, image: str) -> None:
    script = (
        'own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir "$own/shell";'
        ' echo $$ >"$own/shell/cgroup.procs"; "$@"; cut -d: -f3 /proc/self/cgroup; ls -d "$own"/*/'
    )
    rpod = [*session_rpod.prefix, "--cgroup-manager=cgroupfs", "run", "--rm", "--cpuset-cpus=1"]
    done = subprocess.run(
        ["systemd-run", "--user", "--scope", "-q", "-p", "Delegate=yes", "bash", "-c", script, "sh",
         *rpod, image, "cat", "/sys/fs/cgroup/cpuset.cpus"],
        capture_output=True, text=True, check=False,
        env={**session_rpod.environment, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"},
    )  # fmt: skip
    lines = done.stdout.split()
    assert lines[0] == "1", done.stderr
    assert lines[1].endswith("/shell")
    assert len(lines) == 3, lines  # nothing is left of the container's cgroup
