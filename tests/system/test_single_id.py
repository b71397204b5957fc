"""An account without subordinate ids: less is given, it is said, and everything else works."""

from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.built import layers_of
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


SOURCE = """\
FROM localhost/single AS one
USER alice
RUN echo a >/tmp/mine && ln -s mine /tmp/link && mkdir /tmp/dir && echo b >>/etc/group
USER root
RUN echo c >/tmp/of-root
FROM localhost/single
COPY --from=one /tmp /copied
USER 33:44
RUN stat -c '= %u:%g %n' /copied/mine /copied/of-root && touch /copied/late
"""


def test_single_id_keeps_the_owners_of_a_build(
    single: tuple[Command, str], account_without_ids: Account
) -> None:
    rpod, _ = single
    archive = f"{account_without_ids.home}/built.tar"
    output = f"type=oci,dest={archive}"
    rpod("build", "-o", output, "-t", "localhost/built", "-", input=SOURCE.encode())
    first, second, *_ = reversed(layers_of(archive))
    assert first["copied/late"][2:4] == (33, 44)
    owners = {name: entry[2:4] for name, entry in second.items() if name.startswith("copied")}
    assert owners == {
        "copied": (0, 0),
        "copied/dir": (1000, 1000),
        "copied/link": (0, 0),
        "copied/mine": (1000, 1000),
        "copied/of-root": (0, 0),
    }
