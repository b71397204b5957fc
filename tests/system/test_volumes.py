"""Bind mounts, named volumes, tmpfs."""

import json
import os

import pytest

from tests.support.command import Command


def test_bind_mount_shares_files(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo outside >{account_dir}/in")
    script = "cat /data/in; echo inside >/data/out"
    done = rpod("run", "--rm", "-v", f"{account_dir}:/data", image, "sh", "-c", script)
    assert done.out == "outside\n"
    with open(f"{account_dir}/out", encoding="utf-8") as written:
        assert written.read() == "inside\n"


def test_bind_mount_read_only(rpod: Command, image: str, account_dir: str) -> None:
    done = rpod(
        *("run", "--rm", "-v", f"{account_dir}:/data:ro", image, "touch", "/data/x"), check=False
    )
    assert done.code == 1, done.told
    assert "Read-only" in done.err


def test_bind_mount_of_a_file(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo text >{account_dir}/file")
    volume = f"{account_dir}/file:/deep/down/file"
    assert rpod("run", "--rm", "-v", volume, image, "cat", "/deep/down/file").out == "text\n"


def test_missing_mount_source_is_named(rpod: Command, image: str, account_dir: str) -> None:
    missing = f"{account_dir}/not-here"
    done = rpod("run", "--rm", "-v", f"{missing}:/data", image, "true", check=False)
    assert done.code == 125, done.told
    assert missing in done.err
    assert not os.path.exists(missing)


def test_mount_option(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo text >{account_dir}/file")
    mount = f"type=bind,source={account_dir},target=/data,ro=true"
    script = "cat /data/file; touch /data/x 2>/dev/null || echo refused"
    assert rpod("run", "--rm", "--mount", mount, image, "sh", "-c", script).lines == [
        "text",
        "refused",
    ]


def test_links_in_the_image_do_not_lead_a_mount_out(
    rpod: Command, image: str, account_dir: str
) -> None:
    script = f"ln -s {account_dir} /way-out"
    rpod("run", "--name", "linked", image, "sh", "-c", script)
    # the target lies behind a link to a directory of the host: it must be resolved inside
    rpod(
        "run", "--rm", "--tmpfs", f"{account_dir}/x", image, "sh", "-c", f"touch {account_dir}/x/y"
    )
    assert os.listdir(account_dir) == []


def test_named_volume_keeps_files(rpod: Command, image: str) -> None:
    rpod("volume", "create", "kept")
    rpod("run", "--rm", "-v", "kept:/data", image, "sh", "-c", "echo text >/data/file")
    assert rpod("run", "--rm", "-v", "kept:/data", image, "cat", "/data/file").out == "text\n"


def test_named_volume_is_made_by_its_use(rpod: Command, image: str) -> None:
    rpod("run", "--rm", "-v", "by-use:/data", image, "true")
    assert "by-use" in rpod("volume", "ls", "-q").lines


def test_new_named_volume_takes_the_files_of_the_image(rpod: Command, image: str) -> None:
    script = (
        "cat /home/alice/notes; stat -c '%u:%g %a' /home/alice/notes; stat -c '%u:%g' /home/alice"
    )
    done = rpod("run", "--rm", "-v", "filled:/home/alice", image, "sh", "-c", script)
    assert done.lines == ["of alice", "1000:1000 640", "1000:1000"]


def test_new_named_volume_belongs_to_the_user_where_the_image_has_nothing(
    rpod: Command, image: str
) -> None:
    script = "stat -c '%u:%g' /new; touch /new/file"
    options = ["-v", "owned:/new", "--user", "1000:1000"]
    assert rpod("run", "--rm", *options, image, "sh", "-c", script).lines == ["1000:1000"]
    found = rpod("run", "--rm", "-v", "owned:/new", image, "stat", "-c", "%u:%g", "/new/file")
    assert found.lines == ["1000:1000"]


def test_volume_inspect(rpod: Command) -> None:
    rpod("volume", "create", "--label", "a=b", "looked-at")
    found = json.loads(rpod("volume", "inspect", "looked-at").out)
    assert found[0]["Name"] == "looked-at"
    assert found[0]["Driver"] == "local"
    assert found[0]["Labels"] == {"a": "b"}
    assert os.path.isdir(found[0]["Mountpoint"])


def test_volume_in_use_is_not_removed(rpod: Command, image: str) -> None:
    rpod("create", "--name", "user", "-v", "used:/data", image)
    done = rpod("volume", "rm", "used", check=False)
    assert done.code == 2, done.told
    assert "used" in done.err
    rpod("rm", "user")
    assert rpod("volume", "rm", "used").out == "used\n"


def test_missing_volume_is_named(rpod: Command) -> None:
    done = rpod("volume", "rm", "absent", check=False)
    assert done.code == 1, done.told
    assert "absent" in done.err


def test_volume_name_that_exists(rpod: Command) -> None:
    rpod("volume", "create", "twice")
    done = rpod("volume", "create", "twice", check=False)
    assert done.code == 125, done.told
    assert "twice" in done.err


def test_anonymous_volume_goes_with_rm(rpod: Command, image: str) -> None:
    rpod("run", "--rm", "-v", "/anonymous", image, "sh", "-c", "echo x >/anonymous/file")
    assert rpod("volume", "ls", "-q").lines == []


def test_tmpfs(rpod: Command, image: str) -> None:
    script = "grep ' /scratch ' /proc/mounts; touch /scratch/x && echo written"
    done = rpod("run", "--rm", "--tmpfs", "/scratch:size=1m", image, "sh", "-c", script)
    kind, options = done.lines[0].split()[2:4]
    assert kind == "tmpfs"
    assert {"size=1024k", "nosuid", "nodev"} <= set(options.split(","))
    assert done.lines[1] == "written"


def test_tmpfs_takes_the_files_of_the_image(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--tmpfs", "/home/alice", image, "cat", "/home/alice/notes")
    assert done.out == "of alice\n"


@pytest.mark.parametrize("volume", ["relative:and:too:many", ":/data", "name:relative"])
def test_bad_volume_is_refused(rpod: Command, image: str, volume: str) -> None:
    done = rpod("run", "--rm", "-v", volume, image, "true", check=False)
    assert done.code == 125, done.told
    assert done.err.startswith("Error: ")
    assert rpod("volume", "ls", "-q").lines == []


@pytest.mark.rpod_only
def test_volume_that_stands_for_a_directory_is_left_as_it_is(
    rpod: Command, image: str, account_dir: str
) -> None:
    options = ["-o", "type=none", "-o", "o=bind", "-o", f"device={account_dir}"]
    rpod("volume", "create", *options, "stands-for")
    run = ["run", "--rm", "--user", "1000"]
    rpod(*run, "-v", "stands-for:/home/alice", image, "true")
    rpod(*run, "-v", "stands-for:/new", image, "true")
    assert os.listdir(account_dir) == []
    assert os.stat(account_dir).st_uid == rpod.account.uid
    rpod("volume", "rm", "stands-for")
    assert os.path.isdir(account_dir)


MODES = {"default": ("", "1777"), "given": (":mode=700", "700")}


@pytest.mark.parametrize(("options", "mode"), MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("target", ["/made", "/tmp"])
def test_mode_of_a_tmpfs(rpod: Command, image: str, target: str, options: str, mode: str) -> None:
    done = rpod("run", "--rm", "--tmpfs", f"{target}{options}", image, "stat", "-c", "%a", target)
    assert done.out == f"{mode}\n"


def test_mount_says_where_a_volume_is(rpod: Command, image: str) -> None:
    rpod("volume", "create", "data")
    outside = rpod("volume", "mount", "data", check=False)
    assert outside.code == 125 and "in rootless mode, must execute" in outside.err
    where = rpod("volume", "inspect", "-f", "{{.Mountpoint}}", "data").out
    assert rpod.shell("$RPOD unshare $RPOD volume mount data").out == where
    assert rpod("volume", "unmount", "data").out == "data\n"
    assert rpod.shell("$RPOD unshare $RPOD volume mount absent", check=False).code == 125


def test_volume_that_belongs_to_another_user_is_removed(rpod: Command, image: str) -> None:
    for name in ("v1", "v2", "v3", "v4"):  # whatever order a directory is read in
        rpod("run", "--rm", "-v", f"{name}:/v", image, "sh", "-c", "touch /v/f; chown -R 5:5 /v")
    assert rpod("volume", "rm", "v1", "v2", "v3", "v4").lines == ["v1", "v2", "v3", "v4"]
    assert rpod("volume", "ls", "-q").out == ""
