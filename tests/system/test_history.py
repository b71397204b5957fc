"""history and image tree, of an image and of one built on it."""

import json
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.command import Command, is_podman
from tests.support.images import File

BASE = "localhost/history-base:1"
APP = "localhost/history-app:1"


@pytest.fixture
def two(rpod: Command) -> Iterator[Command]:
    """A base image and one with a layer more, whose history goes on from the base's."""
    base = images.tar([*images.busybox_files(), File("etc/base", b"of its own")])
    layers = [base, images.tar([File("etc/more", b"m" * 5000)])]
    for name, count in ((BASE, 1), (APP, 2)):
        rpod("load", "-q", input=images.docker_archive(layers[:count], {"Cmd": ["sh"]}, name))
    yield rpod
    rpod("rmi", APP, BASE)


def image_id(rpod: Command, name: str) -> str:
    return rpod("image", "inspect", "--format", "{{.Id}}", name).out.strip()


def test_history_has_a_line_for_each_step(two: Command) -> None:
    lines = two("history", APP).lines
    assert lines[0].split() == ["ID", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert [line.split()[0] for line in lines[1:]] == [
        image_id(two, APP)[:12],
        image_id(two, BASE)[:12],
    ]
    assert ["layer 1" in lines[1], "layer 0" in lines[2]] == [True, True]


def test_history_in_full_and_by_format(two: Command) -> None:
    assert two("history", "-q", "--no-trunc", APP).lines[0] == image_id(two, APP)
    assert two("history", "--format", "{{.CreatedBy}}|{{.Comment}}", APP).lines == [
        "layer 1|",
        "layer 0|",
    ]
    found = json.loads(two("history", "--format", "json", APP).out)
    assert [step["CreatedBy"] for step in found] == ["layer 1", "layer 0"]
    assert found[0]["id"] == image_id(two, APP)
    assert found[0]["size"] >= 5000
    assert found[1]["size"] > 500_000


def test_history_of_what_is_not_there(rpod: Command) -> None:
    done = rpod("history", "localhost/absent:1", check=False)
    assert done.code == 125, done.told
    assert "localhost/absent:1" in done.err


def test_tree_shows_layers_and_who_ends_there(two: Command) -> None:
    lines = two("image", "tree", APP).lines
    assert lines[0] == f"Image ID: {image_id(two, APP)[:12]}"
    assert lines[1].split() == ["Tags:", f"[{APP}]"]
    assert lines[3] == "Image Layers"
    assert lines[4].startswith("\u251c\u2500\u2500 ID: ")
    assert lines[4].endswith(f"Top Layer of: [{BASE}]")
    assert lines[5].startswith("\u2514\u2500\u2500 ID: ")
    assert lines[5].endswith(f"Top Layer of: [{APP}]")


def test_tree_of_what_requires_an_image(two: Command) -> None:
    lines = two("image", "tree", "--whatrequires", BASE).lines
    assert lines[1].split() == ["Tags:", f"[{BASE}]"]
    assert lines[4].endswith(f"[{BASE}]")
    assert lines[5].endswith(f"[{APP}]")
    assert f"[{APP}]" not in two("image", "tree", BASE).out


def test_diff_of_an_image(two: Command) -> None:
    assert two("image", "diff", APP).lines == ["C /etc", "A /etc/more"]
    assert two("image", "diff", APP, BASE).lines == ["C /etc", "A /etc/more"]
    assert two("image", "diff", BASE, APP).lines == ["C /etc", "D /etc/more"]
    found = json.loads(two("image", "diff", "--format", "json", APP).out)
    assert found == {"changed": ["/etc"], "added": ["/etc/more"]}


def test_diff_sees_whiteouts_and_what_only_root_can_read(rpod: Command) -> None:
    base = [*images.busybox_files(), images.directory("root/secret", 0o700, 5, 5)]
    base.append(File("root/secret/key", b"k", 0o600, uid=5, gid=5))
    top = [File("etc/.wh.group"), images.directory("root/secret", 0o700, 5, 5)]
    top.append(File("root/secret/key", b"other", 0o600, uid=5, gid=5))
    layers = [images.tar(base), images.tar(top)]
    rpod("load", "-q", input=images.docker_archive(layers, {"Cmd": ["sh"]}, APP))
    expected = ["C /etc", "D /etc/group", "C /root", "C /root/secret", "C /root/secret/key"]
    found = rpod("image", "diff", APP).lines
    if is_podman():  # which leaves some of the directories above out
        found += expected[2:4]
    assert set(found) == set(expected)
    rpod("rmi", APP)


def test_step_without_a_time_has_gos_zero(two: Command) -> None:
    found = json.loads(two("history", "--format", "json", BASE).out)
    assert [one["created"] for one in found] == ["0001-01-01T00:00:00Z"]
    shown = two("history", "--format", "{{.CreatedAt}}", BASE).out
    assert shown == "0001-01-01 00:00:00 +0000 UTC\n"
