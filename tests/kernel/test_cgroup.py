"""Where no cgroup can be had, nothing that deals with them is loaded."""

import subprocess
import sys
import tempfile

import pytest

from tests.conftest import InAccount

PROGRAM = """
import os, sys
sys.path[:0] = {path!r}
from rootless.container import own_cgroup, starting
class Host:
    uid = os.getuid()
    environ = {{"XDG_RUNTIME_DIR": {runtime!r}}}
raw = {{"linux": {{"resources": {{"pids": {{"limit": 2048}}}}}}}}
own_cgroup.load_ahead(Host)
print(own_cgroup.has_cgroups(Host), own_cgroup.begin_cgroup(Host, None, raw, None))
print(*sys.modules)
"""


def _loaded(path: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as runtime:
        program = PROGRAM.format(path=path, runtime=runtime)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True
        )
    return done.stdout.splitlines()


def test_nothing_is_loaded_without_a_manager(in_account: InAccount) -> None:
    found, modules = in_account(_loaded, sys.path)
    if found.startswith("True"):
        pytest.skip("this account has a manager of its own")
    assert found == "False None"
    names = set(modules.split())
    assert not names & {
        "rootless.container.cgroup_places",
        "rootless.container.cgroups",
        "rootless.container.resources",
        "rootless.linux.cgroup",
        "rootless.linux.dbus",
        "rootless.linux.user_manager",
    }
