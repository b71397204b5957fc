"""`run`: who and what a container's process is told that it is."""

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
