"""image publish and additional stores: one writes, others read."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support import images
from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


@pytest.fixture
def shared(rpod: Command, image: str) -> Iterator[str]:
    """A published store with the test image."""
    place = f"{rpod.account.home}/published"
    rpod("image", "publish", place, image)
    yield place
    rpod.shell(f"rm -r {place}")


def test_published_image_runs_elsewhere(fresh_rpod: Command, shared: str, image: str) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = shared
    before = sorted(os.walk(shared))
    listed = fresh_rpod("images", "--format", "{{.Repository}} {{.ReadOnly}}").lines
    assert listed == ["localhost/rpod-test true"]
    assert fresh_rpod("images", "-q", "--filter", "readonly=false").out == ""
    assert fresh_rpod("run", "--rm", "--network=none", image, "echo", "ran").out == "ran\n"
    # No blob was copied, and nothing was written there.
    assert fresh_rpod.shell("ls $XDG_DATA_HOME/rpod/blobs/sha256").out == ""
    assert sorted(os.walk(shared)) == before


@pytest.fixture
def squashed(rpod: Command, image: str) -> Iterator[str]:
    """A published store that has the test image as a squashfs, too."""
    place = f"{rpod.account.home}/squashed"
    rpod("image", "publish", "--squash", place, image)
    yield place
    rpod.shell(f"rm -rf {place}")


def layers_of(command: Command) -> int:
    """Return how many bytes are unpacked in the user's own store."""
    return int(command.shell("du -s --apparent-size -b $XDG_DATA_HOME/rpod/layers").out.split()[0])


USERNS = ("", "keep-id", "nomap", "auto")


@pytest.mark.parametrize("userns", USERNS, ids=lambda text: text or "default")
def test_squashfs_of_a_shared_store_is_mounted_whatever_the_map(
    fresh_rpod: Command, squashed: str, image: str, userns: str
) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = squashed
    before = sorted(os.walk(squashed))
    words = ["--network=none", *((f"--userns={userns}", "--user=0") if userns else ())]
    script = "echo new >/bin/new; stat -c %u:%g /bin/busybox /etc/passwd; cat /bin/new"
    done = fresh_rpod("run", "--name=one", *words, image, "sh", "-c", script)
    assert done.lines == ["0:0", "0:0", "new"]
    assert "unpacking" not in done.err
    assert layers_of(fresh_rpod) < 100_000
    assert fresh_rpod("start", "-a", "one").lines == done.lines
    assert "A /bin/new" in fresh_rpod("diff", "one").lines
    assert sorted(os.walk(squashed)) == before
    # It is the publisher's to change: what runs goes on, what starts later says what is missing.
    fresh_rpod("run", "-d", "--name=two", *words, image, "sleep", "100")
    fresh_rpod("image", "publish", "--remove", squashed, image)
    assert os.listdir(f"{squashed}/squash") == []
    assert fresh_rpod("exec", "two", "cat", "/etc/passwd").out
    assert fresh_rpod("start", "one", check=False).code == 125
    fresh_rpod("rm", "-f", "-t", "0", "one", "two")


def test_shared_store_is_read_while_it_changes(
    rpod: Command, fresh_rpod: Command, image: str
) -> None:
    """A reader sees a whole image or none, and says that in one line."""
    place = f"{rpod.account.home}/changing"
    archive = images.docker_archive(
        [images.tar([*images.busybox_files(), images.File("more", b"x")])], {"Cmd": ["sh"]}, "b:1"
    )
    rpod("load", "-q", input=archive)
    rpod("image", "publish", "--squash", place, image)
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = place
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            rpod("image", "publish", place, "b:1")
            rpod("image", "publish", "--remove", place, "b:1")

    publisher = threading.Thread(target=change)
    publisher.start()
    words = ("run", "--rm", "--network=none", "--pull=never")
    try:
        for _ in range(6):
            assert fresh_rpod("run", "--rm", "--network=none", image, "echo", "ran").out == "ran\n"
            found = fresh_rpod(*words, "localhost/b:1", "echo", "ran", check=False)
            assert "internal error" not in found.err
            assert (found.code, found.out) == (0, "ran\n") or found.code == 125, found.told
            assert fresh_rpod("images", "-q").lines
    finally:
        ended.set()
        publisher.join()
        rpod.shell(f"rm -r {place}")
        rpod("rmi", "b:1")


