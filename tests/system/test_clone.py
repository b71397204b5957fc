"""container clone, and descriptors of the caller for a container."""

import json

import pytest

from tests.support.command import Command


@pytest.mark.rpod_only  # podman's copy loses the host name
def test_clone_has_the_settings_of_the_other(rpod: Command, image: str, account_dir: str) -> None:
    options = ("-e", "A=1", "-v", f"{account_dir}:/d", "--label", "l=v", "--hostname", "h")
    rpod("create", "--name", "one", *options, image, "sh", "-c", "echo $A; hostname; ls -d /d")
    rpod("container", "clone", "one")
    assert rpod("start", "-a", "one-clone").lines == ["1", "h", "/d"]
    found = json.loads(rpod("inspect", "one-clone").out)[0]
    assert found["Config"]["Labels"]["l"] == "v"


@pytest.mark.rpod_only  # podman 4.3 gives the name away before it removes
def test_clone_takes_a_name_runs_and_removes_the_other(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "one", image, "sleep", "60")
    refused = rpod("container", "clone", "--destroy", "one", "two", check=False)
    assert refused.code == 125, refused.told
    rpod("container", "clone", "--destroy", "--force", "--run", "one", "two")
    assert rpod("ps", "-a", "--format", "{{.Names}} {{.State}}").lines == ["two running"]


@pytest.mark.rpod_only
def test_clone_keeps_a_relative_source(rpod: Command, image: str, account_dir: str) -> None:
    rpod("create", "--name", "one", "-v", "./:/d", image, "ls", "/d", cwd=account_dir)
    rpod.shell(f"touch {account_dir}/file")
    rpod("container", "clone", "one", "two")
    assert rpod("start", "-a", "two").out == "file\n"


def test_run_gives_descriptors(rpod: Command, image: str) -> None:
    script = "$RPOD run --rm --preserve-fds=2 $I sh -c 'cat <&3; cat <&4' 3<<A 4<<B\none\nA\ntwo\nB"
    assert rpod.shell(script, env={"I": image}).out == "one\ntwo\n"


def test_exec_gives_descriptors(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "c", image, "sleep", "60")
    script = "$RPOD exec --preserve-fds=1 c cat /proc/self/fd/3 3<<A\none\nA"
    assert rpod.shell(script).out == "one\n"
    only = "$RPOD exec --preserve-fds=1 c sh -c 'ls /proc/$$/fd' 3</dev/null 5</dev/null"
    assert "5" not in rpod.shell(only).lines


@pytest.mark.parametrize("command", ["run --rm --preserve-fds=1 $I true",
                                     "exec --preserve-fds=1 c true"])  # fmt: skip
def test_closed_descriptor_is_named(rpod: Command, image: str, command: str) -> None:
    rpod("run", "-d", "--name", "c", image, "sleep", "60")
    done = rpod.shell(f"$RPOD {command} 3<&-", env={"I": image}, check=False)
    assert done.code in (125, 126)
    assert "3" in done.err
    assert "preserve-fds" in done.err
