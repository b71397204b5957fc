"""`diff` of containers."""

import json

import pytest

from tests.support.command import Command

SCRIPT = (
    "mkdir -p /d/sub /etc/n; echo f >/d/f; ln -s /d/f /lf; rm /etc/group; chmod 600 /etc/passwd;"
    " rm /bin/vi; echo in >/vol/ume; touch /tmp/last; sleep 1000"
)
EXPECTED = [
    "C /bin", "D /bin/vi", "A /d", "A /d/f", "A /d/sub", "C /etc", "D /etc/group", "A /etc/n",
    "C /etc/passwd", "A /lf",
]  # fmt: skip


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_diff_is_what_the_container_has_done(rpod: Command, image: str, state: str) -> None:
    rpod("run", "-d", "--name", "busy", "-v", "/vol", image, "sh", "-c", SCRIPT)
    while rpod("exec", "busy", "test", "-e", "/tmp/last", check=False).code:
        pass
    if state == "stopped":
        rpod("stop", "-t", "0", "busy")
    lines = rpod("diff", "busy").lines
    assert sorted(set(lines) - {"C /tmp", "A /tmp", "A /tmp/last", "A /vol"}) == sorted(EXPECTED)
    found = json.loads(rpod("diff", "--format", "json", "busy").out)
    assert "/d/f" in found["added"]
    assert "/etc/group" in found["deleted"]
    assert "/etc/passwd" in found["changed"]


def test_diff_of_a_new_container_is_empty(rpod: Command, image: str) -> None:
    rpod("create", "--name", "fresh", image, "true")
    assert rpod("diff", "fresh").out == ""


@pytest.mark.rpod_only
def test_mount_points_are_no_changes(rpod: Command, image: str) -> None:
    rpod("run", "--name", "ran", "-v", "/deep/down/vol", image, "true")
    assert [line for line in rpod("diff", "ran").lines if "/deep" not in line] == []


def test_diff_of_nothing(rpod: Command) -> None:
    assert rpod("diff", "nothing", check=False).code == 125
