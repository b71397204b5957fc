"""An account without subordinate ids: less is given, it is said, and everything else works."""

from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.command import Command
from tests.system.conftest import check_nothing_left, clean, make_command, traces

pytestmark = pytest.mark.rpod_only


@pytest.fixture
def single(account_without_ids: Account, busybox_tar: str) -> Iterator[tuple[Command, str]]:
    """The command of an account with one id, and an image of its store."""
    command = make_command(account_without_ids, account_without_ids.environment())
    before = traces(account_without_ids)
    image = command("import", busybox_tar, "localhost/single").lines[-1].removeprefix("sha256:")
    yield command, image
    clean(command)
    command("rmi", "--force", image)
    check_nothing_left(command, before)


def test_single_id_is_root_and_says_what_is_missing(single: tuple[Command, str]) -> None:
    rpod, image = single
    done = rpod("run", "--rm", image, "id", "-u")
    assert done.lines == ["0"]
    assert "no usable subordinate ids" in done.err
    assert "usermod --add-subuids" in done.err


@pytest.mark.parametrize("user", ["33:44", "alice"])
def test_single_id_stands_for_the_user_that_is_asked_for(
    single: tuple[Command, str], user: str
) -> None:
    rpod, image = single
    done = rpod(
        "run", "--rm", "--user", user, image, "sh", "-c", "id -u; touch /mine; ls -ln /mine"
    )
    uid = done.lines[0]
    assert uid == {"33:44": "33", "alice": "1000"}[user]
    assert done.lines[1].split()[2] == uid


def test_single_id_keeps_the_callers_own(single: tuple[Command, str]) -> None:
    rpod, image = single
    uid = str(rpod.account.uid)
    assert rpod("run", "--rm", "--userns=keep-id", image, "id", "-u").lines == [uid]
    name = rpod("run", "-d", "--userns=keep-id", image, "sleep", "100").lines[0]
    assert rpod("exec", name, "id", "-u").lines == [uid]


def test_single_id_has_no_nomap(single: tuple[Command, str]) -> None:
    rpod, image = single
    done = rpod("run", "--rm", "--userns=nomap", image, "true", check=False)
    assert done.code == 125
    assert "nothing but your own id" in done.err
