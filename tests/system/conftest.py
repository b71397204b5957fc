"""Fixtures for tests of the command as a user sees it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.support import accounts, images, leaks
from tests.support.accounts import Account
from tests.support.command import Command, is_podman


def make_command(account: Account, environment: dict[str, str]) -> Command:
    """Return the command for an account; podman-here configures podman by variables."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("CONTAINERS_")}
    return Command(account, {**environment, **(settings if is_podman() else {})})


def traces(account: Account) -> set[str]:
    """Return the mounts and the unfinished store entries that are there."""
    unfinished = set() if is_podman() else set(leaks.unfinished(account.home))
    return leaks.mounts(account) | unfinished


def check_nothing_left(command: Command, before: set[str]) -> None:
    """Fail when a process, a mount or an unfinished store entry remains; ends what it finds."""
    account = command.account
    left = leaks.wait_until_gone(lambda: leaks.own_processes(account), leaks.SETTLE_S)
    if left and os.getuid() == 0:
        accounts.end_processes(account)
    assert not left, f"processes left behind: {left}"
    assert traces(account) - before == set(), "mounts or unfinished store entries left behind"


def clean(command: Command) -> None:
    """Remove the containers and volumes that a test has made."""
    command("rm", "--force", "--all", "--time", "0", check=False)
    volumes = command("volume", "ls", "-q", check=False).lines
    if volumes:
        command("volume", "rm", "--force", *volumes, check=False)


@pytest.fixture(scope="session")
def debian_rootfs(shared_dir: str) -> str:
    """Path of a tar archive with a small Debian. Needs a mirror."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("not installed: mmdebstrap")
    path = f"{shared_dir}/debian.tar"
    command = ["mmdebstrap", "--variant=minbase", "--quiet", "bookworm", path]
    subprocess.run(command, check=True, capture_output=True)
    os.chmod(path, 0o644)
    return path


@pytest.fixture(scope="session")
def session_command(account: Account, docker_archive: str) -> Command:
    """The command with the store of the session, the test image in it."""
    command = make_command(account, account.environment())
    command("load", "--input", docker_archive)
    return command


@pytest.fixture(scope="session")
def image(session_command: Command) -> str:
    """Name of the test image in the session's store."""
    return images.NAME


@pytest.fixture
def rpod(session_command: Command) -> Iterator[Command]:
    """The command; what the test makes is removed after it, and nothing else may be left."""
    before = traces(session_command.account)
    yield session_command
    clean(session_command)
    check_nothing_left(session_command, before)


@pytest.fixture
def fresh_rpod(account: Account, account_dir: str) -> Iterator[Command]:
    """The command with an empty store of its own."""
    before = traces(account)
    runtime_dir = tempfile.mkdtemp(prefix="rpt-", dir="/tmp")
    os.chown(runtime_dir, account.uid, account.gid)
    own = {
        "HOME": account_dir,
        "XDG_DATA_HOME": f"{account_dir}/data",
        "XDG_CONFIG_HOME": f"{account_dir}/config",
        "XDG_RUNTIME_DIR": runtime_dir,
    }
    command = make_command(account, {**account.environment(), **own})
    yield command
    clean(command)
    try:
        check_nothing_left(command, before)
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)
