"""Volumes as archives and with options; overlays, images and parts of trees as mounts."""

import json
import os

import pytest

from tests.support.command import Command


def test_volume_goes_out_and_in(rpod: Command, image: str, account_dir: str) -> None:
    script = "echo text >/d/file; mkdir /d/dir; chown 1000:5 /d/dir; ln -s file /d/link"
    rpod("run", "--rm", "-v", "one:/d", image, "sh", "-c", script)
    rpod("volume", "export", "-o", f"{account_dir}/v.tar", "one")
    rpod("volume", "create", "two")
    rpod("volume", "import", "two", f"{account_dir}/v.tar")
    script = "cat /d/link; stat -c %u:%g /d/dir"
    assert rpod("run", "--rm", "-v", "two:/d", image, "sh", "-c", script).lines == [
        "text",
        "1000:5",
    ]


def test_volume_goes_through_a_pipe(rpod: Command, image: str) -> None:
    rpod("run", "--rm", "-v", "one:/d", image, "sh", "-c", "echo text >/d/file")
    rpod("volume", "create", "two")
    rpod.shell("$RPOD volume export one | gzip | $RPOD volume import two -")
    assert rpod("run", "--rm", "-v", "two:/d", image, "cat", "/d/file").out == "text\n"


@pytest.mark.rpod_only  # podman 4.3 follows it
def test_import_follows_no_link_out(rpod: Command, image: str, account_dir: str) -> None:
    rpod("run", "--rm", "-v", "one:/d", image, "ln", "-s", account_dir, "/d/way-out")
    rpod.shell(f"mkdir -p {account_dir}/src/way-out && touch {account_dir}/src/way-out/planted")
    rpod.shell(f"tar -C {account_dir}/src -cf {account_dir}/t.tar way-out/planted")
    rpod("volume", "import", "one", f"{account_dir}/t.tar", check=False)
    assert not os.path.exists(f"{account_dir}/planted")


@pytest.mark.rpod_only  # podman takes an empty file for an archive
def test_import_wants_a_volume_and_an_archive(rpod: Command, account_dir: str) -> None:
    assert rpod("volume", "import", "none", "/dev/null", check=False).code == 125
    rpod("volume", "create", "one")
    for name, data in (("empty", b""), ("noise", b"noise" * 300)):
        with open(f"{account_dir}/{name}", "wb") as file:
            file.write(data)
        done = rpod("volume", "import", "one", f"{account_dir}/{name}", check=False)
        assert done.code == 125, done.told


