"""A user's registries.conf is obeyed by pulls and pushes."""

import os

import pexpect
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


def test_alias_is_followed(fresh_rpod: Command, pushed: str, account_dir: str) -> None:
    text = f'[aliases]\n"mine" = "{pushed}/app"\n'
    _write(fresh_rpod, account_dir, text, "registries.conf.d/aliases.conf")
    fresh_rpod("pull", "-q", "--tls-verify=false", "mine:1")
    found = fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    assert found == [f"{pushed}/app:1"]
    # Now it is here under its full name, and nobody needs to be asked.
    fresh_rpod("run", "--rm", "--network=none", "--pull=missing", "mine:1", "true")


def test_search_list_is_tried_in_order(fresh_rpod: Command, pushed: str, account_dir: str) -> None:
    host = pushed.partition("/")[0]
    nobody = f"127.0.0.1:{free_port()}"
    text = f'unqualified-search-registries = ["{nobody}", "{host}"]\n'
    _write(fresh_rpod, account_dir, text)
    fresh_rpod("pull", "-q", "--tls-verify=false", "real/app:1")
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == [f"{host}/real/app"]


def test_enforced_short_names_want_a_person(
    fresh_rpod: Command, pushed: str, account_dir: str
) -> None:
    host = pushed.partition("/")[0]
    text = (
        f'unqualified-search-registries = ["{host}", "b.example"]\nshort-name-mode = "enforcing"\n'
    )
    _write(fresh_rpod, account_dir, text)
    done = fresh_rpod("pull", "real/app:1", check=False)
    assert done.code == 125
    assert "short-name resolution enforced but cannot prompt without a TTY" in done.err


@pytest.mark.rpod_only  # not compared: podman's prompt was not answered
def test_choice_of_a_person_is_remembered(
    fresh_rpod: Command, pushed: str, account_dir: str
) -> None:
    host = pushed.partition("/")[0]
    text = (
        f'unqualified-search-registries = ["a.example", "{host}"]\nshort-name-mode = "enforcing"\n'
    )
    text += f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
    _write(fresh_rpod, account_dir, text)
    terminal = fresh_rpod.pty("pull", "real/app:1")
    terminal.expect("Number: ")
    terminal.sendline("2")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    fresh_rpod("rmi", f"{pushed}/app:1")
    fresh_rpod("pull", "-q", "real/app:1")
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == [f"{pushed}/app"]


@pytest.mark.rpod_only  # podman 4.3 tried HTTPS in spite of --tls-verify=false
def test_all_tags_of_a_repository(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    names = [
        registry.push(f"docker-archive:{docker_archive}", f"many/tags:{tag}")
        for tag in ("one", "two")
    ]
    repository = names[0].rpartition(":")[0]
    fresh_rpod("pull", "--quiet", "--all-tags", "--tls-verify=false", repository)
    assert sorted(fresh_rpod("images", "--format", "{{.Tag}}").lines) == ["one", "two"]
    done = fresh_rpod("pull", "--all-tags", "--tls-verify=false", names[0], check=False)
    assert done.code == 125


def test_search_finds_repositories_and_tags(
    rpod: Command, registry: Registry, docker_archive: str
) -> None:
    for tag in ("one", "two"):
        registry.push(f"docker-archive:{docker_archive}", f"searched/app:{tag}")
    place = f"{registry.host}/searched/app"
    options = ("search", "--tls-verify=false")
    lines = rpod(*options, f"{registry.host}/searched").lines
    assert [line.split() for line in lines] == [["NAME", "DESCRIPTION"], [place]]
    assert rpod(*options, f"{registry.host}/nosuchthing").out == ""
    tags = rpod(*options, "--list-tags", place).lines
    assert tags[0].split() == ["NAME", "TAG"]
    assert sorted(line.split() for line in tags[1:]) == [[place, "one"], [place, "two"]]
    assert len(rpod(*options, "--list-tags", "--limit", "1", place).lines) == 2
    assert rpod(*options, "--list-tags", f"{place}-not", check=False).code == 125
    assert rpod(*options, "--list-tags", "--filter", "stars=1", place, check=False).code == 125
