"""system check: each kind of damage is found, mended, and nothing else is touched."""

import json
import os
import shutil
from collections.abc import Callable

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.images import File
from tests.support.registry import Registry

pytestmark = [
    pytest.mark.rpod_only,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can damage what others own"),
]


@pytest.fixture
def pulled(fresh_rpod: Command, registry: Registry, shared_dir: str) -> str:
    """An image of two layers that came from a registry; its name."""
    path = f"{shared_dir}/{os.urandom(4).hex()}.tar"
    base = images.tar(images.busybox_files())
    more = [images.directory("data", 0o750, 7, 8), File("data/f", b"content" * 99, 0o4755, uid=7)]
    with open(path, "wb") as out:
        out.write(images.docker_archive([base, images.tar(more)], {"Cmd": ["sh"]}, "checked:1"))
    name = registry.push(f"docker-archive:{path}", f"checked/{os.urandom(4).hex()}:1")
    fresh_rpod("pull", "-q", name)
    return name


def store_of(command: Command) -> str:
    return f"{command.environment['XDG_DATA_HOME']}/rpod"


def biggest(directory: str) -> str:
    return max((f"{directory}/{name}" for name in os.listdir(directory)), key=os.path.getsize)


def find(command: Command, name: str) -> str:
    for directory, _, names in os.walk(f"{store_of(command)}/layers"):
        if name in names:
            return f"{directory}/{name}"
    raise AssertionError(name)


def overwrite(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(50)
        file.write(b"damage")


def overwrite_new(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"new")


def make_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def blob_of(command: Command, which: str) -> str:
    (record,) = os.listdir(f"{store_of(command)}/images")
    with open(f"{store_of(command)}/images/{record}", encoding="utf-8") as file:
        digest = str(json.load(file)[which])
    return f"{store_of(command)}/blobs/sha256/{digest.removeprefix('sha256:')}"


DAMAGES: dict[str, Callable[[Command], object]] = {
    "blob": lambda rpod: overwrite(biggest(f"{store_of(rpod)}/blobs/sha256")),
    "blob-gone": lambda rpod: os.unlink(biggest(f"{store_of(rpod)}/blobs/sha256")),
    "content": lambda rpod: overwrite(find(rpod, "f")),
    "file-gone": lambda rpod: os.unlink(find(rpod, "f")),
    "mode": lambda rpod: os.chmod(find(rpod, "f"), 0o600),
    "owner": lambda rpod: os.chown(find(rpod, "f"), os.stat(find(rpod, "f")).st_uid + 1, -1),
    "directory": lambda rpod: os.chmod(os.path.dirname(find(rpod, "f")), 0o777),
    "layer-top": lambda rpod: os.chmod(f"{find(rpod, 'layer.json').rpartition('/')[0]}/diff", 0),
    "file-added": lambda rpod: overwrite_new(f"{os.path.dirname(find(rpod, 'f'))}/new"),
    "blob-unreadable": lambda rpod: os.chmod(biggest(f"{store_of(rpod)}/blobs/sha256"), 0),
    "blob-directory": lambda rpod: make_directory(biggest(f"{store_of(rpod)}/blobs/sha256")),
    "configuration": lambda rpod: overwrite(blob_of(rpod, "config_digest")),
    "manifest": lambda rpod: os.truncate(blob_of(rpod, "manifest_digest"), 50),
    "layer-record": lambda rpod: os.unlink(find(rpod, "layer.json")),
}


def test_sound_store_gives_no_alarm(fresh_rpod: Command, pulled: str) -> None:
    fresh_rpod("run", "--rm", "--userns=keep-id", pulled, "true")
    fresh_rpod("run", "--name", "kept", "--userns=keep-id", pulled, "sh", "-c", "echo x >/tmp/x")
    fresh_rpod("tag", pulled, "localhost/other:1")
    for options in ((), ("--quick",), ("--repair",)):
        done = fresh_rpod("system", "check", *options)
        assert (done.out, done.err) == ("", "")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_mended(fresh_rpod: Command, pulled: str, damage: str) -> None:
    DAMAGES[damage](fresh_rpod)
    done = fresh_rpod("system", "check", check=False)
    assert done.code == 125
    assert len([line for line in done.lines if line.startswith("Damage detected: ")]) == 1
    assert fresh_rpod("system", "check", "--repair").code == 0
    assert fresh_rpod("system", "check").out == ""
    out = fresh_rpod("run", "--rm", pulled, "sh", "-c", "stat -c '%u %a' /data/f; wc -c </data/f")
    assert out.lines == ["7 4755", "693"]


def test_image_that_cannot_be_mended_is_removed(fresh_rpod: Command, docker_archive: str) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    other = [images.tar([File("other", b"other")])]
    fresh_rpod("load", "-q", input=images.docker_archive(other, {}, "localhost/other:1"))
    fresh_rpod("create", "--name", "user", "localhost/rpod-test", "true")
    overwrite(biggest(f"{store_of(fresh_rpod)}/blobs/sha256"))
    done = fresh_rpod("system", "check", "--repair", check=False)
    assert "see --force" in done.out
    assert fresh_rpod("image", "exists", "localhost/rpod-test").code == 0
    found = json.loads(fresh_rpod("system", "check", "--format", "json", check=False).out)
    assert [(one["kind"], one["what"]) for one in found] == [("blob", "it is missing")]
    fresh_rpod("system", "check", "--repair", "--force")
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == ["localhost/other"]
    assert fresh_rpod("ps", "-aq").out == ""


def test_broken_records_are_removed(fresh_rpod: Command, pulled: str) -> None:
    known = fresh_rpod("images", "--format", "{{.Repository}}").lines
    fresh_rpod("tag", pulled, "localhost/other:1")
    names = f"{store_of(fresh_rpod)}/names"
    with open(f"{names}/localhost+other:1", "w", encoding="ascii") as out:
        out.write("{")
    done = fresh_rpod("system", "check", check=False)
    assert done.code == 125
    assert "localhost+other:1" in done.out
    # index.json, which other tools read, has it, too.
    assert "made again" in fresh_rpod("system", "check", "--repair").out
    assert len(fresh_rpod("images", "-q", "localhost/other:1").lines) == 1
    for path in (f"{names}/localhost+other:1", f"{store_of(fresh_rpod)}/index.json"):
        with open(path, "w", encoding="ascii") as out:
            out.write("{")
    shutil.copy(f"{names}/{pulled.replace('/', '+')}", f"{names}/misplaced")
    assert ": removed" in fresh_rpod("system", "check", "--repair").out
    assert fresh_rpod("system", "check").out == ""
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == known
    (record,) = os.listdir(f"{store_of(fresh_rpod)}/images")
    for damage in (lambda path: os.truncate(path, 30), os.unlink):
        damage(f"{store_of(fresh_rpod)}/images/{record}")
        assert fresh_rpod("system", "check", check=False).code == 125
        assert "made again" in fresh_rpod("system", "check", "--repair").out
        assert fresh_rpod("system", "check").out == ""
        assert fresh_rpod("run", "--rm", "--network=none", pulled, "wc", "-c", "/data/f").out
