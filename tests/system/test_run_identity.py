"""`run`: who and what a container's process is told that it is."""

import itertools

import pytest

from tests.support.command import Command


def test_time_zone_comes_from_the_host(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--tz", "Asia/Tokyo", image, "date", "+%Z %z")
    assert done.out == "JST +0900\n"


def test_unknown_time_zone_is_refused_before_anything_is_made(rpod: Command, image: str) -> None:
    done = rpod("create", "--tz", "No/Where", image, check=False)
    assert done.code == 125
    assert "No/Where" in done.err
    assert rpod("ps", "-aq").out == ""


def test_users_of_the_host_are_known_inside(rpod: Command, image: str) -> None:
    name = rpod.account.name
    done = rpod("run", "--rm", "--hostuser", name, image, "grep", f"^{name}:", "/etc/passwd")
    assert done.out.startswith(f"{name}:*:{rpod.account.uid}:{rpod.account.gid}:")


def test_entries_for_an_unknown_user_can_be_written_by_the_caller(
    rpod: Command, image: str
) -> None:
    entry = "who:x:$UID:$GID::$HOME:/bin/sh"
    done = rpod("run", "--rm", "-u", "4321", "--passwd-entry", entry, image, "id", "-un")
    assert done.out == "who\n"
    bare = rpod("run", "--rm", "-u", "4321", "--passwd=false", image, "grep", "4321",
                "/etc/passwd", check=False)  # fmt: skip
    assert bare.code == 1


def test_labels_come_from_a_file_too(rpod: Command, image: str) -> None:
    path = f"{rpod.account.home}/labels"
    rpod.shell(f"printf '# none\\na=1\\nb=2\\n' > {path}")
    rpod("create", "--name", "labelled", "--label-file", path, "--label", "b=3", image)
    shown = rpod("inspect", "-f", '{{index .Config.Labels "a"}}{{index .Config.Labels "b"}}',
                 "labelled")  # fmt: skip
    assert shown.out == "13\n"


def test_environment_can_be_emptied_and_merged(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--unsetenv-all", "--env", "A=1", image, "/bin/env")
    assert not any(line.startswith(("FROM_IMAGE", "container=")) for line in done.lines)
    assert "A=1" in done.lines
    merged = rpod("run", "--rm", "--env-merge", "FROM_IMAGE=${FROM_IMAGE}-more", image, "env")
    assert "FROM_IMAGE=yes-more" in merged.lines


def test_platform_is_named_once(rpod: Command, image: str) -> None:
    done = rpod("create", "--platform", "linux/arm64", "--arch", "amd64", image, check=False)
    assert done.code == 125


UID_MAP = ("cat", "/proc/self/uid_map")


def numbers(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


@pytest.mark.rpod_only  # podman's namespace lies in another: other outer ids
def test_uidmap_and_gidmap_are_the_maps(rpod: Command, image: str) -> None:
    options = ("--uidmap", "0:1:500", "--uidmap", "500:0:1", "--gidmap", "0:0:300")
    done = rpod("run", "--rm", *options, image, "cat", "/proc/self/uid_map", "/proc/self/gid_map")
    users = [line for line in numbers(done.out) if line[0] in (0, 500)]
    assert [500, rpod.account.uid, 1] in users
    assert [0, rpod.account.gid, 1] in numbers(done.out)


def test_files_of_the_image_fit_a_map(rpod: Command, image: str) -> None:
    script = "stat -c %u:%g /bin/busybox; touch /new; stat -c %u /new"
    done = rpod("run", "--rm", "--uidmap", "0:1:2000", image, "sh", "-c", script)
    assert done.lines == ["0:0", "0"]


@pytest.mark.rpod_only  # podman 4.3 finds some of them when it starts
@pytest.mark.parametrize("wanted", ["0:70000:1", "5:0:1", "x", "0:0:0"])
def test_bad_map_makes_nothing(rpod: Command, image: str, wanted: str) -> None:
    done = rpod("run", "--name", "c", "--uidmap", wanted, image, "true", check=False)
    assert done.code == 125
    assert "uidmap" in done.err
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only  # podman's namespace lies in another
def test_auto_gives_each_container_ids_of_its_own(rpod: Command, image: str) -> None:
    ranges = []
    for name in ("one", "two"):
        options = ("--name", name, "--userns=auto:size=2000")
        done = rpod("run", *options, image, *UID_MAP)
        lines = numbers(done.out)
        assert sum(line[2] for line in lines) == 2000
        ranges += [(start, start + count) for _, start, count in lines]
    assert rpod.account.uid not in [one for start, end in ranges for one in range(start, end)]
    ranges.sort()
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))


@pytest.mark.rpod_only  # podman 4.3 gave all ids
def test_auto_takes_what_the_image_needs(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--userns=auto", image, *UID_MAP)
    assert sum(line[2] for line in numbers(done.out)) == 1024
    user = ("--user", "3000", image, *UID_MAP)
    assert sum(line[2] for line in numbers(rpod("run", "--rm", "--userns=auto", *user).out)) == 3001


@pytest.mark.rpod_only  # podman 4.3 does not name the file
def test_auto_ends_where_the_ids_end(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--userns=auto:size=9999999", image, "true", check=False)
    assert done.code == 125
    assert "/etc/subuid" in done.err


@pytest.mark.rpod_only  # podman 4.3 has no size
def test_keep_id_of_a_size(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--userns=keep-id:size=100", image, *UID_MAP)
    assert sum(line[2] for line in numbers(done.out)) == 101
