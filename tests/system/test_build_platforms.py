"""`build --platform`: emulation where there is an emulator, a clear word where there is none."""

import json
import os
import shutil
import tarfile

import pytest

from tests.support.command import Command
from tests.support.foreign import arm64_program

pytestmark = pytest.mark.rpod_only

SOURCE = """\
FROM scratch
ARG TARGETARCH
COPY program-${TARGETARCH} /program
RUN ["/program"]
"""


@pytest.fixture
def context(account_dir: str) -> str:
    path = f"{account_dir}/context"
    os.makedirs(path)
    for name, data in (
        ("Containerfile", SOURCE.encode()),
        ("program-arm64", arm64_program(b"emulated\n", b"/made")),
        ("program-riscv64", arm64_program(b"", b"/made")),
        ("program-amd64", b"#!/bin/sh\n"),
    ):
        with open(f"{path}/{name}", "wb") as file:
            file.write(data)
        os.chmod(f"{path}/{name}", 0o755)
    os.chmod(path, 0o755)
    return path


def platforms_of(archive: str) -> tuple[str, ...]:
    """Return the architectures of the list that an OCI archive has."""
    with tarfile.open(archive) as outer:

        def read(name: str) -> dict[str, list[dict[str, object]]]:
            member = outer.extractfile(name)
            assert member is not None
            found = json.loads(member.read())
            assert isinstance(found, dict)
            return found

        (entry,) = read("index.json")["manifests"]
        entries = read("blobs/" + str(entry["digest"]).replace(":", "/"))["manifests"]
        platforms = [one["platform"] for one in entries]
        return tuple(str(one["architecture"]) for one in platforms if isinstance(one, dict))


@pytest.mark.skipif(
    shutil.which("qemu-aarch64-static") is None or os.uname().machine != "x86_64",
    reason="missing: qemu-aarch64-static (qemu-user-static), or a machine that needs it",
)
@pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 7),
    reason="before Linux 6.7 only root can register an emulator",
)
def test_programs_of_another_architecture_are_emulated(rpod: Command, context: str) -> None:
    done = rpod("build", "--platform=linux/arm64", "-t", "localhost/arm", context)
    assert "emulated" in done.lines
    found = json.loads(rpod("inspect", "localhost/arm").out)[0]
    assert found["Architecture"] == "arm64"
    assert rpod("image", "diff", "localhost/arm").out == "A /made\n"
    run = rpod("run", "--rm", "localhost/arm", "/program")
    assert run.lines == ["emulated"]
    name = rpod("run", "-d", "localhost/arm", "/program").lines[0]
    assert rpod("wait", name).lines == ["0"]


def test_missing_emulator_is_named(rpod: Command, context: str) -> None:
    done = rpod("build", "--platform=linux/riscv64", context, check=False)
    assert done.code == 125
    assert 'Containerfile:4: execute "/program": Exec format error' in done.err
    assert "linux/riscv64" in done.err
    assert "qemu" in done.err


def test_platforms_go_into_archives(fresh_rpod: Command, account_dir: str) -> None:
    where = f"{account_dir}/context"
    os.makedirs(where)
    with open(f"{where}/Containerfile", "w", encoding="utf-8") as file:
        file.write("FROM scratch\nARG TARGETPLATFORM\nCOPY <<EOF /platform\n$TARGETPLATFORM\nEOF\n")
    os.chmod(where, 0o755)
    archive = f"{account_dir}/several.tar"
    wanted = ("amd64", "arm64", "s390x")
    for names in (["-t", "localhost/several"], []):
        platforms = ",".join(f"linux/{one}" for one in wanted)
        fresh_rpod(
            "build", "--platform", platforms, *names, "-o", f"type=oci,dest={archive}", where
        )
        assert platforms_of(archive) == wanted
        fresh_rpod("rmi", "--all", "--force")
        image = fresh_rpod("load", "-i", archive).lines[-1].partition(": ")[2]
        own = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        assert json.loads(fresh_rpod("inspect", image).out)[0]["Architecture"] == own
    refused = fresh_rpod(
        "build", "--platform=linux/amd64,linux/arm64", "-o", f"type=docker,dest={archive}",
        where, check=False,
    )  # fmt: skip
    assert refused.code == 125
    assert "type=oci" in refused.err
