"""Logins at Debian's docker-registry, and the file that they are kept in."""

import json
import os
import pathlib
import stat
import threading

import pytest

from storage.errors import InvalidDocument, InvalidReference, RegistryDenied
from storage.registry.login import (
    auth_path,
    check_login,
    known_login,
    parse_server,
    remove_all_logins,
    remove_login,
    save_login,
)
from storage.registry.options import Credentials
from tests.kernel.registry.pulling import QUICK
from tests.registries import PASSWORD, USER, DockerRegistry, TokenServer

_OPTIONS = QUICK._replace(read_timeout_s=10.0)
_ALICE = Credentials(USER, PASSWORD)
_HELPER = """#!/bin/sh
# Keeps one secret for each server in a file beside itself.
file="$(dirname "$0")/$1"
input=$(cat)
echo "$input" >> "$file"
case $1 in
    get) [ -e "$(dirname "$0")/store" ] || { echo "credentials not found"; exit 1; }
         cat "$(dirname "$0")/store" ;;
esac
"""


def _helper(directory: pathlib.Path) -> dict[str, str]:
    path = directory / "docker-credential-test"
    path.write_text(_HELPER)
    path.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def _auths(path: str) -> dict[str, object]:
    with open(path, encoding="utf-8") as file:
        found = json.load(file)["auths"]
    assert isinstance(found, dict)
    return found


def test_registry_says_whether_a_password_is_right(basic_registry: DockerRegistry) -> None:
    server = parse_server(basic_registry.host)
    check_login(server, _ALICE, _OPTIONS, {})
    with pytest.raises(RegistryDenied):
        check_login(server, Credentials(USER, "wrong"), _OPTIONS, {})


def test_token_server_says_whether_a_password_is_right(
    token_registry: DockerRegistry, tokens: TokenServer
) -> None:
    server = parse_server(token_registry.host)
    check_login(server, _ALICE, _OPTIONS, {})
    with pytest.raises(RegistryDenied, match="incorrect username or password"):
        check_login(server, Credentials(USER, "wrong"), _OPTIONS, {})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("quay.io", "quay.io"),
        ("https://quay.io/", "quay.io"),
        ("quay.io/team/", "quay.io/team"),
        ("localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_server_is_read(text: str, key: str) -> None:
    assert parse_server(text).key == key


@pytest.mark.parametrize("text", ["", "/", "a b", "quay.io\n", "qüay.io"])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_server(text)


@pytest.mark.parametrize(
    ("environment", "authfile", "path"),
    [
        ({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, None, "/r/containers/auth.json"),
        ({"HOME": "/h"}, None, "/h/.config/containers/auth.json"),
        ({"HOME": "/h", "REGISTRY_AUTH_FILE": "/f"}, None, "/f"),
        ({"HOME": "/h", "REGISTRY_AUTH_FILE": "/f"}, "/g", "/g"),
    ],
)
def test_place_is_podmans(environment: dict[str, str], authfile: str | None, path: str) -> None:
    assert auth_path(environment, authfile) == path


def test_login_is_found_again_and_removed(tmp_path: pathlib.Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    path = auth_path(environment)
    quay, team = parse_server("quay.io"), parse_server("quay.io/team")
    save_login(path, quay, _ALICE, environment)
    save_login(path, team, Credentials("bob", "x"), environment)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert known_login(quay, environment) == _ALICE
    assert known_login(team, environment) == Credentials("bob", "x")
    assert remove_login(path, team, environment)
    assert known_login(team, environment) == _ALICE
    assert not remove_login(path, team, environment)
    remove_all_logins(path, environment)
    assert known_login(quay, environment) is None
    assert os.listdir(os.path.dirname(path)) == ["auth.json"]


def test_rest_of_the_file_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "auth.json"
    other = {"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}}, "psFormat": "x"}
    path.write_text(json.dumps(other))
    save_login(str(path), parse_server("quay.io"), _ALICE, {})
    changed = json.loads(path.read_text())
    assert changed["psFormat"] == "x"
    assert changed["auths"]["https://index.docker.io/v1/"] == {"auth": "YTpi"}
    # An entry under an old name of the same registry would be found as well.
    save_login(str(path), parse_server("docker.io"), _ALICE, {})
    assert set(_auths(str(path))) == {"quay.io", "docker.io"}


def test_link_to_the_file_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "kept").mkdir()
    link = tmp_path / "auth.json"
    link.symlink_to(tmp_path / "kept" / "real.json")
    save_login(str(link), parse_server("quay.io"), _ALICE, {})
    assert link.is_symlink()
    assert set(_auths(str(tmp_path / "kept" / "real.json"))) == {"quay.io"}


def test_broken_file_is_not_overwritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("{not json")
    with pytest.raises(InvalidDocument):
        save_login(str(path), parse_server("quay.io"), _ALICE, {})
    assert path.read_text() == "{not json"


def test_logins_at_once_are_all_kept(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "auth.json")
    threads = [
        threading.Thread(target=save_login, args=(path, parse_server(f"r{n}.io"), _ALICE, {}))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_auths(path)) == 20


@pytest.mark.parametrize(
    ("document", "name"),
    [({"credHelpers": {"docker.io": "test"}}, "docker.io"),
     ({"credsStore": "test"}, "https://index.docker.io/v1/")],
    ids=["one", "all"],
)  # fmt: skip
def test_helper_keeps_the_secret(
    document: dict[str, object], name: str, tmp_path: pathlib.Path
) -> None:
    environment = _helper(tmp_path)
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(document))
    server = parse_server("docker.io")
    save_login(str(path), server, _ALICE, environment)
    kept = json.loads((tmp_path / "store").read_text())
    assert kept == {"ServerURL": name, "Username": USER, "Secret": PASSWORD}
    assert known_login(server, environment, str(path)) == _ALICE
    assert 'auth":' not in path.read_text()
    assert remove_login(str(path), server, environment)
    assert (tmp_path / "erase").read_text() == f"{name}\n"
