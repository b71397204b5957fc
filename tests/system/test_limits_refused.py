"""Limits that no host could enforce: refused by one clear line, before anything is made."""

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only  # podman's words are others, and some it takes


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--cpuset-cpus=1-0", "runs backwards"),
        ("--cpuset-cpus=a", "not a list"),
        ("--cpuset-mems=,", "not a list"),
        ("--device-read-bps=/dev/null", "DEVICE:VALUE"),
        ("--device-read-bps=/dev/null:1mb", "not a block device"),
        ("--device-read-bps=/dev/nonesuch:1mb", "No such file"),
        ("--device-write-iops=/dev/null:1mb", "not a number of operations"),
        ("--device-write-bps=/dev/null:-1", "more than 0"),
        ("--blkio-weight=5", "between 10 and 1000"),
        ("--blkio-weight=1001", "between 10 and 1000"),
        ("--cgroup-conf=cgroup.procs=1", "not FILE=VALUE"),
        ("--cgroup-conf=../x.y=1", "not FILE=VALUE"),
        ("--cgroup-conf=memory.max", "not FILE=VALUE"),
        ("--memory=64x", "not a size"),
        ("--memory=-5", "not a size"),
        ("--memory=5m", "minimum is 6m"),
        ("--memory=1", "minimum is 6m"),
        ("--memory-swap=64m", "--memory is needed"),
        ("--memory-reservation=1q", "not a size"),
        ("--cpu-quota=5", "minimum is 1000"),
        ("--cpu-period=5", "between 1000 and 1000000"),
        ("--cpu-period=2000000", "between 1000 and 1000000"),
        ("--cpu-shares=1", "between 2 and 262144"),
        ("--cpu-shares=262145", "between 2 and 262144"),
        ("--cpus=0.001", "minimum is 0.01"),
        ("--cpus=-1", "not a number"),
        ("--cpus=nan", "not a number"),
        ("--cpus=100000", "this host has"),
        ("--pids-limit=-2", "-1 for no limit"),
        ("--pids-limit=many", "pids-limit"),
        ("--shm-size=1x", "shm-size"),
        ("--ulimit=nofile=9:5", "nofile"),
        ("--ulimit=nonsense=1", "nonsense"),
        ("--memory-swappiness=10", "cgroup v1"),
        ("--cgroups=some", "cgroups"),
        ("--limits=some", "limits"),
    ],
)
def test_bad_limit_is_refused(rpod: Command, image: str, option: str, words: str) -> None:
    done = rpod("create", "--network=none", option, image, "true", check=False)
    assert done.code == 125, done.told
    assert words in done.err, done.told
    assert len(done.err.splitlines()) <= 3
    assert rpod("ps", "-aq").out == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--memory=64m", "--memory-swap=32m"),
        ("--memory=64m", "--memory-reservation=65m"),
        ("--cpus=1", "--cpu-quota=1000"),
    ],
    ids=" ".join,
)
def test_limits_that_contradict_are_refused(
    rpod: Command, image: str, options: tuple[str, ...]
) -> None:
    done = rpod("create", "--limits=best-effort", *options, image, "true", check=False)
    assert done.code == 125, done.told
    assert options[1].partition("=")[0] in done.err or "--cpu-quota" in done.err
