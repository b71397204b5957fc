"""`image squash`, and containers whose image is one squashfs or SIF file."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.accounts import processes
from tests.support.command import Command
from tests.support.sif import sif_of

pytestmark = pytest.mark.rpod_only

# Nothing is mounted with it: the file is unpacked.
UNPACKED = {"RPOD_STORAGE_DRIVER": "copy"}


@pytest.fixture
def squashed(rpod: Command, image: str) -> Iterator[str]:
    path = f"{rpod.account.home}/test.sqfs"
    assert rpod("image", "squash", "--force", image, path).lines == [path]
    yield path
    os.unlink(path)


def servers(rpod: Command) -> list[str]:
    return [one.name for one in processes(rpod.account.owns) if one.name.startswith("squashfuse")]


def wait_for_no_server(rpod: Command) -> None:
    end_s = time.monotonic() + 5
    while servers(rpod) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert servers(rpod) == []


@pytest.mark.parametrize("settings", [{}, UNPACKED], ids=["mounted", "unpacked"])
def test_file_runs_as_the_image_does(
    rpod: Command, squashed: str, image: str, settings: dict[str, str]
) -> None:
    words = ["--rm", "--network=none"]
    script = "ls -ln / /etc; cat /etc/passwd; env; id; pwd"
    plain = rpod("run", *words, "--hostname=h", image, "sh", "-c", script).lines
    shown = rpod("run", *words, "--hostname=h", squashed, "sh", "-c", script, env=settings).lines

    def settled(lines: list[str]) -> list[str]:
        """Keep modes, owners and names: sizes and times differ by the file system."""
        listed = [line.split() for line in lines if line and not line.startswith("total")]
        return [" ".join([*one[:1], *one[2:4], *one[8:]]) if len(one) > 8 else " ".join(one)
                for one in listed]  # fmt: skip

    assert settled(shown) == settled(plain)


def test_file_is_not_unpacked_and_its_server_ends_with_the_container(
    rpod: Command, squashed: str
) -> None:
    rpod("run", "-d", "--name=one", "--network=none", squashed, "sleep", "100")
    assert servers(rpod)
    rpod("kill", "one")
    wait_for_no_server(rpod)


def test_background_process_keeps_the_root_of_a_file(rpod: Command, squashed: str) -> None:
    script = "(sleep 0.5; cat /etc/passwd >/shared/out) & true"
    place = f"{rpod.account.home}/shared"
    rpod.shell(f"mkdir -p {place}; rm -f {place}/out")
    rpod("run", "--rm", "--init", "--pid=host", "--network=none", "-v", f"{place}:/shared",
         squashed, "sh", "-c", script + "; wait")  # fmt: skip
    with open(f"{place}/out", encoding="ascii") as file:
        assert "root:x:0:0" in file.read()


def test_changes_are_kept_shown_and_copied(rpod: Command, squashed: str) -> None:
    script = "echo text >/new; rm /etc/group; rm -r /tmp; mkdir /tmp; echo more >>/etc/passwd"
    rpod("run", "--name=one", "--network=none", squashed, "sh", "-c", script)
    changes = rpod("diff", "one").lines
    assert {"A /new", "D /etc/group", "C /etc/passwd"} <= set(changes)
    assert rpod("cp", "one:/new", "-").out.count("text") == 1
    rpod("start", "one")
    wait_for_no_server(rpod)


@pytest.mark.parametrize("user", ["1000", "alice"])
def test_users_and_keep_id(rpod: Command, squashed: str, user: str) -> None:
    words = ["run", "--rm", "--network=none", "--user", user, squashed, "id", "-u"]
    assert rpod(*words).lines == ["1000"]
    words[1:1] = ["--userns=keep-id"]
    assert rpod(*words).lines == ["1000"]


def test_sif_file_runs_with_its_runscript_and_environment(
    rpod: Command, squashed: str, account_dir: str
) -> None:
    tree = f"{account_dir}/tree/.singularity.d/env"
    rpod.shell(
        f"mkdir -p {tree}; cd {account_dir}/tree; mkdir bin etc; cp /bin/busybox bin/sh;"
        " echo export OF_SIF=yes >.singularity.d/env/10-a.sh; cd .singularity.d;"
        " printf '#!/bin/sh\\necho script $OF_SIF\\n' >runscript; chmod 755 runscript;"
        f" mksquashfs {account_dir}/tree {account_dir}/a.part -quiet -no-progress -all-root"
    )
    with open(f"{account_dir}/a.part", "rb") as part:
        whole = sif_of(part.read())
    path = f"{account_dir}/a.sif"
    with open(path, "wb") as file:
        file.write(whole)
    for settings in ({}, UNPACKED):
        done = rpod("run", "--rm", "--network=none", path, env=settings)
        assert done.lines == ["script yes"]
        done = rpod("run", "--rm", "--network=none", path, "sh", "-c", "echo $OF_SIF", env=settings)
        assert done.lines == ["yes"]


@pytest.mark.parametrize(
    ("cut", "message"),
    [(0.5, "it is cut short"), (0.0, "neither a squashfs nor a SIF file")],
    ids=["cut short", "empty"],
)
def test_broken_file_is_refused(
    rpod: Command, squashed: str, account_dir: str, cut: float, message: str
) -> None:
    with open(squashed, "rb") as file:
        data = file.read()
    path = f"{account_dir}/broken.sqfs"
    with open(path, "wb") as file:
        file.write(data[: int(len(data) * cut)])
    done = rpod("run", "--rm", "--network=none", path, "true", check=False)
    assert done.code == 125
    assert message in done.err
    assert rpod("ps", "-aq").out == ""


@pytest.mark.parametrize("settings", [{}, UNPACKED], ids=["mounted", "unpacked"])
def test_garbage_inside_a_file_is_one_clear_error(
    rpod: Command, squashed: str, account_dir: str, settings: dict[str, str]
) -> None:
    with open(squashed, "rb") as file:
        data = file.read()
    path = f"{account_dir}/garbage.sqfs"
    with open(path, "wb") as file:
        file.write(data[:96] + os.urandom(len(data) - 96))
    done = rpod("run", "--rm", "--network=none", path, "true", check=False, env=settings)
    assert done.code == 125, done.told
    assert path in done.err


def test_file_that_was_replaced_is_not_taken_for_the_old_one(
    rpod: Command, squashed: str, account_dir: str
) -> None:
    path = f"{account_dir}/a.sqfs"
    subprocess.run(["cp", squashed, path], check=True)
    rpod("create", "--name=one", "--network=none", path, "true")
    os.unlink(path)
    subprocess.run(["cp", squashed, path], check=True)
    done = rpod("start", "--attach", "one", check=False)
    assert done.code == 125
    assert "has changed since the container was made" in done.err


def test_squash_keeps_a_file_that_is_there(rpod: Command, squashed: str, image: str) -> None:
    before = os.stat(squashed).st_mtime_ns
    done = rpod("image", "squash", image, squashed, check=False)
    assert (done.code, os.stat(squashed).st_mtime_ns) == (125, before)
    done = rpod("image", "squash", image, f"{rpod.account.home}/none/x.sqfs", check=False)
    assert done.code == 125
