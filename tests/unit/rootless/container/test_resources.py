"""Limits: what is refused, what stands in config.json, which files it means."""

import os

import pytest

from rootless.container.best_effort import Effort
from rootless.container.request import ContainerRequest
from rootless.container.resources import make_resources, parse_bytes, settings
from rootless.errors import UsageError


def files(**fields: object) -> dict[str, str]:
    request = ContainerRequest()._replace(**fields)  # type: ignore[arg-type]  # the tests' own
    return {setting.file: setting.value for setting in settings(make_resources(request))}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"pids.max": "2048"}),
        ({"pids_limit": -1}, {"pids.max": "max"}),
        ({"pids_limit": 0}, {"pids.max": "max"}),
        ({"memory": "64m"}, {"memory.max": "67108864", "memory.swap.max": "67108864"}),
        ({"memory": "64m", "memory_swap": "-1"}, {"memory.swap.max": "max"}),
        ({"memory": "64m", "memory_swap": "64m"}, {"memory.swap.max": "0"}),
        ({"memory_reservation": "1.5g"}, {"memory.low": "1610612736"}),
        ({"cpus": "0.5"}, {"cpu.max": "50000 100000"}),
        ({"cpu_quota": 20000, "cpu_period": 50000}, {"cpu.max": "20000 50000"}),
        ({"cpu_quota": -1}, {"cpu.max": "max 100000"}),
        ({"cpu_shares": 2}, {"cpu.weight": "1"}),
        ({"cpu_shares": 262144}, {"cpu.weight": "10000"}),
        ({"cpuset_cpus": "0-1,3"}, {"cpuset.cpus": "0-1,3"}),
        ({"blkio_weight": "1000"}, {"io.weight": "default 10000"}),
        ({"cgroup_conf": ("memory.high=5",)}, {"memory.high": "5"}),
    ],
    ids=str,
)
def test_files(fields: dict[str, object], expected: dict[str, str]) -> None:
    written = files(**fields)
    assert {name: written.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": "1k"},
        {"memory": "5x"},
        {"memory": "-5"},
        {"memory": "m"},
        {"memory": "9" * 30},
        {"memory_swap": "1g"},
        {"memory": "1g", "memory_swap": "512m"},
        {"memory": "1g", "memory_reservation": "2g"},
        {"memory_swappiness": 10},
        {"oom_kill_disable": True},
        {"kernel_memory": "1g"},
        {"cpu_rt_runtime": 5},
        {"cpus": "-1"},
        {"cpus": "one"},
        {"cpus": "0.001"},
        {"cpus": str((os.cpu_count() or 1) + 1)},
        {"cpus": "1", "cpu_quota": 5000},
        {"cpu_quota": 10},
        {"cpu_period": 10},
        {"cpu_shares": 1},
        {"cpuset_cpus": "3-1"},
        {"cpuset_cpus": "a"},
        {"cpuset_cpus": ","},
        {"pids_limit": -2},
        {"blkio_weight": "5"},
        {"device_read_bps": ("/dev/null:1m",)},
        {"device_read_bps": ("/dev/nothing-there:1m",)},
        {"device_write_iops": ("x",)},
        {"cgroup_conf": ("cgroup.kill=1",)},
        {"cgroup_conf": ("../memory.max=1",)},
        {"cgroup_conf": ("memory.max",)},
    ],
    ids=str,
)
def test_impossible_limit_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        files(**fields)


def test_sizes() -> None:
    assert [parse_bytes("-m", text) for text in ("1", "1b", "2K", "1kb", "1MiB", "-1")] == [
        1, 1, 2048, 1024, 1 << 20, -1,
    ]  # fmt: skip


def test_best_effort_replaces_what_is_missing() -> None:
    request = ContainerRequest(memory="64m", cpus="1", pids_limit=10, cpu_shares=5)
    effort = Effort(make_resources(request), ("memory", "cpu", "pids", "io", "cpuset"))
    assert effort.left == {}
    assert [limit["type"] for limit in effort.rlimits] == ["RLIMIT_DATA", "RLIMIT_NPROC"]
    assert len(effort.cpus) == 1
    assert len(effort.notes) == 4


def test_best_effort_keeps_what_is_there() -> None:
    request = ContainerRequest(memory="64m", cpuset_cpus="0")
    resources = make_resources(request)
    effort = Effort(resources, ("io",))
    assert effort.left == resources
    assert effort.notes == []
