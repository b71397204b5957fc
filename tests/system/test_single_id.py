"""An account without subordinate ids: less is given, it is said, and everything else works."""

import os
import shutil
import tempfile
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


def test_single_id_keeps_supplementary_groups(
    single: tuple[Command, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's directory, which the account reads by a further group, without any option."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to give a further group")
    rpod, image = single
    group = 59871
    project = tempfile.mkdtemp(prefix="rpt-project-", dir="/tmp")
    with open(f"{project}/data", "w", encoding="utf-8") as file:
        file.write("of the project\n")
    os.chown(project, 0, group)
    os.chmod(project, 0o750)
    look = ("run", "--rm", "-v", f"{project}:/project", image, "cat", "/project/data")
    assert rpod(*look, check=False).code != 0
    ids = [f"--reuid={rpod.account.uid}", f"--regid={rpod.account.gid}", f"--groups={group}"]
    monkeypatch.setattr(rpod, "dropping", lambda: ["setpriv", *ids, "--"])
    for more in ((), ("--user", "33"), ("--userns=keep-id",)):
        assert rpod("run", *more, *look[1:]).out == "of the project\n"
    shutil.rmtree(project)


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
