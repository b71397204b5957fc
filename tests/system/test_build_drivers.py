"""`build` where no overlay can be mounted: the same layers by the other ways to make a root."""

import os
import shutil

import pytest

from tests.support.built import layers_of
from tests.support.command import Command
from tests.system.conftest import traces

pytestmark = pytest.mark.rpod_only

DRIVERS = ("overlay", "fuse-overlayfs", "copy")
SOURCE = """\
FROM BASE AS one
RUN mkdir -p /d/sub /e /f && echo 1 >/d/a && echo 0 >/d/m && echo 2 >/d/b && echo 3 >/d/sub/c && \
    echo 4 >/e/x && ln /d/a /d/hard && ln -s a /d/link && mkdir -m 750 /d/mode && echo 5 >/f/y
FROM one
RUN rm /d/b && echo more >>/d/m && mv /d/sub /d/moved && mkdir /d/sub && echo new >/d/sub/n
RUN mkdir /n && rm -r /e && mv /n /e && \
    echo other >/e/z && touch -r /f/y /tmp/t && echo 6 >/f/y && \
    touch -r /tmp/t /f/y && rm /tmp/t && rm /d/link && mkdir /d/link && chown 1000:1000 /d/mode
RUN --mount=type=bind,from=one,source=/d,target=/mnt/one,rw \
    cat /mnt/one/b >/seen && echo gone >/mnt/one/b
RUN --mount=type=cache,id=of-the-drivers,target=/c,from=one,source=/d cat /c/a >>/seen
RUN --mount=type=bind,target=/context cat /context/file >>/seen && ls -A /context >>/seen
WORKDIR /d/link/w
USER 1000
RUN touch /tmp/mine && true
RUN true
"""


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    driver = str(request.param)
    if driver == "fuse-overlayfs" and not (
        shutil.which(driver) and os.access("/dev/fuse", os.R_OK | os.W_OK)
    ):
        pytest.skip("missing: fuse-overlayfs or /dev/fuse")
    return driver


@pytest.fixture
def context(account_dir: str, image: str) -> str:
    path = f"{account_dir}/context"
    os.makedirs(path)
    for name, content in (
        ("Containerfile", SOURCE.replace("BASE", image)),
        ("file", "of the context\n"),
        ("ignored", ""),
        (".containerignore", "ignored\n"),
    ):
        with open(f"{path}/{name}", "w", encoding="utf-8") as file:
            file.write(content)
    os.chmod(path, 0o755)
    return path


def build(rpod: Command, driver: str, context: str, archive: str) -> None:
    rpod(
        f"--storage-driver={driver}", "build", "--no-cache", "--output", f"type=oci,dest={archive}",
        "-t", "localhost/made", context, timeout_s=120,
    )  # fmt: skip


def test_layers_are_those_of_the_overlay(
    rpod: Command, context: str, account_dir: str, driver: str
) -> None:
    before = traces(rpod.account)
    usual, other = f"{account_dir}/usual.tar", f"{account_dir}/other.tar"
    build(rpod, "overlay", context, usual)
    build(rpod, driver, context, other)
    assert layers_of(other) == layers_of(usual)
    assert traces(rpod.account) == before
