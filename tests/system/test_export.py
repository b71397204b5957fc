"""`export` and `rename`."""

import io
import tarfile

import pytest

from tests.support.command import Command

SCRIPT = "echo new >/made; chown 1000:1000 /made; rm /bin/vi; mkdir -p /vol; sleep 1000"


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_export_is_the_root_without_mounts(
    rpod: Command, image: str, account_dir: str, state: str
) -> None:
    rpod("run", "-d", "--name", "whole", "-v", "/vol", image, "sh", "-c", SCRIPT)
    while rpod("exec", "whole", "ls", "/bin/vi", check=False).code == 0:
        pass
    rpod("exec", "whole", "touch", "/vol/in-volume")
    if state == "stopped":
        rpod("stop", "-t", "0", "whole")
    # not to standard output: podman opens /dev/stdout, which may be somebody else's pipe
    rpod("export", "-o", f"{account_dir}/root.tar", "whole")
    with tarfile.open(f"{account_dir}/root.tar") as archive:
        names = archive.getnames()
        made = archive.getmember("made")
    assert (made.uid, made.gid, made.size) == (1000, 1000, 4)
    assert "bin/busybox" in names
    assert "bin/vi" not in names
    assert not [name for name in names if name.startswith(("proc/", "sys/", "vol/"))]


def test_export_to_a_file_and_import(rpod: Command, image: str, account_dir: str) -> None:
    rpod("run", "--name", "once", image, "sh", "-c", "echo kept >/file")
    rpod("export", "-o", f"{account_dir}/root.tar", "once")
    rpod("import", "-q", f"{account_dir}/root.tar", "exported:1")
    try:
        assert rpod("run", "--rm", "exported:1", "cat", "/file").out == "kept\n"
    finally:
        rpod("rmi", "-f", "exported:1")


@pytest.mark.rpod_only
def test_export_to_standard_output(rpod: Command, image: str) -> None:
    rpod("create", "--name", "piped", image, "true")
    done = rpod("export", "piped")
    with tarfile.open(fileobj=io.BytesIO(done.out_bytes)) as archive:
        assert "bin/busybox" in archive.getnames()


def test_export_of_nothing(rpod: Command) -> None:
    done = rpod("export", "nothing", check=False)
    assert done.code == 125, done.told
    assert "no container with name" in done.err


def test_export_refuses_a_terminal(rpod: Command, image: str) -> None:
    rpod("create", "--name", "shown", image, "true")
    terminal = rpod.pty("export", "shown")
    terminal.expect("refusing to export to terminal")
    terminal.wait()


def test_rename(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "before", image, "sleep", "1000")
    rpod("rename", "before", "after")
    assert rpod("inspect", "--format", "{{.Name}}", "after").out == "after\n"
    assert rpod("inspect", "before", check=False).code == 125
    rpod("create", "--name", "before", image, "true")
    taken = rpod("rename", "after", "before", check=False)
    assert taken.code == 125, taken.told
    assert "already in use" in taken.err
    assert rpod("rename", "after", "no/name", check=False).code == 125
    assert rpod("rename", "nothing", "x", check=False).code == 125


def test_renamed_container_frees_its_name_with_rm(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--rm", "--name", "one", image, "sleep", "1000")
    rpod("rename", "one", "two")
    rpod("stop", "-t", "0", "two")
    rpod("run", "--rm", "--name", "two", image, "true")
    rpod("run", "--rm", "--name", "one", image, "true")
