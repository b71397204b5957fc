"""image scp: a script stands for ssh, and starts the command with another home directory."""

import os
import stat

import pytest

from tests.support import images
from tests.support.command import Command, command_line
from tests.support.images import File

pytestmark = pytest.mark.rpod_only
FAR = """#!/bin/sh
# ssh -T -- HOST SCRIPT
[ "$1 $2" = "-T --" ] || exit 255
echo "$3" >"$FAR/host"
export XDG_DATA_HOME="$FAR/data" XDG_CONFIG_HOME="$FAR/config"
exec sh -c "$4"
"""


@pytest.fixture
def near(fresh_rpod: Command, account_dir: str) -> Command:
    """A store with two images that share their lower layer, and a far one."""
    place = f"{account_dir}/far"
    fresh_rpod.shell(f"mkdir -p {place}/bin")
    with open(f"{place}/bin/ssh", "w", encoding="ascii") as out:
        out.write(FAR)
    os.chmod(f"{place}/bin/ssh", 0o755)
    path = f"{place}/bin:{os.path.dirname(command_line()[0])}:{os.environ['PATH']}"
    fresh_rpod.environment.update({"FAR": place, "PATH": path})
    base = images.tar(images.busybox_files())
    for number in ("1", "2"):
        layers = [base, images.tar([File("own", number.encode())])]
        archive = images.docker_archive(layers, {"Cmd": ["sh"]}, f"localhost/app:{number}")
        fresh_rpod("load", "-q", input=archive)
    return fresh_rpod


def far(command: Command) -> Command:
    place = command.environment["FAR"]
    settings = {"XDG_DATA_HOME": f"{place}/data", "XDG_CONFIG_HOME": f"{place}/config"}
    return Command(command.account, {**command.environment, **settings})


def digest(command: Command, name: str) -> str:
    return command("image", "inspect", "--format", "{{.Digest}}", name).out


def test_image_goes_to_another_machine(near: Command) -> None:
    near("image", "scp", "localhost/app:1", "me@far.example.org::")
    there = far(near)
    assert digest(there, "localhost/app:1") == digest(near, "localhost/app:1")
    assert there("run", "--rm", "--network=none", "localhost/app:1", "cat", "/own").out == "1"
    with open(f"{near.environment['FAR']}/host", encoding="ascii") as file:
        assert file.read() == "me@far.example.org\n"


def test_layer_that_is_there_is_not_sent(near: Command) -> None:
    near("image", "scp", "localhost/app:1", "far::")
    done = near("image", "scp", "localhost/app:2", "far::renamed:3")
    assert done.err.count("skipped: already exists") == 1
    again = near("image", "scp", "localhost/app:2", "far::")
    assert "done" not in again.err
    there = far(near)
    assert there("run", "--rm", "--network=none", "renamed:3", "cat", "/own").out == "2"


def test_image_comes_from_another_machine(near: Command) -> None:
    near("image", "scp", "-q", "localhost/app:1", "far::")
    near("rmi", "-a")
    near("image", "scp", "-q", "far::localhost/app:1", "mine:1")
    assert near("images", "--format", "{{.Repository}}:{{.Tag}}").lines == ["localhost/mine:1"]
    assert near("run", "--rm", "--network=none", "mine:1", "cat", "/own").out == "1"


def test_machine_without_rpod_gets_an_archive(near: Command) -> None:
    bin_dir = f"{near.environment['FAR']}/bin"
    for name, text in (("rpod", "exit 127"), ("podman", 'cat >"$FAR/archive.tar"')):
        path = f"{bin_dir}/{name}"
        with open(path, "w", encoding="ascii") as out:
            out.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, stat.S_IRWXU | 0o055)
    near("image", "scp", "-q", "localhost/app:1", "far::")
    listed = near.shell('tar -tf "$FAR/archive.tar"').out
    assert "manifest.json" in listed


@pytest.mark.parametrize(
    "words",
    [
        ["localhost/app:1"],
        ["localhost/app:1", "other:1"],
        ["a::x", "b::y"],
        ["localhost/none:1", "far::"],
        ["far::localhost/none:1"],
        ["localhost/app:1", "-oProxyCommand=x::"],
        ["localhost/app:1", "root@localhost::"],
        ["far::"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_copied_is_an_error(near: Command, words: list[str]) -> None:
    done = near("image", "scp", "--", *words, check=False)
    assert done.code == 125, done.told
    assert "internal error" not in done.err


def test_garbage_on_the_wire_is_an_error(near: Command) -> None:
    for data in (b"", b"hello\n", b"{}\n", b'{"version":1,"blobs":["x"]}\n', b"x" * 100):
        done = near("image", "receive", input=data, check=False)
        assert done.code == 125, done.told
        assert "internal error" not in done.err
