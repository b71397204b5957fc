import base64
import json
import pathlib

import pytest

from storage.errors import InvalidDocument, RegistryDenied
from storage.reference import parse_reference
from storage.registry.credentials import find_credentials, parse_credentials
from storage.registry.options import Credentials


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _write(path: pathlib.Path, document: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def _find(
    image: str, environment: dict[str, str], authfile: str | None = None
) -> Credentials | None:
    return find_credentials(parse_reference(image), environment=environment, authfile=authfile)


def test_creds_are_split_at_the_first_colon() -> None:
    assert parse_credentials("alice:open:sesame") == Credentials("alice", "open:sesame")


@pytest.mark.parametrize("text", ["alice", ":secret", ""])
def test_creds_without_user_or_password_are_refused(text: str) -> None:
    with pytest.raises(RegistryDenied, match="USER:PASSWORD"):
        parse_credentials(text)


def test_a_secret_is_not_shown() -> None:
    assert "sesame" not in repr(Credentials("alice", "sesame", "sesame"))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("quay.io/team/app:1", "app"),
        ("quay.io/team/other:1", "team"),
        ("quay.io/else/app", "quay"),
        ("quay.io:444/else/app", None),
        ("busybox", "hub"),
        ("docker.io/me/x", "hub"),
        ("old.example/x", "old"),
        ("unknown.example/x", None),
    ],
)
def test_the_most_specific_key_wins(
    image: str, expected: str | None, tmp_path: pathlib.Path
) -> None:
    path = _write(
        tmp_path / "auth.json",
        {
            "auths": {
                "quay.io": _auth("quay", "p"),
                "quay.io/team": _auth("team", "p"),
                "quay.io/team/app": _auth("app", "p"),
                "https://index.docker.io/v1/": _auth("hub", "p"),
                "https://old.example/v2/": _auth("old", "p"),
            }
        },
    )
    found = _find(image, {}, path)
    assert (found.user if found else None) == expected


def test_files_are_read_in_the_order_of_podman(tmp_path: pathlib.Path) -> None:
    environment = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    home = tmp_path / "home"
    _write(home / ".dockercfg", {"reg.io": _auth("dockercfg", "p")})
    seen = [_find("reg.io/x", environment)]
    _write(home / ".docker/config.json", {"auths": {"reg.io": _auth("docker", "p")}})
    seen.append(_find("reg.io/x", environment))
    _write(home / ".config/containers/auth.json", {"auths": {"reg.io": _auth("config", "p")}})
    seen.append(_find("reg.io/x", environment))
    _write(tmp_path / "run/containers/auth.json", {"auths": {"reg.io": _auth("runtime", "p")}})
    seen.append(_find("reg.io/x", environment))
    named = _write(tmp_path / "named.json", {"auths": {"reg.io": _auth("variable", "p")}})
    seen.append(_find("reg.io/x", {**environment, "REGISTRY_AUTH_FILE": named}))
    option = _write(tmp_path / "option.json", {"auths": {"reg.io": _auth("option", "p")}})
    seen.append(_find("reg.io/x", {**environment, "REGISTRY_AUTH_FILE": named}, option))
    users = [found.user for found in seen if found]
    assert users == ["dockercfg", "docker", "config", "runtime", "variable", "option"]


def test_a_file_that_does_not_know_the_registry_is_passed_over(tmp_path: pathlib.Path) -> None:
    environment = {"HOME": str(tmp_path)}
    _write(tmp_path / ".config/containers/auth.json", {"auths": {"else.io": _auth("a", "p")}})
    _write(tmp_path / ".docker/config.json", {"auths": {"reg.io": _auth("docker", "p")}})
    assert _find("reg.io/x", environment) == Credentials("docker", "p")


def test_an_identity_token_is_found(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "a", {"auths": {"reg.io": {"auth": "", "identitytoken": "t0ken"}}})
    assert _find("reg.io/x", {}, path) == Credentials("", "", "t0ken")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        pytest.param("not json", "not JSON", id="not-json"),
        pytest.param("[]", "an object is expected", id="not-an-object"),
        pytest.param({"auths": []}, "auths", id="auths-not-an-object"),
        pytest.param({"auths": {"reg.io": {"auth": "%%%"}}}, "base64", id="not-base64"),
        pytest.param({"auths": {"reg.io": {"auth": 7}}}, "a string is expected", id="number"),
        pytest.param({"credHelpers": {"reg.io": "../../bin/sh"}}, "not the name", id="path"),
    ],
)
def test_a_broken_file_is_named(content: object, where: str, tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "auth.json", content)
    with pytest.raises(InvalidDocument, match=where):
        _find("reg.io/x", {}, path)


def test_a_named_file_must_exist(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidDocument, match="No such file"):
        _find("reg.io/x", {}, str(tmp_path / "absent"))
