import json
import os
import pathlib

import pytest

from storage.errors import RegistryDenied
from storage.reference import parse_reference
from storage.registry.credentials import find_credentials
from storage.registry.options import Credentials


def _file(directory: pathlib.Path, document: object) -> str:
    path = directory / "auth.json"
    path.write_text(json.dumps(document))
    return str(path)


def _find(image: str, environment: dict[str, str], authfile: str) -> Credentials | None:
    return find_credentials(parse_reference(image), environment=environment, authfile=authfile)


def _helper(directory: pathlib.Path, script: str) -> dict[str, str]:
    path = directory / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_a_helper_is_asked_for_the_server(tmp_path: pathlib.Path) -> None:
    environment = _helper(
        tmp_path,
        """read server; printf '{"ServerURL":"%s","Username":"u-%s","Secret":"s"}' $1 $server""",
    )
    path = _file(tmp_path, {"credHelpers": {"reg.io": "test"}})
    assert _find("reg.io/x", environment, path) == Credentials("u-reg.io", "s")


def test_a_store_answers_for_docker_hub_by_its_old_name(tmp_path: pathlib.Path) -> None:
    environment = _helper(
        tmp_path, """read server; printf '{"Username":"<token>","Secret":"%s"}' $server"""
    )
    path = _file(tmp_path, {"credsStore": "test"})
    found = _find("busybox", environment, path)
    assert found == Credentials("", "", "https://index.docker.io/v1/")


def test_a_helper_without_credentials_is_no_error(tmp_path: pathlib.Path) -> None:
    environment = _helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    path = _file(tmp_path, {"credsStore": "test"})
    assert _find("reg.io/x", environment, path) is None


@pytest.mark.parametrize(
    ("script", "what"),
    [("echo locked >&2; exit 1", "locked"), ("exit 3", "exit status 3")],
)
def test_a_helper_that_fails_is_named(script: str, what: str, tmp_path: pathlib.Path) -> None:
    path = _file(tmp_path, {"credsStore": "test"})
    with pytest.raises(RegistryDenied, match=f"docker-credential-test.*{what}"):
        _find("reg.io/x", _helper(tmp_path, script), path)


def test_a_helper_that_is_not_there_is_named(tmp_path: pathlib.Path) -> None:
    path = _file(tmp_path, {"credsStore": "absent-for-sure"})
    with pytest.raises(RegistryDenied, match="docker-credential-absent-for-sure"):
        _find("reg.io/x", {"PATH": str(tmp_path)}, path)
