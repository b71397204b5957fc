"""system df and system prune: nothing on the disk is unaccounted for, nothing in use is removed."""

import json
import os
import subprocess
import time

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.images import File


def load(command: Command, *names: str) -> None:
    """Load images that share their lower layer; the upper one is each one's own."""
    base = images.tar(images.busybox_files())
    for name in names:
        own = images.tar([File("own", name.encode() * 20_000)])
        command("load", "-q", input=images.docker_archive([base, own], {"Cmd": ["sh"]}, name))


def summary(command: Command) -> dict[str, dict[str, int]]:
    rows = json.loads(command("system", "df", "--format", "json").out)
    return {row["Type"]: row for row in rows}


def on_disk(command: Command) -> tuple[int, int]:
    """Return bytes and inodes of the whole store, each inode counted once."""
    top = f"{command.environment['XDG_DATA_HOME']}/rpod"
    seen = {}
    for directory, _, names in os.walk(top):
        for path in (directory, *(f"{directory}/{name}" for name in names)):
            found = os.lstat(path)
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values()), len(seen)


@pytest.mark.rpod_only
@pytest.mark.skipif(os.getuid() != 0, reason="only root reads every directory of the store")
def test_df_accounts_for_everything(fresh_rpod: Command) -> None:
    load(fresh_rpod, "localhost/a:1", "localhost/b:1")
    fresh_rpod(
        "run", "-v", "data:/data", "localhost/a:1", "sh", "-c", "echo x >/data/x; echo y >/y"
    )
    fresh_rpod("run", "--rm", "--userns=keep-id", "localhost/a:1", "true")
    rows = summary(fresh_rpod).values()
    found = (sum(row["RawSize"] for row in rows), sum(row["Inodes"] for row in rows))
    assert found == on_disk(fresh_rpod)


@pytest.mark.rpod_only  # podman's json has other members here
def test_df_counts_shared_layers_once(fresh_rpod: Command) -> None:
    load(fresh_rpod, "localhost/a:1")
    one = summary(fresh_rpod)["Images"]
    load(fresh_rpod, "localhost/b:1")
    both = summary(fresh_rpod)["Images"]
    assert (one["Total"], both["Total"]) == (1, 2)
    assert 0 < both["RawSize"] - one["RawSize"] < one["RawSize"] / 2
    fresh_rpod("create", "--name", "user", "localhost/a:1")
    used = summary(fresh_rpod)["Images"]
    assert used["Active"] == 1
    assert 0 < used["RawReclaimable"] < used["RawSize"] / 2


def test_df_has_the_columns_of_podman(rpod: Command, image: str) -> None:
    lines = rpod("system", "df").lines
    assert lines[0].split()[:5] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line.split()[0] for line in lines[1:4]] == ["Images", "Containers", "Local"]
    verbose = rpod("system", "df", "-v").out
    assert "Images space usage:" in verbose
    assert "Local Volumes space usage:" in verbose


@pytest.mark.rpod_only  # podman takes one and leaves the other out
def test_df_refuses_format_with_verbose(rpod: Command) -> None:
    assert rpod("system", "df", "-v", "--format", "json", check=False).code == 125


def test_system_prune_keeps_what_is_used(fresh_rpod: Command) -> None:
    load(fresh_rpod, "localhost/a:1", "localhost/b:1")
    fresh_rpod("run", "-d", "--name", "busy", "-v", "used:/u", "localhost/a:1", "sleep", "60")
    fresh_rpod("run", "--name", "done", "-v", "unused:/u", "localhost/b:1", "true")
    out = fresh_rpod("system", "prune", "--force", "--all", "--volumes").out
    assert "Total reclaimed space: " in out
    assert fresh_rpod("ps", "-a", "--format", "{{.Names}}").lines == ["busy"]
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == ["localhost/a"]
    assert fresh_rpod("volume", "ls", "-q").lines == ["used"]
    assert fresh_rpod("exec", "busy", "cat", "/own").out == "localhost/a:1" * 20_000


def test_system_prune_takes_networks_that_nothing_uses(fresh_rpod: Command) -> None:
    load(fresh_rpod, "localhost/a:1")
    fresh_rpod("network", "create", "idle")
    fresh_rpod("network", "create", "busy")
    fresh_rpod("run", "-d", "--network", "busy", "localhost/a:1", "sleep", "60")
    assert "idle" not in fresh_rpod("system", "prune", "-f", "--filter", "until=1h").out
    out = fresh_rpod("system", "prune", "-f").out
    assert "Deleted Networks\nidle\n" in out
    names = fresh_rpod("network", "ls", "--format", "{{.Name}}").lines
    assert "busy" in names
    assert "idle" not in names


@pytest.mark.rpod_only  # podman keeps no steps besides images
def test_system_prune_of_everything_takes_what_builds_keep(
    fresh_rpod: Command, image: str, docker_archive: str
) -> None:
    fresh_rpod("load", "-qi", docker_archive)
    fresh_rpod("build", "-q", "-t", "x", "-", input=f"FROM {image}\nRUN echo step >/a\n".encode())
    steps = '{{if eq .Type "Build Cache"}}{{.Total}}{{end}}'
    fresh_rpod("system", "prune", "-f")
    assert fresh_rpod("system", "df", "--format", steps).out.split() == ["1"]
    assert "Deleted Build Cache" in fresh_rpod("system", "prune", "-af").out
    assert fresh_rpod("system", "df", "--format", steps).out.split() == ["0"]


