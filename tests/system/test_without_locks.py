"""File systems that refuse flock(2): a home of that kind, and a machine that has no other."""

import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.registries import PASSWORD, USER, DockerRegistry, docker_registry, missing
from tests.support import images
from tests.support.accounts import Account
from tests.support.command import Command
from tests.system.conftest import check_nothing_left, clean, traces

pytestmark = pytest.mark.rpod_only

UNLOCKED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "support", "unlocked.py")
RECIPE = f"FROM {images.NAME}\nRUN --mount=type=cache,target=/c touch /c/a\n"
COUNT = "for n in 1 2 3 4 5 6 7 8 9; do echo $n $(seq 99); done; exec sleep 99"
RUN = ("run", "--rm", "--network=none")


class Unlocked(Command):
    """The command where locks below `directory` fail with `error`."""

    error = "ENOLCK"
    directory = "/"

    def dropping(self) -> list[str]:
        return [sys.executable, "-P", UNLOCKED, self.error, self.directory, *super().dropping()]


@pytest.fixture
def rpod(account: Account, account_dir: str, fresh_rpod: Command) -> Iterator[Unlocked]:
    """A user with an empty home in which nothing can be locked."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to answer the system calls of others")
    before = traces(account)
    environment = {**fresh_rpod.environment, "XDG_DATA_HOME": ""}
    command = Unlocked(account, environment)
    command.directory = account_dir
    yield command
    clean(command)
    check_nothing_left(command, before)


@pytest.fixture(scope="module")
def guarded() -> Iterator[DockerRegistry]:
    """A registry that asks for a password."""
    absent = missing("docker-registry", "htpasswd")
    if absent:
        pytest.skip(f"not installed: {absent}")
    with docker_registry(htpasswd=True) as running:
        yield running


def test_home_without_locks_serves_every_command(
    rpod: Unlocked, docker_archive: str, account_dir: str
) -> None:
    """What changes is kept on the node, what lasts in the home; and nobody is told anything."""
    notes = [rpod("load", "-q", "-i", docker_archive).err]
    node = f"{rpod.environment['XDG_RUNTIME_DIR']}/rpod-node-{rpod.account.uid}"
    assert os.listdir(node)
    log = f"{account_dir}/made.log"
    own_log = ("--log-opt", f"path={log}", "--log-opt", "max-size=1k")
    notes += [
        rpod("run", "-d", "--name=made", *own_log, images.NAME, "sh", "-c", COUNT).err,
        rpod("exec", "made", "touch", "/new").err,
    ]  # fmt: skip
    assert rpod("logs", "made").lines[-1].startswith("9 1 2")
    notes += [
        rpod("commit", "-q", "made", "localhost/committed").err,
        rpod("rm", "-f", "-t0", "made").err,
        rpod("volume", "create", "kept").err,
        rpod(*RUN, "-v", "kept:/kept", "localhost/committed", "ls", "/new").err,
        rpod("secret", "create", "word", "/etc/hostname").err,
        rpod("secret", "rm", "word").err,
        rpod("pod", "create", "--name=pod").err,
        rpod("run", "-d", "--pod=pod", images.NAME, "sleep", "99").err,
        rpod("pod", "rm", "-f", "-t0", "pod").err,
        rpod("network", "create", "net").err,
        rpod(*RUN[:-1], "--network=net", images.NAME, "true").err,
        rpod("network", "rm", "net").err,
        rpod("build", "-q", "-t", "built", "-f", "-", "/etc/ssl", input=RECIPE.encode()).err,
        rpod("manifest", "create", "list").err,
        rpod("manifest", "rm", "list").err,
        rpod("rmi", "built", "localhost/committed").err,
        rpod("system", "check").err,
        rpod("system", "prune", "-f").err,
    ]  # fmt: skip
    assert "".join(notes) == ""
    rungs = {line.split(": ")[0]: line for line in rpod("doctor", check=False).lines}
    assert "flock and open file locks" in rungs["ok    rung of locks"]
    shared = json.loads(rpod("info", "--format", "json").out)["store"]["sharedRoot"]
    assert shared == f"{account_dir}/.local/share/rpod"


def test_credentials_are_kept_without_locks(
    rpod: Unlocked, guarded: DockerRegistry, account_dir: str
) -> None:
    path = f"{account_dir}/auth.json"
    where = ("--authfile", path, guarded.host)
    rpod("login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, *where)
    assert rpod("login", "--get-login", *where).out == f"{USER}\n"
    rpod("logout", *where)
    assert [name for name in os.listdir(account_dir) if "lease" in name] == []


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_no_locks_anywhere_is_said_once_and_leaves_nothing(
    rpod: Unlocked, docker_archive: str, error: str
) -> None:
    rpod.directory, rpod.error = "/", error
    for argv in (
        ("load", "-i", docker_archive),
        ("import", docker_archive, "made"),
        ("volume", "create", "made"),
        ("network", "create", "made"),
        ("pod", "create"),
        ("build", "-f", "/dev/null", "/etc/ssl"),
    ):
        done = rpod(*argv, check=False)
        first, remedy = done.err.splitlines()[-2:]
        assert done.code == 125
        assert first.startswith("Error: lock /"), done.told
        assert remedy.strip().startswith("use a directory on a local file system"), done.told
    for words in ("ps", "images -q", "volume ls", "info"):
        assert rpod(*words.split()).err == ""
    rungs = json.loads(rpod("info", "--format", "json").out)["host"]["rungs"]
    assert rungs["locks"]["cause"].startswith("flock lock in /"), rungs
    assert rungs["identity"] == {"rung": "a range of subordinate ids"}
    assert set(rungs) == {"identity", "emulation", "root", "cgroup", "network", "locks"}
    lines = rpod("doctor", check=False).lines
    place = next(n for n, line in enumerate(lines) if "rung of locks" in line)
    assert "cause: flock lock in " in lines[place + 1]
    rpod.directory = "/nowhere"
    assert rpod("images", "-q").out == rpod("ps", "-aq").out == ""
