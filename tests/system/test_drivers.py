"""The ways to make a container's root file system: overlay, fuse-overlayfs, a copy."""

import os
import shutil

import pytest

from tests.support import images
from tests.support.command import Command, Done
from tests.support.images import File

pytestmark = pytest.mark.rpod_only

DRIVERS = ("overlay", "fuse-overlayfs", "copy")
ODD_NAMES = {
    "colon": "a:b",
    "comma": "a,b",
    "backslash": "a\\b",
    "space": "a b",
    "quote": "a\"b'c",
    "not ascii": "aé€",
    "newline": "a\nb",
    "long": "x" * 200,
}


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    driver = str(request.param)
    if driver == "fuse-overlayfs" and not (
        shutil.which(driver) and os.access("/dev/fuse", os.R_OK | os.W_OK)
    ):
        pytest.skip("missing: fuse-overlayfs or /dev/fuse")
    return driver


def run(rpod: Command, driver: str, *arguments: str, check: bool = True) -> Done:
    return rpod(f"--storage-driver={driver}", *arguments, check=check)


def test_root_is_the_image(rpod: Command, image: str, driver: str) -> None:
    plain = rpod("run", "--rm", image, "ls", "-1", "/").out
    assert run(rpod, driver, "run", "--rm", image, "ls", "-1", "/").out == plain


def test_changes_stay_in_the_container(rpod: Command, image: str, driver: str) -> None:
    script = "cat /new; echo text >/new; rm /etc/passwd; ls /etc/passwd"
    first = run(rpod, driver, "run", "--name", "one", image, "sh", "-c", script, check=False)
    assert (first.code, first.out) == (1, ""), first.told
    assert rpod("start", "--attach", "one", check=False).out == "text\n"
    assert run(rpod, driver, "run", "--rm", image, "ls", "/etc/passwd").out == "/etc/passwd\n"


def test_exec_sees_the_same_root(rpod: Command, image: str, driver: str) -> None:
    run(rpod, driver, "run", "-d", "--name", "one", image, "sh", "-c", "echo a >/new; sleep 100")
    assert rpod("exec", "one", "sh", "-c", "sleep 0.2; cat /new").out == "a\n"


def test_owners_are_those_of_the_image(rpod: Command, image: str, driver: str) -> None:
    script = "touch /tmp/mine; stat -c %u /tmp/mine /etc"
    done = run(rpod, driver, "run", "--rm", "-u", "1000", image, "sh", "-c", script)
    assert done.out.split() == ["1000", "0"]


def test_keep_id(rpod: Command, image: str, driver: str) -> None:
    script = "id -u; touch /tmp/mine; stat -c %u /tmp/mine /etc"
    done = run(rpod, driver, "run", "--rm", "--userns=keep-id", image, "sh", "-c", script)
    own = str(rpod.account.uid)
    assert done.out.split() == [own, own, "0"]


@pytest.mark.parametrize("driver", ["fuse-overlayfs"], indirect=True)
def test_fuse_overlayfs_shows_the_same_layers_to_other_maps(
    fresh_rpod: Command, docker_archive: str, driver: str
) -> None:
    fresh_rpod("load", "-qi", docker_archive)
    own = str(fresh_rpod.account.uid)
    script = f"""touch /mine /etc/yours; chown {own} /mine; chown 33:33 /etc/yours
        stat -c '%u %n' /mine /etc/yours /bin/busybox /home/alice"""
    command = ("--userns=keep-id", "-u", "0", "--network=none", images.NAME, "sh", "-c", script)
    done = run(fresh_rpod, driver, "run", "--name", "one", *command)
    assert done.lines == [f"{own} /mine", "33 /etc/yours", "0 /bin/busybox", "1000 /home/alice"]
    maps = fresh_rpod.shell("ls $XDG_DATA_HOME/rpod/layers")
    assert len(maps.lines) == 1, "the layers were made twice"
    assert "unpacking" not in done.err
    changed = fresh_rpod("diff", "one").lines
    assert {"A /mine", "A /etc/yours", "C /etc"} <= set(changed)
    listed = fresh_rpod.shell("$RPOD export one | tar -tv --numeric-owner").out
    assert f"{own}/0 " in listed
    assert "33/33 " in listed
    assert fresh_rpod("start", "-a", "one").lines == done.lines
    fresh_rpod("cp", "one:/etc/passwd", f"{fresh_rpod.environment['HOME']}/passwd")
    assert fresh_rpod("system", "check").out == ""


def test_read_only_root(rpod: Command, image: str, driver: str) -> None:
    done = run(rpod, driver, "run", "--rm", "--read-only", image, "touch", "/new", check=False)
    assert done.code == 1, done.told
    assert "Read-only" in done.err


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_store_with_an_odd_name(
    rpod: Command, busybox_tar: str, account_dir: str, driver: str, name: str
) -> None:
    root = f"--root={account_dir}/{name}"
    rpod(root, "import", busybox_tar, "odd")
    done = run(rpod, driver, root, "run", "--rm", "-v", "kept:/kept", "odd", "echo", "works")
    assert done.out == "works\n"


@pytest.mark.rpod_only  # podman 4.3 stops at 128 layers
@pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 8),
    reason="a kernel before 6.8 takes one page of mount options",
)
def test_more_layers_than_one_page_names(fresh_rpod: Command) -> None:
    layers = [images.tar(images.busybox_files())]
    layers += [images.tar([File(f"layer/{number}", b"%d" % number)]) for number in range(249)]
    archive = images.docker_archive(layers, {"Cmd": ["sh"]}, "localhost/many:1")
    fresh_rpod("load", "-q", input=archive)
    script = "ls /layer | wc -l; echo changed >/layer/0; rm /layer/1; cat /layer/0 /layer/248"
    done = fresh_rpod(
        "--storage-driver=overlay", "run", "--rm", "localhost/many:1", "sh", "-c", script
    )
    assert done.lines == ["249", "changed", "248"]
