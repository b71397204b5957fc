"""A user's registries.conf is obeyed by pulls and pushes."""

import os

import pytest

from tests.support.command import Command
from tests.support.registry import Registry, free_port


def _write(command: Command, directory: str, text: str, name: str = "registries.conf") -> None:
    path = f"{directory}/.config/containers/{name}"
    command.shell(f"mkdir -p {os.path.dirname(path)}")
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(path, 0o644)


@pytest.fixture
def pushed(registry: Registry, docker_archive: str) -> str:
    """HOST/PATH of a repository with the tag 1."""
    return registry.push(f"docker-archive:{docker_archive}", "real/app:1").removesuffix("/app:1")


def test_image_comes_from_the_location(fresh_rpod: Command, pushed: str, account_dir: str) -> None:
    _write(
        fresh_rpod,
        account_dir,
        f'[[registry]]\nprefix = "*.example.org"\nlocation = "{pushed}"\ninsecure = true\n',
    )
    fresh_rpod("pull", "-q", "images.example.org/app:1")
    found = fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    assert found == ["images.example.org/app:1"]
    fresh_rpod("run", "--rm", "--network=none", "images.example.org/app:1", "true")


def test_mirror_that_fails_is_passed_over(
    fresh_rpod: Command, pushed: str, account_dir: str
) -> None:
    host = pushed.partition("/")[0]
    mirror = f"127.0.0.1:{free_port()}"
    table = f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
    table += f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n'
    _write(fresh_rpod, account_dir, table, "registries.conf.d/mirror.conf")
    fresh_rpod("pull", "-q", f"{pushed}/app:1")


def test_mirror_is_asked_first(fresh_rpod: Command, pushed: str, account_dir: str) -> None:
    table = f'[[registry]]\nlocation = "127.0.0.1:{free_port()}"\nprefix = "example.org"\n'
    table += f'[[registry.mirror]]\nlocation = "{pushed}"\ninsecure = true\n'
    _write(fresh_rpod, account_dir, table)
    fresh_rpod("pull", "-q", "example.org/app:1")


@pytest.mark.parametrize(
    "words", [["pull"], ["push", "localhost/rpod-test:latest"]], ids="{0}".format
)
def test_blocked_registry_is_not_asked(
    fresh_rpod: Command, words: list[str], docker_archive: str, pushed: str, account_dir: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    _write(fresh_rpod, account_dir, f'[[registry]]\nlocation = "{pushed}"\nblocked = true\n')
    done = fresh_rpod(*words, f"{pushed}/app:1", check=False)
    assert done.code == 125
    assert "blocked" in done.err
