"""image publish and additional stores: one writes, others read."""

import os
from collections.abc import Iterator

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