def _chown(path: str) -> None:
    os.chown(path, 1, 1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(_chown, "trusted_publishers", id="of-another-account"),
        pytest.param(lambda path: os.chmod(path, 0o664), "others may write", id="writable"),
        pytest.param(lambda path: os.truncate(path, 5000), "", id="cut-short"),
    ],
)
def test_squashfs_that_is_not_to_be_trusted_is_not_mounted(
    fresh_rpod: Command, squashed: str, image: str, spoil: Callable[[str], None], why: str
) -> None:
    if os.getuid() != 0:
        pytest.skip("missing: root, to give a file away")
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = squashed
    (name,) = os.listdir(f"{squashed}/squash")
    spoil(f"{squashed}/squash/{name}")
    run = ("run", "--rm", "--network=none", image, "echo", "ran")
    if "trusted" in why:
        trusting = fresh_rpod(*run, env={"RPOD_TRUSTED_PUBLISHERS": "nobody,daemon"})
        assert (trusting.out, layers_of(fresh_rpod) < 100_000) == ("ran\n", True)
        fresh_rpod("system", "prune", "-af")
    done = fresh_rpod(*run)
    assert done.out == "ran\n"
    assert "unpacking" in done.err
    assert why in done.err
    assert layers_of(fresh_rpod) > 100_000


def test_shared_image_is_not_the_users_to_change(
    fresh_rpod: Command, shared: str, image: str
) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = shared
    for words in (["rmi", image], ["untag", image], ["rmi", "-f", image]):
        done = fresh_rpod(*words, check=False)
        assert done.code == 2, done.told
        assert shared in done.err
    fresh_rpod("rmi", "-a")
    fresh_rpod("system", "prune", "-af")
    assert fresh_rpod("image", "exists", image).code == 0


def test_tag_takes_a_shared_image_over(fresh_rpod: Command, shared: str, image: str) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = shared
    fresh_rpod("tag", image, "localhost/mine:1")
    del fresh_rpod.environment["RPOD_ADDITIONAL_STORES"]
    assert fresh_rpod("run", "--rm", "--network=none", "localhost/mine:1", "echo", "x").out == "x\n"


def test_damaged_shared_blob_is_not_used(fresh_rpod: Command, shared: str, image: str) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = shared
    blobs = f"{shared}/blobs/sha256"
    for name in os.listdir(blobs):
        with open(f"{blobs}/{name}", "r+b") as file:
            file.seek(20)
            file.write(b"#")
    done = fresh_rpod("run", "--rm", "--network=none", image, "true", check=False)
    assert done.code == 125
    assert "internal error" not in done.err


def test_withdrawn_image_is_gone(rpod: Command, shared: str, image: str, account_dir: str) -> None:
    place = f"{account_dir}/again"
    rpod("image", "publish", place, image)
    rpod("image", "publish", place, image)
    assert rpod.shell(f"skopeo inspect oci:{place}:{image} >/dev/null").code == 0
    assert os.listdir(f"{place}/images")
    rpod("image", "publish", "--remove", place, image)
    assert os.listdir(f"{place}/blobs/sha256") == os.listdir(f"{place}/names") == []


def test_only_a_store_is_published_to(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo x > {account_dir}/file")
    assert rpod("image", "publish", account_dir, image, check=False).code == 125
    own = rpod("info", "--format", "{{.store.graphRoot}}").out.strip()
    assert rpod("image", "publish", own, image, check=False).code == 125


def test_missing_additional_store_is_no_error(fresh_rpod: Command) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = "/nonexistent/store"
    archive = images.docker_archive([images.tar(images.busybox_files())], {"Cmd": ["sh"]}, "a:1")
    fresh_rpod("load", "-q", input=archive)
    assert fresh_rpod("images", "--format", "{{.Tag}}").lines == ["1"]


def test_shared_image_is_built_upon_and_committed(
    fresh_rpod: Command, shared: str, image: str
) -> None:
    fresh_rpod.environment["RPOD_ADDITIONAL_STORES"] = shared
    before = sorted(os.walk(shared))
    recipe = f"FROM {image}\nRUN echo built >/built\n".encode()
    fresh_rpod("build", "--network=none", "-t", "mine", "-f", "-", "/etc/ssl", input=recipe)
    fresh_rpod("run", "--name=one", "--network=none", "mine", "sh", "-c", "echo run >>/built")
    fresh_rpod("commit", "one", "committed")
    assert sorted(os.walk(shared)) == before
    # What was made needs the shared store no more.
    del fresh_rpod.environment["RPOD_ADDITIONAL_STORES"]
    done = fresh_rpod("run", "--rm", "--network=none", "committed", "cat", "/built")
    assert done.lines == ["built", "run"]
