"""image mount and unmount, inside and outside of unshare."""

import json

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.images import File

NAME = "localhost/mounted:1"


def test_outside_it_is_refused(rpod: Command, image: str) -> None:
    done = rpod("image", "mount", image, check=False)
    assert done.code == 125, done.told
    assert "must execute" in done.err
    assert "unshare" in done.err
    assert rpod("image", "unmount", "-a").out == ""  # there is none: so podman


@pytest.mark.rpod_only  # podman 4.3 lets the layer itself be written
@pytest.mark.parametrize("layers", [1, 3])
def test_inside_it_shows_the_image(rpod: Command, layers: int) -> None:
    files = [[File("etc/more", b"m"), File("etc/owned", b"o", 0o600, uid=7, gid=8)],
             [File("etc/.wh.more"), File("etc/last", b"l")]]  # fmt: skip
    stack = [images.busybox_files(), *files][:layers]
    data = images.docker_archive([images.tar(one) for one in stack], {"Cmd": ["sh"]}, NAME)
    rpod("load", "-q", input=data)
    script = f"""set -e
    at=$($RPOD image mount {NAME}); $RPOD image mount | grep -q {NAME}
    ls $at/etc; stat -c %u:%g $at/etc/owned 2>/dev/null || true
    touch $at/new 2>/dev/null && echo written
    $RPOD image unmount {NAME} >/dev/null; $RPOD image mount; ls $at 2>/dev/null | head -1"""
    found = rpod.shell(f"$RPOD unshare sh -c '{script}' 2>/dev/null").lines
    expected = ["group", "not-executable", "passwd"]
    if layers == 3:
        expected = ["group", "last", "not-executable", "owned", "passwd", "7:8"]
    assert found == expected
    rpod("rmi", NAME)


@pytest.mark.rpod_only  # podman counts how often an image was mounted
def test_all_images_are_mounted_and_unmounted(fresh_rpod: Command, docker_archive: str) -> None:
    rpod, image = fresh_rpod, images.NAME
    rpod("load", "-q", "-i", docker_archive)
    rpod("import", "-q", "-", "localhost/other", input=images.busybox_archive())
    script = f"""set -e
    $RPOD images -aq --no-trunc | sort -u | wc -l
    $RPOD image mount -a | wc -l; $RPOD image mount {image} >/dev/null; $RPOD image mount | wc -l
    $RPOD image unmount -a | wc -l; $RPOD image mount | wc -l
    $RPOD image mount localhost/absent:1 || echo failed"""
    found = rpod.shell(f"$RPOD unshare sh -c '{script}' 2>/dev/null").lines
    there, mounted, listed, unmounted, *rest = found
    assert int(there) == 2
    assert there == mounted == listed == unmounted
    assert rest == ["0", "failed"]


@pytest.mark.rpod_only  # podman has one image for all manifests of a configuration
def test_an_image_with_two_manifests_is_mounted_once(
    fresh_rpod: Command, docker_archive: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    twin = f"oci:{fresh_rpod.environment['HOME']}/twin"
    fresh_rpod("push", "-q", "--compression-format", "zstd", images.NAME, twin)
    fresh_rpod("pull", "-q", twin)
    script = """set -e; $RPOD image mount -a | wc -l; $RPOD image mount
    $RPOD image unmount -a | wc -l; $RPOD image mount | wc -l"""
    mounted, listed, *rest = fresh_rpod.shell(f"$RPOD unshare sh -c '{script}'").lines
    assert mounted == "1"
    assert listed.startswith(f"{images.NAME} ")
    assert rest == ["1", "0"]


def test_mounted_images_as_json(rpod: Command, image: str) -> None:
    script = """$RPOD image mount --format json $I; echo ---; $RPOD image mount --format json
    echo ---; $RPOD image unmount $I >/dev/null; $RPOD image mount --format json"""
    text = rpod.shell(f"$RPOD unshare sh -c '{script}'", env={"I": image}).out
    now, listed, then = map(json.loads, text.split("---\n"))
    assert now == listed
    assert not then
    assert image in now[0]["Repositories"]
    assert now[0]["mountpoint"].startswith("/")
    assert len(now[0]["id"]) == 64
