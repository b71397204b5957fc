"""Containers whose files are damaged: the others go on, and they can be removed."""

import json
import os
from collections.abc import Callable

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


def put(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def spoil(path: str) -> None:
    put(path, "garbage")


def directory_of(rpod: Command, name: str) -> str:
    return rpod("inspect", "--format", "{{.StaticDir}}", name).out.strip()


def test_damaged_record_hides_no_other_container(rpod: Command, image: str) -> None:
    rpod("create", "--name", "good", image)
    rpod("create", "--name", "bad", image)
    spoil(directory_of(rpod, "bad") + "/container.json")
    done = rpod("ps", "-a", "--format", "{{.Names}}")
    assert done.out == "good\n"
    assert "container.json" in done.err
    assert rpod("inspect", "bad", check=False).code == 125
    rpod("rm", "--force", "bad")
    assert rpod("ps", "-a", "--format", "{{.Names}}").err == ""
    rpod("create", "--name", "bad", image)


def test_running_container_with_a_damaged_record_is_removed(rpod: Command, image: str) -> None:
    container_id = rpod("run", "-d", image, "sleep", "100").out.strip()
    spoil(directory_of(rpod, container_id) + "/container.json")
    rpod("rm", "--force", container_id)
    assert rpod("ps", "-aq").out == ""


DAMAGE: dict[str, tuple[str, Callable[[str], None]]] = {
    "record missing": ("container.json", os.unlink),
    "record too deep": ("container.json", lambda path: put(path, "[" * 100_000)),
    "configuration missing": ("config.json", os.unlink),
    "configuration broken": ("config.json", spoil),
    "configuration of another type": ("config.json", lambda path: put(path, '{"process": 5}')),
    "directory missing": ("rootfs", os.rmdir),
    "state broken": ("state.json", spoil),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_container_is_told_and_removed(
    rpod: Command, image: str, name: str, damage: Callable[[str], None]
) -> None:
    rpod("run", "--name", "bad", image, "true")
    damage(f"{directory_of(rpod, 'bad')}/{name}")
    done = rpod("start", "--attach", "bad", check=False)
    assert done.code == (0 if name == "state.json" else 125), done.told
    assert "internal error" not in done.err
    assert "Errno" not in done.err
    assert done.code == 0 or name in done.err
    if name == "config.json":
        for words in ("inspect", "diff", "commit -q", "update --cpu-shares 5", "generate kube"):
            told = rpod(*words.split(), "bad", check=False)
            assert "internal error" not in told.err, told.told
            assert "Errno" not in told.err, told.told
    rpod("rm", *(("--force", "--all") if name == "container.json" else ("bad",)))
    left = rpod("ps", "-aq")
    assert (left.out, left.err) == ("", "")


@pytest.mark.rpod_only
def test_exec_that_cannot_enter_the_cgroup_ends(rpod: Command, image: str) -> None:
    """What waited within, for the end of an order that does not come, is gone with the command."""
    rpod("run", "-d", "--name", "box", image, "sleep", "100")
    path = directory_of(rpod, "box") + "/state.json"
    with open(path, encoding="utf-8") as file:
        state = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**state, "cgroup": "/sys/fs/cgroup/gone"}, file)
    done = rpod("exec", "box", "true", check=False, timeout_s=20)
    assert done.code == 125
    assert "enter the cgroup /sys/fs/cgroup/gone" in done.err, done.told
    assert len(rpod("top", "box", "pid").lines) == 2


@pytest.mark.parametrize("damage", [spoil, os.unlink], ids=["broken", "missing"])
def test_damaged_volume_is_told_and_removed(
    rpod: Command, image: str, damage: Callable[[str], None]
) -> None:
    rpod("volume", "create", "good")
    rpod("run", "--rm", "-v", "bad:/v", image, "sh", "-c", "echo kept >/v/file; chown 5:5 /v")
    directory = os.path.dirname(rpod("volume", "inspect", "-f", "{{.Mountpoint}}", "bad").lines[0])
    record = next(name for name in os.listdir(directory) if name != "_data")
    damage(f"{directory}/{record}")
    done = rpod("volume", "ls", "-q")
    assert done.out == "good\n"
    assert record in done.err
    used = rpod("run", "--rm", "-v", "bad:/v", image, "true", check=False)
    assert (used.code, record in used.err) == (125, True), used.told
    assert rpod("volume", "rm", "bad").out == "bad\n"
    assert rpod("volume", "ls", "-q").err == ""
    assert rpod("run", "--rm", "-v", "bad:/v", image, "ls", "/v").out == ""
