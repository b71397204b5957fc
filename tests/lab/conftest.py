"""Fixtures of the tests in the virtual machine; they run as its regular users."""

from collections.abc import Iterator

import pytest

from tests.support import images, leaks
from tests.support.accounts import Account
from tests.support.command import Command


def loaded(account: Account, docker_archive: str) -> Command:
    command = Command(account, account.environment())
    command("load", "--input", docker_archive)
    return command


@pytest.fixture(scope="session")
def session_rpod(account: Account, docker_archive: str) -> Command:
    """The command with the test image, as a user with subordinate ids."""
    return loaded(account, docker_archive)


@pytest.fixture(scope="session")
def one_id_rpod(account_without_ids: Account, docker_archive: str) -> Command:
    """The command with the test image, as a user without subordinate ids."""
    return loaded(account_without_ids, docker_archive)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove every container after a test and look for what stayed."""
    yield
    for name in ("session_rpod", "one_id_rpod"):
        if name in request.fixturenames:
            check_nothing_left(request.getfixturevalue(name))


def check_nothing_left(command: Command) -> None:
    command("rm", "--force", "--all", "--time", "0")
    left = leaks.wait_until_gone(lambda: leaks.own_processes(command.account), 60)
    assert left == []


@pytest.fixture
def image() -> str:
    return images.NAME
