"""login and logout, and that other commands and tools use what they keep."""

import base64
import os
import shlex
import stat
from collections.abc import Iterator

import pytest

from tests.registries import PASSWORD, USER, DockerRegistry, docker_registry, missing
from tests.support.command import Command

PLAIN = "--tls-verify=false"


@pytest.fixture(scope="module")
def locked() -> Iterator[DockerRegistry]:
    """docker-registry that asks for alice's password."""
    absent = missing("docker-registry", "htpasswd")
    if absent:
        pytest.skip(f"not installed: {absent}")
    with docker_registry(htpasswd=True) as running:
        yield running


def _login(command: Command, registry: DockerRegistry, *options: str) -> None:
    done = command("login", PLAIN, "-u", USER, "--password-stdin", *options, registry.host,
                   input=f"{PASSWORD}\n".encode())  # fmt: skip
    assert done.out == "Login Succeeded!\n"


def test_login_is_used_by_push_and_skopeo(
    fresh_rpod: Command, locked: DockerRegistry, docker_archive: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    (name,) = fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    target = f"{locked.host}/login:1"
    done = fresh_rpod("push", "-q", PLAIN, name, target, check=False)
    assert done.code == 125
    _login(fresh_rpod, locked)
    fresh_rpod("push", "-q", PLAIN, name, target)
    fresh_rpod.shell(f"skopeo inspect --tls-verify=false docker://{target}")
    assert fresh_rpod("login", "--get-login", locked.host).out == f"{USER}\n"
    done = fresh_rpod("logout", locked.host)
    assert done.out == f"Removed login credentials for {locked.host}\n"
    assert fresh_rpod("push", "-q", PLAIN, name, target, check=False).code == 125


@pytest.mark.rpod_only
def test_password_is_in_no_log(
    fresh_rpod: Command, locked: DockerRegistry, docker_archive: str
) -> None:
    """Neither in what debugging prints, tracebacks among it, nor in any file of the store."""
    fresh_rpod("load", "-q", "-i", docker_archive)
    (name,) = fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    target = f"{locked.host}/login:2"
    secrets = [PASSWORD, "not:it"]
    secrets += [base64.b64encode(f"{USER}:{one}".encode()).decode() for one in secrets]
    for password, code in ((PASSWORD, 0), ("not:it", 125)):
        creds = ("--creds", f"{USER}:{password}", PLAIN)
        for words in (("push", *creds, name, target), ("pull", *creds, target),
                      ("search", *creds, "--list-tags", f"{locked.host}/login"),
                      ("manifest", "inspect", *creds, f"docker://{target}"),
                      ("pull", *creds, f"{locked.host}/nothing:1")):  # fmt: skip
            # Tracebacks are what debugging is for.
            done = fresh_rpod.shell(f"$RPOD --log-level=debug {shlex.join(words)}", check=False)
            assert done.code == (125 if "nothing" in words[-1] else code), done.told
            assert not [one for one in secrets if one in done.out + done.err]
    for one in secrets:
        where = "$XDG_DATA_HOME $XDG_RUNTIME_DIR $HOME"
        assert fresh_rpod.shell(f"grep -rlF -e '{one}' {where}", check=False).out == ""


def test_wrong_password_is_not_kept(
    fresh_rpod: Command, locked: DockerRegistry, account_dir: str
) -> None:
    path = f"{account_dir}/auth.json"
    done = fresh_rpod("login", PLAIN, "--authfile", path, "-u", USER, "-p", "wrong", locked.host,
                      check=False)  # fmt: skip
    assert done.code == 125
    assert locked.host in done.err
    assert "wrong" not in done.err
    assert not os.path.exists(path)
    assert fresh_rpod("login", "--get-login", locked.host, check=False).code == 125


def test_file_is_the_users_alone(
    fresh_rpod: Command, locked: DockerRegistry, account_dir: str
) -> None:
    path = f"{account_dir}/auth.json"
    _login(fresh_rpod, locked, "--authfile", path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    done = fresh_rpod("login", PLAIN, "--authfile", path, locked.host)
    assert "Already logged in" in done.out
    done = fresh_rpod("logout", "--all", "--authfile", path)
    assert done.out == "Removed login credentials for all registries\n"
    assert fresh_rpod("logout", "--authfile", path, locked.host, check=False).code == 125


def test_without_terminal_nothing_is_asked(fresh_rpod: Command, locked: DockerRegistry) -> None:
    done = fresh_rpod("login", PLAIN, locked.host, check=False)
    assert done.code == 125


@pytest.mark.rpod_only  # the words are ours
def test_terminal_is_asked_and_shows_no_password(
    fresh_rpod: Command, locked: DockerRegistry
) -> None:
    terminal = fresh_rpod.pty("login", locked.host)
    terminal.expect("Username: ")
    terminal.sendline(USER)
    terminal.expect("Password: ")
    terminal.sendline(PASSWORD)
    terminal.expect("Login Succeeded!")
    shown = terminal.before
    terminal.wait()
    assert shown is not None
    assert PASSWORD not in str(shown)