@pytest.mark.rpod_only  # podman keeps no steps besides images
def test_system_prune_takes_steps_that_no_image_has(
    fresh_rpod: Command, image: str, docker_archive: str
) -> None:
    fresh_rpod("load", "-qi", docker_archive)
    recipe = f"FROM {image}\nRUN echo a >/a\nRUN echo b >/b\nENV A=1\n".encode()
    other = f"FROM {image}\nRUN echo a >/a\nRUN echo c >/c\n".encode()
    fresh_rpod("build", "-q", "-t", "kept", "-", input=recipe)
    fresh_rpod("build", "-q", "-t", "gone", "-", input=other)
    steps = "ls $XDG_DATA_HOME/rpod/build-cache/steps | wc -l"
    before = int(fresh_rpod.shell(steps).out)
    assert "Build Cache" not in fresh_rpod("system", "prune", "-f").out
    fresh_rpod("rmi", "gone")
    assert int(fresh_rpod.shell(steps).out) == before
    assert fresh_rpod("system", "prune", "-f").out.count("Deleted Build Cache") == 1
    assert int(fresh_rpod.shell(steps).out) == before - 1
    # What is left is found by the next build, and the store is as it says.
    assert fresh_rpod("build", "-t", "x", "-", input=recipe).out.count("Using cache") == 2
    assert fresh_rpod("system", "check").out == ""


@pytest.mark.rpod_only
def test_system_prune_leaves_a_running_build_alone(
    fresh_rpod: Command, image: str, docker_archive: str, account_dir: str
) -> None:
    fresh_rpod("load", "-qi", docker_archive)
    fresh_rpod.shell(f"mkdir {account_dir}/recipe")
    with open(f"{account_dir}/recipe/Containerfile", "w", encoding="utf-8") as out:
        out.write(f"FROM {image}\nRUN echo a >/a\nRUN sleep 2\nRUN cat /a\n")
    build = fresh_rpod.spawn(
        "build", "-t", "made", f"{account_dir}/recipe", stderr=subprocess.STDOUT
    )
    steps = "ls $XDG_DATA_HOME/rpod/build-cache/steps 2>/dev/null | wc -l"
    end_s = time.monotonic() + 30
    while int(fresh_rpod.shell(steps).out) < 1 and time.monotonic() < end_s:
        time.sleep(0.1)
    assert build.poll() is None
    while build.poll() is None:
        assert "Build Cache" not in fresh_rpod("system", "prune", "-f").out
    said, _ = build.communicate()
    assert build.returncode == 0, said
    assert fresh_rpod("run", "--rm", "--network=none", "made", "cat", "/a").out == "a\n"


@pytest.mark.parametrize(
    "words", ["rmi -af", "image prune -af", "system prune -af", "builder prune -af"]
)
@pytest.mark.rpod_only
def test_what_a_running_build_needs_stays_until_it_ends(
    fresh_rpod: Command, account_dir: str, words: str
) -> None:
    base = images.tar(images.busybox_files())
    for number in ("1", "2"):
        layers = [base, images.tar([File(f"own/{number}", number.encode())])]
        archive = images.docker_archive(layers, {"Cmd": ["sh"]}, f"localhost/base:{number}")
        fresh_rpod("load", "-q", input=archive)
    recipe = """FROM localhost/base:1 AS one
        RUN echo a >/a
        RUN touch /b; sleep 3; cat /own/1 /a
        FROM localhost/base:2
        COPY --from=one /a /c
        RUN cat /own/2 /c >/d
    """
    fresh_rpod.shell(f"mkdir {account_dir}/recipe")
    with open(f"{account_dir}/recipe/Containerfile", "w", encoding="utf-8") as out:
        out.write(recipe)
    build = fresh_rpod.spawn(
        "build", "--jobs=1", "-t", "made", f"{account_dir}/recipe", stderr=subprocess.STDOUT
    )
    steps = "ls $XDG_DATA_HOME/rpod/build-cache/steps 2>/dev/null | wc -l"
    end_s = time.monotonic() + 30
    while int(fresh_rpod.shell(steps).out) < 1 and time.monotonic() < end_s:
        time.sleep(0.1)
    fresh_rpod(*words.split())
    assert build.poll() is None
    said, _ = build.communicate()
    assert build.returncode == 0, said
    assert fresh_rpod("run", "--rm", "--network=none", "made", "cat", "/d").out == "2a\n"
    assert fresh_rpod("system", "check").out == ""
    fresh_rpod("rmi", "-af")
    fresh_rpod("builder", "prune", "-af")
    left = "cd $XDG_DATA_HOME/rpod; find blobs/sha256 images tmp layers/* -mindepth 1"
    assert fresh_rpod.shell(left).out == ""


def test_system_prune_asks(rpod: Command, image: str) -> None:
    done = rpod("system", "prune", input=b"n\n")
    assert "Are you sure you want to continue? [y/N]" in done.out
    assert "all networks not used by at least one container" in done.out
    assert "Total reclaimed space" not in done.out


def test_system_prune_filter_keeps_the_young(fresh_rpod: Command) -> None:
    load(fresh_rpod, "localhost/a:1")
    fresh_rpod("run", "--name", "done", "localhost/a:1", "true")
    fresh_rpod("system", "prune", "-f", "--filter", "until=1h")
    assert fresh_rpod("ps", "-a", "--format", "{{.Names}}").lines == ["done"]


def test_image_prune_keeps_a_name_whose_image_came_twice(fresh_rpod: Command) -> None:
    """An archive may pack the same configuration otherwise: two manifests, one image id."""
    root = images.tar(images.busybox_files())
    fresh_rpod("import", "-q", "-", "localhost/a:1", input=root)
    saved = f"{fresh_rpod.environment['HOME']}/saved.tar"
    fresh_rpod("save", "-q", "-o", saved, "localhost/a:1")
    fresh_rpod("load", "-qi", saved)
    fresh_rpod("image", "prune", "-f")
    assert (
        fresh_rpod("run", "--rm", "--pull=never", "localhost/a:1", "echo", "here").out == "here\n"
    )
