"""Many at once: starts, lists, stops, removals; nothing is left."""

import os

import pytest

from tests.support import leaks
from tests.support.command import Command


@pytest.mark.parametrize(
    "count", [pytest.param(20, id="20"), pytest.param(200, id="200", marks=pytest.mark.full)]
)
@pytest.mark.time_limit(600)
def test_detached_containers(rpod: Command, image: str, count: int) -> None:
    names = [f"many{number}" for number in range(count)]
    for name in names:
        rpod("run", "-d", "--name", name, "--network=none", image, "sleep", "1000")
    assert sorted(rpod("ps", "--format", "{{.Names}}").lines) == sorted(names)
    rpod("stop", "--time", "0", "--all", timeout_s=300)
    assert rpod("ps", "-q").lines == []
    assert len(rpod("ps", "-aq").lines) == count
    rpod("rm", "--all", timeout_s=300)
    assert rpod("ps", "-aq").lines == []
    assert leaks.wait_until_gone(lambda: leaks.own_processes(rpod.account), 5) == []


@pytest.mark.parametrize("network", ["none", "slirp4netns"])
def test_runs_at_once(rpod: Command, image: str, network: str) -> None:
    count = 12
    running = [
        rpod.spawn("run", "--rm", f"--network={network}", image, "sh", "-c", f"echo {n}; exit {n}")
        for n in range(count)
    ]
    results = [(process.communicate(timeout=100), process.returncode) for process in running]
    for number, ((out, err), code) in enumerate(results):
        assert (out, code) == (f"{number}\n".encode(), number), err
    assert rpod("ps", "-aq").lines == []


def test_one_name_is_given_once(rpod: Command, image: str) -> None:
    running = [rpod.spawn("create", "--name", "only", image) for _ in range(6)]
    codes = []
    for process in running:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 125, 125, 125, 125, 125]
    assert rpod("ps", "-a", "--format", "{{.Names}}").lines == ["only"]


def test_removals_at_once(rpod: Command, image: str) -> None:
    ids = [rpod("run", "-d", image, "sleep", "1000").out.strip() for _ in range(4)]
    running = [rpod.spawn("rm", "-f", "--time", "0", one) for one in ids + ids]
    for process in running:
        process.communicate(timeout=60)
    assert rpod("ps", "-aq").lines == []


@pytest.mark.rpod_only
def test_store_holds_nothing_of_removed_containers(
    fresh_rpod: Command, docker_archive: str
) -> None:
    fresh_rpod("load", "-i", docker_archive)
    for number in range(3):
        fresh_rpod("run", "--rm", "rpod-test", "sh", "-c", f"echo {number} >/file")
    store = f"{fresh_rpod.environment['XDG_DATA_HOME']}/rpod"
    for part in ("containers", "container-names", "tmp"):
        path = os.path.join(store, part)
        assert not os.path.isdir(path) or os.listdir(path) == []
    run_root = f"{fresh_rpod.environment['XDG_RUNTIME_DIR']}/rpod/containers"
    assert not os.path.isdir(run_root) or os.listdir(run_root) == []