@pytest.mark.rpod_only  # podman changes the owner of the mounted directory
def test_volume_of_a_directory_read_only(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo text >{account_dir}/file")
    options = ("-o", "type=none", "-o", "o=bind,ro", "-o", f"device={account_dir}")
    rpod("volume", "create", *options, "bound")
    script = "cat /d/file; touch /d/x || echo refused"
    done = rpod("run", "--rm", "-v", "bound:/d", image, "sh", "-c", script)
    assert done.lines == ["text", "refused"]


@pytest.mark.rpod_only  # podman wants a project quota for the size
def test_volume_in_memory(rpod: Command, image: str) -> None:
    rpod("volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=0700", "mem")
    script = "stat -f -c %T /d; df -k /d | tail -1 | awk '{print $2}'; ls /d; touch /d/x"
    command = ("run", "--rm", "-v", "mem:/d", image, "sh", "-c", script)
    assert rpod(*command).lines == ["tmpfs", "1024"]
    assert rpod(*command).lines == ["tmpfs", "1024"]
    rpod("create", "--name", "c", "-v", "mem:/d", image, "true")
    (mount,) = json.loads(rpod("inspect", "c").out)[0]["Mounts"]
    assert (mount["Type"], mount["Name"]) == ("volume", "mem")
    assert rpod("volume", "rm", "mem", check=False).code == 2


@pytest.mark.parametrize(
    "options",
    [("type=nfs", "device=host:/x"), ("type=none", "o=bind", "device=relative"), ("frob=1",),
     ("type=tmpfs", "o=frob"), ("type=ext4", "device=/dev/sda")],
)  # fmt: skip
@pytest.mark.rpod_only
def test_wrong_volume_options_make_nothing(rpod: Command, options: tuple[str, ...]) -> None:
    words = [word for option in options for word in ("-o", option)]
    assert rpod("volume", "create", *words, "wrong", check=False).code == 125
    assert rpod("volume", "ls", "-q").out == ""


def test_overlay_over_a_directory_leaves_it_alone(
    rpod: Command, image: str, account_dir: str
) -> None:
    rpod.shell(f"echo text >{account_dir}/file")
    script = "ls /d; echo changed >/d/file; touch /d/new; cat /d/file"
    rpod("create", "--name", "c", "-v", f"{account_dir}:/d:O", image, "sh", "-c", script)
    for _ in range(2):  # each start begins anew
        assert rpod("start", "-a", "c").lines == ["file", "changed"]
    assert os.listdir(account_dir) == ["file"]
    assert rpod.shell(f"cat {account_dir}/file").out == "text\n"


@pytest.mark.rpod_only
def test_overlay_keeps_its_changes_where_it_is_told(
    rpod: Command, image: str, account_dir: str
) -> None:
    rpod.shell(f"cd {account_dir} && mkdir low up work && echo text >low/file")
    volume = f"{account_dir}/low:/d:O,upperdir={account_dir}/up,workdir={account_dir}/work"
    rpod("run", "--rm", "-v", volume, image, "touch", "/d/new")
    assert os.listdir(f"{account_dir}/up") == ["new"]
    assert os.listdir(f"{account_dir}/low") == ["file"]
    rpod.shell(f"rm -rf {account_dir}/work")


def test_overlay_with_keep_id(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo text >{account_dir}/file")
    options = ("--rm", "--userns=keep-id", "-v", f"{account_dir}:/d:O")
    script = "cat /d/file; echo more >>/d/file && tail -1 /d/file"
    assert rpod("run", *options, image, "sh", "-c", script).lines == ["text", "more"]


@pytest.mark.parametrize("options", ["O,ro", "O,upperdir=/x", "O,upperdir=x,workdir=y"])
@pytest.mark.rpod_only
def test_wrong_overlay_options_are_refused(
    rpod: Command, image: str, account_dir: str, options: str
) -> None:
    done = rpod("run", "--rm", "-v", f"{account_dir}:/d:{options}", image, "true", check=False)
    assert done.code == 125
    assert "invalid mount" in done.err


def test_image_as_a_mount(rpod: Command, image: str) -> None:
    mount = f"type=image,source={image},target=/i"
    script = "cat /i/home/alice/notes; touch /i/x || echo refused"
    done = rpod("run", "--rm", "--mount", mount, image, "sh", "-c", script)
    assert done.lines == ["of alice", "refused"]


def test_image_as_a_mount_that_is_written_to(rpod: Command, image: str) -> None:
    mount = f"type=image,source={image},target=/i,rw=true"
    command = ("run", "--rm", "--mount", mount, image, "sh", "-c", "ls /i/x; touch /i/x && echo ok")
    assert [rpod(*command).out for _ in range(2)] == ["ok\n", "ok\n"]


@pytest.mark.rpod_only
def test_part_of_an_image_and_of_a_volume(rpod: Command, image: str) -> None:
    mount = f"type=image,source={image},target=/i,subpath=home/alice"
    assert rpod("run", "--rm", "--mount", mount, image, "cat", "/i/notes").out == "of alice\n"
    rpod("run", "--rm", "-v", "v:/d", image, "sh", "-c", "mkdir -p /d/a/b; echo text >/d/a/b/c")
    mount = "type=volume,source=v,target=/p,subpath=a/b"
    assert rpod("run", "--rm", "--mount", mount, image, "cat", "/p/c").out == "text\n"


@pytest.mark.rpod_only
def test_subpath_leads_nowhere_else(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo outside >{account_dir}/file")
    rpod("run", "--rm", "-v", "v:/d", image, "ln", "-s", account_dir, "/d/way-out")
    for subpath in ("way-out", f"../../../../../..{account_dir}", "missing"):
        mount = f"type=volume,source=v,target=/p,subpath={subpath}"
        done = rpod("run", "--rm", "--mount", mount, image, "cat", "/p/file", check=False)
        assert done.code != 0, done.told
        assert "outside" not in done.out


@pytest.mark.rpod_only  # podman makes the container and ends with 126
def test_image_that_is_not_there_is_no_mount(rpod: Command, image: str) -> None:
    mount = "type=image,source=localhost/missing,target=/i"
    done = rpod("run", "--name", "c", "--mount", mount, image, "true", check=False)
    assert done.code == 125
    assert "missing" in done.err
