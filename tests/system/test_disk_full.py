"""A disk or a quota that is hit in the middle of a pull: of the store, of the node's directory.

A small tmpfs is the disk; the errors of quotas (EDQUOT) go the same way as ENOSPC.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.registry import Registry

pytestmark = pytest.mark.rpod_only

RUN = ("run", "--rm", "--network=none", "--tls-verify=false")
READ = ("cat", "/data/deep/last")


@pytest.fixture(scope="module")
def name(registry: Registry, shared_dir: str) -> str:
    """An image of 2 MB of a program and 2 MB that cannot be compressed, with a closed directory."""
    files = [
        *images.busybox_files(),
        images.directory("data", 0o700, 1000, 1000),
        images.directory("data/deep", 0o700, 1000, 1000),
        *(images.File(f"data/deep/{n}", os.urandom(20000), uid=1000) for n in range(100)),
        images.File("data/deep/last", b"the last\n"),
    ]
    path = f"{shared_dir}/incompressible.tar"
    with open(path, "wb") as file:
        file.write(images.docker_archive([images.tar(files)], {}, compress=True))
    return registry.push(f"docker-archive:{path}", "full/app:1")


@pytest.fixture
def disk(fresh_rpod: Command, account_dir: str) -> Iterator[str]:
    """A directory for a small file system, of the account's."""
    if os.getuid() != 0:
        pytest.skip("only root mounts a small file system")
    path = f"{account_dir}/disk"
    os.mkdir(path)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def make_disk(command: Command, path: str, kib: int) -> None:
    account = command.account
    options = f"size={kib}k,mode=0700,uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", path], check=True)


def free_space(path: str) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", path], check=True)


def check_clear_line(command: Command, name: str, remedy: str) -> None:
    done = command(*RUN, name, *READ, check=False)
    *_, first, second = done.err.splitlines()
    assert done.code == 125
    assert first.startswith("Error: ") and first.endswith(": No space left on device"), done.told
    assert remedy in second, done.told


@pytest.mark.parametrize("kib", [16, 1000, 4500], ids=["at first", "a blob", "unpacking"])
def test_full_store_says_so_and_goes_on_where_it_stopped(
    fresh_rpod: Command, disk: str, name: str, kib: int
) -> None:
    fresh_rpod.environment["RPOD_ROOT"] = f"{disk}/store"
    make_disk(fresh_rpod, disk, kib)
    check_clear_line(fresh_rpod, name, "free space, or use another store with --root DIR")
    assert fresh_rpod("images", "-q").out == ""
    assert os.listdir(f"{disk}/store/tmp") == []
    free_space(disk)
    assert fresh_rpod(*RUN, name, *READ).out == "the last\n"
    fresh_rpod("system", "check")


@pytest.mark.parametrize("kib", [16, 1000, 6000], ids=["at first", "a blob", "unpacking"])
def test_full_node_says_so_and_leaves_nothing(
    fresh_rpod: Command, account_dir: str, disk: str, name: str, kib: int
) -> None:
    fresh_rpod.environment |= {"RPOD_NODE_ROOT": disk}
    make_disk(fresh_rpod, disk, kib)
    check_clear_line(fresh_rpod, name, "RPOD_NODE_ROOT=DIR")
    (own,) = os.listdir(disk)
    (node,) = os.listdir(f"{disk}/{own}")
    assert os.listdir(f"{disk}/{own}/{node}/tmp") == []
    free_space(disk)
    assert fresh_rpod(*RUN, name, *READ).out == "the last\n"
    fresh_rpod("system", "check")


FILL = """cat /dev/zero >{disk}/fill; n=0
    while : >{disk}/f$n; do n=$((n + 1)); done; cat /dev/zero >>{disk}/fill"""


def test_everything_can_be_removed_from_a_full_disk(
    fresh_rpod: Command, disk: str, docker_archive: str
) -> None:
    rpod = fresh_rpod
    rpod.environment["RPOD_ROOT"] = f"{disk}/store"
    account = rpod.account
    options = f"size=24m,nr_inodes=1500,mode=0700,uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", disk], check=True)
    rpod("load", "-qi", docker_archive)
    rpod("run", "--network=none", "--name", "one", "-v", "kept:/v", images.NAME, "touch", "/v/x")
    rpod("create", "--name", "two", images.NAME)
    rpod("run", "-d", "--network=none", "--name", "three", images.NAME, "sleep", "100")
    rpod("volume", "create", "other")
    rpod("network", "create", "net")
    rpod("pod", "create", "--name", "pod")
    rpod("secret", "create", "word", "-", input=b"x")
    rpod("build", "-qf", "-", "/etc/ssl", "-t", "built",
         input=f"FROM {images.NAME}\nRUN echo a >/a\n".encode())  # fmt: skip
    rpod("tag", images.NAME, "localhost/second")
    for words in (
        "rm -f three", "rm one", "volume rm kept", "pod rm pod", "secret rm word", "network rm net",
        "rmi built", "untag localhost/second", "builder prune -f", "rmi -f localhost/rpod-test",
        "system prune -af --volumes", "image prune -af", "rm -af",
    ):  # fmt: skip
        rpod.shell(FILL.format(disk=disk), check=False)
        left = os.statvfs(disk)
        assert (left.f_bavail, left.f_favail) == (0, 0)
        rpod(*words.split())
    listed = [rpod(*what.split()).out for what in ("ps -aq", "images -q", "volume ls -q")]
    assert listed == ["", "", ""]
    assert os.listdir(f"{disk}/store/tmp") == []
    assert len(os.listdir(f"{disk}/store/blobs/sha256")) == 0
    rpod("system", "check")


def test_full_home_keeps_the_image_on_the_node(
    fresh_rpod: Command, disk: str, name: str, account_dir: str
) -> None:
    node = f"{account_dir}/node"
    fresh_rpod.environment |= {"RPOD_ROOT": f"{disk}/store", "RPOD_NODE_ROOT": node}
    make_disk(fresh_rpod, disk, 1000)
    done = fresh_rpod(*RUN, name, *READ)
    assert done.out == "the last\n"
    assert f"No space left on device: kept on this node only, in {node}" in done.err
    again = fresh_rpod(*RUN, name, *READ)
    assert (again.out, again.err) == ("the last\n", "")
    free_space(disk)
    # The next command that makes an image moves what waits here to where it lasts.
    fresh_rpod("tag", name, "localhost/kept")
    fresh_rpod("build", "-q", "-f", "-", "/etc/ssl", "-t", "x", input=f"FROM {name}\n".encode())
    assert len(os.listdir(f"{disk}/store/names")) == 3
    assert fresh_rpod(*RUN, "localhost/kept", *READ).out == "the last\n"
