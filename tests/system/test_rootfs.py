"""--rootfs: a directory as the root file system."""

import json
import os

import pytest

from tests.support.command import Command


@pytest.fixture
def tree(rpod: Command, image: str, account_dir: str) -> str:
    """A root file system as a directory of the user."""
    rpod("create", "--name", "source", image, "true")
    rpod("export", "-o", f"{account_dir}/root.tar", "source")
    rpod("rm", "source")
    rpod.shell(f"mkdir {account_dir}/root && tar -C {account_dir}/root -xf {account_dir}/root.tar "
               f"--no-same-owner; rm {account_dir}/root.tar")  # fmt: skip
    return f"{account_dir}/root"


def test_directory_is_the_root(rpod: Command, tree: str) -> None:
    done = rpod("run", "--rm", "--rootfs", tree, "sh", "-c", "id -u; touch /made; pwd")
    assert done.lines == ["0", "/"]
    assert os.path.exists(f"{tree}/made")


@pytest.mark.rpod_only  # podman keeps the upper directory between starts
def test_directory_under_an_overlay_is_left_alone(rpod: Command, tree: str) -> None:
    script = "ls /made 2>/dev/null; touch /made; ls /made"
    rpod("create", "--name", "c", "--rootfs", f"{tree}:O", "sh", "-c", script)
    for _ in range(2):
        assert rpod("start", "-a", "c").out == "/made\n"
    assert not os.path.exists(f"{tree}/made")


def test_rootfs_container_can_be_looked_at(rpod: Command, tree: str) -> None:
    rpod("run", "-d", "--name", "c", "--rootfs", tree, "sleep", "60")
    assert rpod("exec", "c", "cat", "/home/alice/notes").out == "of alice\n"
    found = json.loads(rpod("inspect", "c").out)[0]
    assert (found["Rootfs"], found["ImageName"]) == (tree, "")
    assert "c" in rpod("ps", "--format", "{{.Names}}").lines


@pytest.mark.parametrize("path", ["/missing-directory", "/", "/etc/passwd"])
@pytest.mark.rpod_only
def test_wrong_directory_makes_nothing(rpod: Command, path: str) -> None:
    done = rpod("run", "--name", "c", "--rootfs", path, "true", check=False)
    assert done.code == 125
    assert "--rootfs" in done.err
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only
def test_rootfs_with_other_maps(rpod: Command, tree: str) -> None:
    options = ("--rm", "--userns=keep-id", "--rootfs", f"{tree}:O")
    assert rpod("run", *options, "sh", "-c", "id -u; ls -d /tmp").lines[1:] == ["/tmp"]
