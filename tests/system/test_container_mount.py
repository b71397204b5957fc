"""mount and unmount of containers, inside and outside of unshare."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.support.command import Command

IN_SESSION = "$RPOD unshare sh -c '{}' 2>&1"


def in_session(rpod: Command, script: str, **env: str) -> list[str]:
    return rpod.shell(IN_SESSION.format(script), env=env, check=False).lines


def test_outside_a_session_mount_is_refused_and_unmount_has_nothing_to_do(
    rpod: Command, image: str
) -> None:
    rpod("create", "--name", "one", image)
    for words in (("mount", "one"), ("container", "mount", "one"), ("mount",)):
        done = rpod(*words, check=False)
        assert done.code == 125, done.told
        assert "mount" in done.err
        assert "in rootless mode, must execute" in done.err
    assert rpod("unmount", "one").lines == ["one"]
    assert rpod("umount", "--all").out == ""
    assert rpod("umount", "absent", check=False).code == 125


@pytest.mark.rpod_only  # podman's is mounted by others of its commands, too
def test_what_is_changed_in_a_created_container_stays(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "sh", "-c", "cat /new; stat -c %u:%g /new")
    script = """set -e; at=$($RPOD container mount one)
    ls $at/etc/passwd >/dev/null; echo text >$at/new; chown 7:8 $at/new
    $RPOD umount one; ls -A $at"""
    assert in_session(rpod, script) == ["one"]
    assert rpod("start", "-a", "one").lines == ["text", "7:8"]
    assert rpod("diff", "one").lines == ["A /new"]


def test_a_running_container_is_seen_as_it_is(rpod: Command, image: str) -> None:
    run = "touch /tmp/inside; until [ -e /tmp/outside ]; do sleep 0.05; done; cat /tmp/outside"
    rpod("run", "-d", "--name", "one", "-v", "data:/data", image, "sh", "-c", f"{run}; sleep 99")
    script = """set -e; at=$($RPOD mount one); until [ -e $at/tmp/inside ]; do sleep 0.05; done
    ls $at/data $at/proc; echo told >$at/tmp/outside; $RPOD unmount one"""
    assert in_session(rpod, script) == [f"{_at(rpod, 'data')}:", "", f"{_at(rpod, 'proc')}:", "one"]
    rpod("exec", "one", "sh", "-c", "until [ -s /tmp/outside ]; do sleep 0.05; done")


def _at(rpod: Command, name: str) -> str:
    """Return the path of a directory of the container as a session sees it."""
    return in_session(rpod, f"echo $($RPOD mount one)/{name}")[0]


@pytest.mark.rpod_only  # podman counts how often a container was mounted
def test_lists_and_choices(rpod: Command, image: str) -> None:
    ids = [rpod("create", "--name", name, image).out.strip() for name in ("one", "two")]
    script = """$RPOD mount one >/dev/null; $RPOD mount; $RPOD mount --no-trunc; echo ---
    $RPOD mount --format json; echo ---; $RPOD mount -a | wc -l; $RPOD mount -l | wc -l
    $RPOD unmount --latest; $RPOD unmount -a; $RPOD mount"""
    lines, listed, rest = rpod.shell(IN_SESSION.format(script)).out.split("---\n")
    short, whole = (line.split("  ") for line in lines.splitlines())
    assert (short[0], whole[0]) == (ids[0][:12], ids[0])
    assert short[1] == whole[1] and short[1].startswith("/")
    (one,) = json.loads(listed)
    assert one == {"id": ids[0], "Names": ["one"], "mountpoint": short[1]}
    assert rest.split() == ["2", "1", ids[1], ids[0]]


@pytest.mark.rpod_only  # podman gives both the same mount
def test_nothing_else_uses_the_root_while_it_is_mounted(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image)
    script = f"{rpod.prefix[0]} mount one && cat"
    session = rpod.spawn("unshare", "sh", "-c", script, stdin=subprocess.PIPE)
    try:
        assert session.stdout is not None and session.stdout.readline().startswith(b"/")
        for words in (("start", "one"), ("restart", "one"), ("export", "one")):
            done = rpod(*words, check=False)
            assert done.code == 125, done.told
            assert "the root of container one is mounted" in done.err
            assert "rpod unmount one" in done.err
        assert rpod("ps", "-a", "--format", "{{.Status}}").lines == ["Created"]
    finally:
        session.communicate()
    rpod("start", "one")


@pytest.mark.rpod_only  # podman's sessions share a namespace
def test_whose_root_directory_is_in_it_uses_the_root(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "true")
    script = f"at=$({rpod.prefix[0]} mount one); exec chroot $at sh -c 'echo in; cat'"
    session = rpod.spawn("unshare", "sh", "-c", script, stdin=subprocess.PIPE)
    try:
        assert session.stdout is not None and session.stdout.readline() == b"in\n"
        assert rpod("start", "one", check=False).code == 125
    finally:
        session.communicate()


def test_removed_while_it_is_mounted(rpod: Command, image: str) -> None:
    for name in ("one", "two"):
        rpod("create", "--name", name, image)
    script = """at=$($RPOD mount one); $RPOD mount two >/dev/null; $RPOD rm one
    $RPOD mount | wc -l; ls $at"""
    assert in_session(rpod, script)[:2] == ["one", "1"]
    assert rpod("rm", "two").lines == ["two"]


@pytest.mark.rpod_only  # podman unmounts what is busy
def test_a_busy_root_needs_force(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image)
    script = "cd $($RPOD mount one); $RPOD unmount one; echo $?; $RPOD unmount -f one; cd /"
    told, _, code, name = in_session(rpod, script)
    assert told.endswith("busy") and (code, name) == ("125", "one")


@pytest.mark.rpod_only
@pytest.mark.parametrize("driver", ["fuse-overlayfs", "copy"])
def test_other_drivers(rpod: Command, image: str, driver: str) -> None:
    if driver == "fuse-overlayfs" and not (shutil.which(driver) and os.path.exists("/dev/fuse")):
        pytest.skip("missing: fuse-overlayfs or /dev/fuse")
    rpod(f"--storage-driver={driver}", "create", "--name", "one", image, "cat", "/new")
    script = "at=$($RPOD mount one); echo text >$at/new; ls $at/etc/passwd >/dev/null; $RPOD mount"
    listed = in_session(rpod, script)
    assert len(listed) == (driver == "fuse-overlayfs")
    assert rpod("start", "-a", "one").lines == ["text"]


@pytest.mark.rpod_only
def test_killed_monitor_and_killed_mount_leave_nothing(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "one", image, "sleep", "99")
    monitor = int(rpod("inspect", "one", "--format", "{{.State.ConmonPid}}").out)
    for delay_s in (0.0, 0.03, 0.06, 0.09):
        process = rpod.spawn("unshare", *rpod.prefix, "mount", "one")
        time.sleep(delay_s)
        process.kill()
        process.communicate()
    os.kill(monitor, signal.SIGKILL)
    rpod("start", "one")


@pytest.mark.rpod_only
def test_a_start_inside_a_session_says_where_it_works(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image, "true")
    assert "outside of `rpod unshare`" in "".join(in_session(rpod, "$RPOD start one"))
    rpod("start", "one")
