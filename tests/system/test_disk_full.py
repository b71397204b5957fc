"""A disk or a quota that is hit in the middle of a pull: of the store, of the node's directory.

A small tmpfs is the disk; a supervisor counts what a quota allows (`tests.support.quota`).
"""

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.accounts import Account
from tests.support.command import Command
from tests.support.registry import Registry
from tests.system.conftest import make_command

pytestmark = pytest.mark.rpod_only

RUN = ("run", "--rm", "--network=none", "--tls-verify=false")
QUOTA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "support", "quota.py")
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


class Limited(Command):
    """The command under a quota."""

    def __init__(self, account: Account, environment: dict[str, str], directory: str) -> None:
        super().__init__(account, environment)
        self.directory = directory
        self.left_bytes = 0

    def dropping(self) -> list[str]:
        words = [sys.executable, "-P", QUOTA, str(self.left_bytes), self.directory]
        return [*words, *super().dropping()]


@pytest.mark.parametrize("ids", ["range", "single"])
def test_a_quota_is_named_and_what_it_stopped_is_completed_later(
    request: pytest.FixtureRequest, name: str, ids: str
) -> None:
    """In the middle of a blob, an unpacking, a record, a squash, a build, a commit, an archive."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to answer the system calls of others")
    account: Account = request.getfixturevalue(
        "account" if ids == "range" else "account_without_ids"
    )
    place = f"{account.home}/quota"
    os.mkdir(place)
    os.chown(place, account.uid, account.gid)
    environment = {**account.environment(), "RPOD_ROOT": f"{place}/store"}
    rpod = make_command(account, environment)
    limited = Limited(account, environment, place)
    here = f"{place}/out"
    recipe = f"FROM {name}\nRUN cat /data/deep/* >/copy; chown 5:6 /copy\n".encode()
    run = ("--network=none", name, *READ)
    for words, limits in (
        (("run", "--rm", "--tls-verify=false", *run), (0, 2000, 1000000, 3200000, 4500000)),
        (("run", "--name", "c", *run), (0, 2000)),
        (("image", "squash", name, f"{here}.sqfs"), (100000, 2000000)),
        (("save", "-q", "-o", f"{here}.tar", name), (0, 2000000)),
        (("build", "-q", "-t", "made", "-f", "-", "/etc/ssl"), (200, 20000, 1000000)),
        (("commit", "-q", "c", "committed"), (0, 1000)),
    ):
        for limited.left_bytes in limits:
            done = limited(*words, input=recipe, check=False)
            assert done.code == 125, (limited.left_bytes, done.told)
            *_, first, second = (one for one in done.err.splitlines() if "Note: " not in one)
            assert first.startswith("Error: ") and "Disk quota exceeded" in first, done.told
            assert first.endswith("exceeded") and "Errno" not in first, done.told
            assert second.startswith("  free space"), done.told
            assert not {f"{here}.sqfs", f"{here}.tar"} & {*words} & {*glob.glob(f"{here}*")}
            assert os.listdir(f"{place}/store/tmp") == []
        assert rpod(*words, input=recipe).code == 0
        rpod("system", "check")
    rpod("system", "reset", "--force")
    shutil.rmtree(place)
