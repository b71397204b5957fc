"""What the scope costs at a start, beside podman in the same machine (contrib/lab/test --peer)."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.command import Command

RUNS = 9


@pytest.fixture
def podman(docker_archive: str) -> Iterator[list[str]]:
    found = shutil.which("podman")
    if found is None:
        pytest.skip("no podman in this machine: contrib/lab/test --peer")
    subprocess.run([found, "load", "-q", "-i", docker_archive], check=True, capture_output=True)
    yield [found]
    # its process that keeps the namespaces
    subprocess.run([found, "system", "migrate"], check=False, capture_output=True)


def elapsed_s(words: list[str], environment: dict[str, str]) -> float:
    began_s = time.monotonic()
    subprocess.run(words, check=True, capture_output=True, env=environment)
    return time.monotonic() - began_s


@pytest.mark.time_limit(60)
def test_scope_costs_less_than_podmans(session_rpod: Command, podman: list[str]) -> None:
    rest = ["--rm", "--network=none", images.NAME, "true"]
    own = {**session_rpod.environment, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    commands = {"rpod": (session_rpod.prefix, own), "podman": (podman, dict(os.environ))}
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(RUNS + 1):
        for name, (prefix, environment) in commands.items():
            for option in ("--cgroups=enabled", "--cgroups=disabled"):
                took_s = elapsed_s([*prefix, "run", option, *rest], environment)
                if turn:  # the first one fills caches
                    times.setdefault((name, option), []).append(took_s)
    medians = {key: statistics.median(values) for key, values in times.items()}
    cost = {
        name: medians[name, "--cgroups=enabled"] - medians[name, "--cgroups=disabled"]
        for name in commands
    }
    told = f"scope: rpod {cost['rpod']:.3f} s, podman {cost['podman']:.3f} s; medians {medians}"
    print(told)
    assert medians["rpod", "--cgroups=enabled"] < medians["podman", "--cgroups=enabled"], told
    assert cost["rpod"] < 0.5 * medians["rpod", "--cgroups=disabled"], told
