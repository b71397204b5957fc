"""Mounts of every kind, and what they take over from images and other containers."""

import os

import pytest

from tests.support.command import Command


def test_volumes_come_from_another_container(rpod: Command, image: str) -> None:
    rpod("create", "--name", "first", "-v", "shared:/data", "-v", "/anonymous", image)
    done = rpod("run", "--rm", "--volumes-from", "first", image, "sh", "-c",
                "echo x >/data/f; grep -cE ' /(data|anonymous) ' /proc/self/mountinfo")  # fmt: skip
    assert done.out == "2\n"
    read_only = rpod("run", "--rm", "--volumes-from", "first:ro", image, "sh", "-c",
                     "cat /data/f; touch /data/g", check=False)  # fmt: skip
    assert (read_only.out, read_only.code) == ("x\n", 1)


def test_volumes_of_nobody_are_refused(rpod: Command, image: str) -> None:
    assert rpod("create", "--volumes-from", "nobody", image, check=False).code == 125
    assert rpod("ps", "-aq").out == ""


@pytest.mark.parametrize(
    "kind", [pytest.param("ramfs", marks=pytest.mark.rpod_only), "devpts"]
)  # podman 4.3 has no ramfs
def test_kernel_file_systems_can_be_mounted(rpod: Command, image: str, kind: str) -> None:
    done = rpod("run", "--rm", "--mount", f"type={kind},dst=/there", image, "sh", "-c",
                "stat -f -c %T /there; mount | grep ' /there '")  # fmt: skip
    assert f"type {kind}" in done.out


@pytest.mark.rpod_only  # podman 4.3 has none
def test_glob_mounts_every_match(rpod: Command, image: str) -> None:
    home = rpod.account.home
    rpod.shell(f"mkdir -p {home}/many; echo 1 >{home}/many/a.conf; echo 2 >{home}/many/b.conf")
    done = rpod("run", "--rm", "--mount", f"type=glob,src={home}/many/*.conf,dst=/conf,ro", image,
                "sh", "-c", "cat /conf/a.conf /conf/b.conf")  # fmt: skip
    assert done.lines == ["1", "2"]
    none = rpod("create", "--mount", f"type=glob,src={home}/many/*.none,dst=/c", image, check=False)
    assert none.code == 125


def test_owner_of_a_directory_can_be_changed(rpod: Command, image: str) -> None:
    path = f"{rpod.account.home}/given"
    rpod.shell(f"mkdir -p {path}/sub; touch {path}/sub/f; ln -sf /etc/passwd {path}/link")
    done = rpod("run", "--rm", "-u", "1000:1000", "-v", f"{path}:/g:U", image, "sh", "-c",
                "stat -c %u /g /g/sub /g/sub/f; touch /g/mine")  # fmt: skip
    assert done.lines == ["1000"] * 3
    assert os.stat("/etc/passwd").st_uid == 0
    rpod("run", "--rm", "-v", f"{path}:/g:U", image, "true")
    assert os.stat(f"{path}/mine").st_uid == rpod.account.uid


@pytest.mark.rpod_only  # podman gives the whole home away
def test_owner_of_the_home_directory_is_not_changed(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "-u", "1000", "-v", f"{rpod.account.home}:/h:U", image, "true",
                check=False)  # fmt: skip
    assert done.code == 125
    assert os.stat(rpod.account.home).st_uid == rpod.account.uid


def test_volume_that_has_to_exist_is_not_made(rpod: Command, image: str) -> None:
    done = rpod("create", "-v", "absent:/v:nocreate", image, check=False)
    assert done.code == 125
    assert "absent" not in rpod("volume", "ls", "-q").lines


def test_supplementary_groups_are_kept(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--group-add", "keep-groups", image, "sh", "-c",
                "grep ^Groups: /proc/self/status")  # fmt: skip
    groups = done.out.split()[1:]
    own = rpod.shell("id -G").out.split()
    assert len(groups) in (len(own), len(own) - 1)
    both = rpod("create", "--group-add", "keep-groups", "--group-add", "29", image, check=False)
    assert both.code == 125


def test_required_containers_are_started_first(rpod: Command, image: str) -> None:
    rpod("create", "--name", "needed", image, "sleep", "100")
    rpod("create", "--name", "needing", "--requires", "needed", image, "true")
    rpod("start", "--attach", "needing")
    assert rpod("inspect", "-f", "{{.State.Running}}", "needed").out == "true\n"
    rpod("rm", "needing")  # podman removes nothing that another container requires
    rpod("rm", "-f", "-t", "0", "needed")
    assert rpod("create", "--requires", "needed", image, check=False).code == 125


@pytest.mark.rpod_only  # podman 4.3 keeps the container without --rm
def test_image_goes_with_its_last_container(rpod: Command, image: str) -> None:
    rpod("tag", image, "localhost/second:1")
    rpod("run", "--rmi", "localhost/second:1", "true")
    assert "localhost/second" not in rpod("images").out
    assert rpod("ps", "-aq").out == ""
    assert rpod("image", "exists", image, check=False).code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--mount", "type=nonsense,dst=/x"),
        ("--mount", "type=devpts,dst=/x,colour=red"),
        ("--mount", "type=ramfs,dst=/x,size=1m"),
        ("--image-volume", "maybe"),
        ("-v", "v:/x:bogus"),
    ],
    ids=" ".join,
)
def test_wrong_mounts_are_refused(rpod: Command, image: str, options: tuple[str, ...]) -> None:
    assert rpod("create", *options, image, check=False).code == 125
    assert rpod("ps", "-aq").out == ""
