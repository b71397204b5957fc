"""Secrets: kept, given to containers, found nowhere else."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.support.command import Command

TOLD = "x7-NeverShown-91"


@pytest.fixture
def secret(rpod: Command) -> str:
    rpod("secret", "create", "key", "-", input=TOLD.encode())
    return "key"


@pytest.fixture(autouse=True)
def no_secret_left(rpod: Command) -> Iterator[None]:
    yield
    rpod("secret", "rm", "--all", check=False)


@pytest.mark.rpod_only  # podman 4.3 lets a container write beside it
def test_secret_is_a_file_for_all_to_read(rpod: Command, image: str, secret: str) -> None:
    script = "cat /run/secrets/key; stat -c ' %u:%g %a' /run/secrets/key; touch /run/secrets/x"
    done = rpod("run", "--rm", "--secret", secret, image, "sh", "-c", script, check=False)
    assert done.out == f"{TOLD} 0:0 444\n"
    assert "Read-only" in done.err


def test_secret_has_target_owner_and_mode(rpod: Command, image: str, secret: str) -> None:
    script = "cat /run/secrets/dir/s; stat -c ' %u:%g %a' /run/secrets/dir/s"
    wanted = f"{secret},target=dir/s,uid=1000,gid=5,mode=0400"
    done = rpod("run", "--rm", "--secret", wanted, image, "sh", "-c", script, check=False)
    assert done.out == f"{TOLD} 1000:5 400\n", done.told


def test_secret_may_lie_anywhere(rpod: Command, image: str, secret: str) -> None:
    wanted = f"source={secret},target=/etc/app/key"
    assert rpod("run", "--rm", "--secret", wanted, image, "cat", "/etc/app/key").out == TOLD


def test_secret_belongs_to_root_with_keep_id(rpod: Command, image: str, secret: str) -> None:
    options = ("--rm", "--userns=keep-id", "--secret", secret)
    done = rpod("run", *options, image, "stat", "-c", "%u:%g", "/run/secrets/key")
    assert done.out == "0:0\n"


def test_secret_variable_is_there_for_run_and_exec(rpod: Command, image: str, secret: str) -> None:
    wanted = f"{secret},type=env,target=TOLD"
    rpod("run", "-d", "--name", "c", "--secret", wanted, image, "sleep", "60")
    assert rpod("exec", "c", "printenv", "TOLD", check=False).code in (0, 127)
    assert rpod("exec", "c", "sh", "-c", "echo $TOLD").out == f"{TOLD}\n"
    run = ("run", "--rm", "--secret", f"{secret},type=env", image, "sh", "-c", "echo $key")
    assert rpod(*run).out == f"{TOLD}\n"


@pytest.mark.rpod_only  # podman 4.3 cannot start it again
def test_container_keeps_a_removed_secret(rpod: Command, image: str, secret: str) -> None:
    options = ("--secret", secret, "--secret", f"{secret},type=env,target=E")
    rpod("create", "--name", "c", *options, image, "sh", "-c", "cat /run/secrets/key; echo $E")
    rpod("secret", "rm", secret)
    assert rpod("start", "-a", "c").out == f"{TOLD}{TOLD}\n"


@pytest.mark.rpod_only  # podman 4.3 commits a variable into the image
def test_secret_is_told_nowhere(rpod: Command, image: str, secret: str, account_dir: str) -> None:
    options = ("--secret", secret, "--secret", f"{secret},type=env,target=E")
    rpod("run", "--name", "c", *options, image, "sh", "-c", "test $E && test -s /run/secrets/key")
    told = [rpod("inspect", "c").out, rpod("logs", "c").out, rpod("secret", "inspect", "key").out]
    told += [rpod("diff", "c").out, rpod("ps", "-a", "--format", "json").out]
    rpod("commit", "-q", "c", "localhost/committed")
    told.append(rpod("inspect", "localhost/committed").out)
    rpod("export", "-o", f"{account_dir}/export.tar", "c")
    rpod("save", "-o", f"{account_dir}/save.tar", "localhost/committed")
    rpod("rmi", "localhost/committed")
    assert TOLD not in "".join(told)
    for name in ("export.tar", "save.tar"):
        with open(f"{account_dir}/{name}", "rb") as file:
            assert TOLD.encode() not in file.read()


@pytest.mark.rpod_only
def test_only_its_files_have_a_secret(fresh_rpod: Command, docker_archive: str) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    fresh_rpod("secret", "create", "key", "-", input=TOLD.encode())
    options = ("--secret", "key", "--secret", "key,type=env,target=E")
    image = fresh_rpod("images", "-q").lines[0]
    fresh_rpod("create", "--name", "c", *options, image, "true")
    store = f"{fresh_rpod.environment['XDG_DATA_HOME']}/rpod"
    have = []
    for directory, _, files in os.walk(store):
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                if TOLD.encode() in file.read():
                    have.append((name, oct(os.stat(path).st_mode & 0o077)))
    assert sorted(have) == [("data", "0o0"), ("key", "0o44"), ("secret-env.json", "0o0")]


def test_inspect_names_the_secrets(rpod: Command, image: str, secret: str) -> None:
    rpod("create", "--name", "c", "--secret", f"{secret},mode=0400", image, "true")
    (shown,) = json.loads(rpod("inspect", "c").out)[0]["Config"]["Secrets"]
    assert (shown["Name"], shown["UID"], shown["Mode"]) == ("key", 0, 0o400)
    assert shown["ID"] == rpod("secret", "ls", "-q").out.strip()


@pytest.mark.rpod_only  # podman 4.3 says it in other words
@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("nope", 'no secret with name or id "nope"'),
        ("key,type=env,uid=1", "uid"),
        ("key,type=nothing", "type"),
        ("key,mode=9", "mode"),
        ("key,frob=1", "frob"),
    ],
)
def test_bad_secret_options_make_nothing(
    rpod: Command, image: str, secret: str, wanted: str, told: str
) -> None:
    done = rpod("run", "--name", "c", "--secret", wanted, image, "true", check=False)
    assert done.code == 125
    assert told in done.err
    assert rpod("ps", "-aq").out == ""


def test_secret_names_and_sizes_are_checked(rpod: Command, secret: str) -> None:
    taken = rpod("secret", "create", "key", "-", input=b"x", check=False)
    assert (taken.code, "secret name in use" in taken.err) == (125, True)
    for name, data in (("a/b", b"x"), ("a.", b"x"), ("empty", b""), ("large", b"x" * 512000)):
        done = rpod("secret", "create", name, "-", input=data, check=False)
        assert done.code == 125, done.told
    assert len(rpod("secret", "ls", "-q").lines) == 1


def test_secret_from_a_variable(rpod: Command, image: str) -> None:
    rpod("secret", "create", "--env", "fromenv", "VALUE", env={"VALUE": TOLD})
    run = ("run", "--rm", "--secret", "fromenv", image, "cat", "/run/secrets/fromenv")
    assert rpod(*run).out == TOLD
