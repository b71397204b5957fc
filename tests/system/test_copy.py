"""`cp`: between containers and the host, whatever runs and whatever is hostile."""

import io
import os
import tarfile
import time

import pytest

from tests.support.command import Command

SCRIPT = (
    "mkdir -p /d/sub; echo text >/d/file; ln -s /d/file /link; ln -s /d /dlink;"
    " ln -s file /d/relative; touch /made; sleep 1000"
)


@pytest.fixture(params=["running", "stopped"])
def source(request: pytest.FixtureRequest, rpod: Command, image: str) -> str:
    rpod("run", "-d", "--name", "source", image, "sh", "-c", SCRIPT)
    end_s = time.monotonic() + 20
    while rpod("exec", "source", "test", "-e", "/made", check=False).code:
        assert time.monotonic() < end_s
    if request.param == "stopped":
        rpod("stop", "-t", "0", "source")
    return "source"


def listing(path: str) -> list[str]:
    found = []
    for directory, directories, files in os.walk(path):
        found += [os.path.relpath(os.path.join(directory, name), path) for name in files]
        found += [os.path.relpath(os.path.join(directory, name), path) for name in directories]
    return sorted(found)


WHOLE = ["file", "relative", "sub"]


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/d/file", "", ["file"]),
        ("/d/file", "/new", ["new"]),
        ("/link", "", ["file"]),
        ("d/file", "", ["file"]),
        ("/d", "", ["d", *(f"d/{name}" for name in WHOLE)]),
        ("/d/", "", ["d", *(f"d/{name}" for name in WHOLE)]),
        ("/dlink", "", ["d", *(f"d/{name}" for name in WHOLE)]),
        ("/d", "/new", ["new", *(f"new/{name}" for name in WHOLE)]),
        ("/d/.", "/new", ["new", *(f"new/{name}" for name in WHOLE)]),
        ("/d/.", "", WHOLE),
    ],
)
def test_names_out_of_a_container(
    rpod: Command, source: str, account_dir: str, path: str, target: str, expected: list[str]
) -> None:
    rpod("cp", f"{source}:{path}", account_dir + target)
    assert listing(account_dir) == sorted(expected)


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("/nothing", "/new", "could not be found on container source"),
        ("/d/file", "/missing/new", "could not be found on the host"),
        ("/d/file", "/missing/", "could not be found on the host"),
        ("/d", "/missing/", "could not be found on the host"),
        ("/d", "/here", "destination must be a directory when copying a directory"),
    ],
)
def test_refusals(
    rpod: Command, source: str, account_dir: str, path: str, target: str, message: str
) -> None:
    rpod.shell(f"echo old >{account_dir}/here")
    done = rpod("cp", f"{source}:{path}", account_dir + target, check=False)
    assert done.code == 125, done.told
    assert message in done.err
    assert listing(account_dir) == ["here"]


def test_into_a_container(rpod: Command, source: str, image: str, account_dir: str) -> None:
    rpod.shell(f"cd {account_dir}; mkdir -p t/in; echo one >t/in/f; echo two >t/g; ln -s g t/l")
    rpod("cp", f"{account_dir}/t", f"{source}:/whole")
    rpod("cp", f"{account_dir}/t", f"{source}:/d")
    rpod("cp", f"{account_dir}/t/.", f"{source}:/d/sub")
    rpod("cp", f"{account_dir}/t/g", f"{source}:/link")
    os.mkdir(f"{account_dir}/back", 0o777)
    os.chmod(f"{account_dir}/back", 0o777)
    rpod("cp", f"{source}:/whole", f"{account_dir}/back")
    rpod("cp", f"{source}:/d", f"{account_dir}/back")
    assert listing(f"{account_dir}/back/whole") == ["g", "in", "in/f", "l"]
    assert listing(f"{account_dir}/back/d/t") == ["g", "in", "in/f", "l"]
    assert listing(f"{account_dir}/back/d/sub") == ["g", "in", "in/f", "l"]
    with open(f"{account_dir}/back/d/file", encoding="ascii") as file:
        assert file.read() == "two\n"


def test_owner_is_the_user_of_the_container(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo x >{account_dir}/f; chmod 640 {account_dir}/f")
    rpod("run", "-d", "--name", "own", "-u", "1000", image, "sleep", "1000")
    rpod("cp", f"{account_dir}/f", "own:/tmp/mine")
    rpod("cp", "-a=false", f"{account_dir}/f", "own:/tmp/kept")
    script = "stat -c '%u:%g %a' /tmp/mine /tmp/kept"
    assert rpod("exec", "own", "sh", "-c", script).lines == ["1000:1000 640", "0:0 640"]


@pytest.mark.rpod_only  # podman waits for its own lock for ever
def test_within_one_container(rpod: Command, source: str, account_dir: str) -> None:
    rpod("cp", f"{source}:/d/file", f"{source}:/d/copy")
    rpod("cp", f"{source}:/d/copy", account_dir)
    assert listing(account_dir) == ["copy"]


def test_from_container_to_container(rpod: Command, source: str, image: str) -> None:
    rpod("create", "--name", "second", image, "cat", "/copied/file")
    rpod("cp", f"{source}:/d/.", "second:/copied")
    assert rpod("start", "-a", "second").out == "text\n"


def test_volume_is_in_its_place(rpod: Command, image: str, account_dir: str) -> None:
    rpod.shell(f"echo deep >{account_dir}/f; mkdir {account_dir}/bound")
    for command, name in (("create", "still"), ("run -d", "live")):
        volumes = ("-v", f"vol-{name}:/vol", "-v", f"{account_dir}/bound:/bound")
        rpod(*command.split(), "--name", name, *volumes, image, "sleep", "1000")
        rpod("cp", f"{account_dir}/f", f"{name}:/vol/f")
        rpod("cp", f"{account_dir}/f", f"{name}:/bound/{name}")
        shown = rpod("run", "--rm", "-v", f"vol-{name}:/v", image, "cat", "/v/f")
        assert shown.out == "deep\n"
    assert listing(f"{account_dir}/bound") == ["live", "still"]


def test_streams(rpod: Command, source: str, account_dir: str) -> None:
    done = rpod("cp", f"{source}:/d", "-")
    with tarfile.open(fileobj=io.BytesIO(done.out_bytes)) as archive:
        assert sorted(archive.getnames()) == ["d", "d/file", "d/relative", "d/sub"]
    rpod("cp", "-", f"{source}:/d/sub", input=done.out_bytes)
    rpod("cp", f"{source}:/d/sub/d/file", account_dir)
    assert listing(account_dir) == ["file"]
    refused = rpod("cp", "-", f"{source}:/d/file", input=done.out_bytes, check=False)
    assert refused.code == 125, refused.told
    assert "destination must be a directory" in refused.err


@pytest.mark.rpod_only
def test_sparse_files_hard_links_and_attributes_are_kept(
    rpod: Command, image: str, account_dir: str
) -> None:
    rpod.shell(
        f"mkdir {account_dir}/t; cd {account_dir}/t; truncate -s 64M hole; echo end >>hole;"
        " echo x >a; ln a b; chmod 2755 a"
    )
    os.setxattr(f"{account_dir}/t/hole", "user.colour", b"red")
    rpod("create", "--name", "kept", image, "true")
    rpod("cp", f"{account_dir}/t", "kept:/t")
    rpod("cp", "kept:/t", f"{account_dir}/back")
    hole = os.stat(f"{account_dir}/back/hole")
    assert hole.st_size == (64 << 20) + 4
    assert hole.st_blocks * 512 < 1 << 20
    assert os.getxattr(f"{account_dir}/back/hole", "user.colour") == b"red"
    assert os.stat(f"{account_dir}/back/a").st_ino == os.stat(f"{account_dir}/back/b").st_ino
    # what leaves a container must not become a setgid program of the caller
    assert os.stat(f"{account_dir}/back/a").st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("command", [("run", "-d"), ("create",)], ids=["running", "stopped"])
def test_links_of_a_container_lead_nowhere_else(
    rpod: Command, image: str, account_dir: str, command: tuple[str, ...]
) -> None:
    secret = f"{account_dir}/secret"
    rpod.shell(f"mkdir {account_dir}/out; echo outside >{secret}; echo evil >{account_dir}/evil")
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w") as archive:
        for name, target in (
            ("absolute", secret),
            ("directory", account_dir),
            ("up", "../../../../../../../../../.." + account_dir),
            ("magic", "/proc/self/root" + account_dir),
            ("magic1", "/proc/1/cwd/../../../../../.." + account_dir),
            ("descriptor", "/proc/self/fd/3/" + account_dir),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    rpod(*command, "--name", "hostile", image, "sleep", "1000")
    rpod("cp", "-", "hostile:/tmp", input=links.getvalue())
    for path in ("absolute", "directory/secret", "up/secret", "magic/secret", "magic1/secret"):
        done = rpod("cp", f"hostile:/tmp/{path}", f"{account_dir}/out", check=False)
        assert done.code == 125, done.told
    for path in ("directory/x", "up/x", "magic/x", "magic1/x", "descriptor/x", "absolute"):
        rpod("cp", f"{account_dir}/evil", f"hostile:/tmp/{path}", check=False)
    assert listing(account_dir) == ["evil", "out", "secret"]
    with open(secret, encoding="ascii") as file:
        assert file.read() == "outside\n"


def test_link_to_what_is_not_there_leads_to_the_new_file(
    rpod: Command, source: str, account_dir: str
) -> None:
    rpod.shell(
        f"echo new >{account_dir}/new; cd {account_dir}; ln -s /d/made away; ln -s /no/where lost;"
        f" ln -s ../near near; tar c away lost near | $RPOD cp - {source}:/d/sub"
    )
    rpod("cp", f"{account_dir}/new", f"{source}:/d/sub/away")
    assert rpod.shell(f"$RPOD cp {source}:/d/made - | tar xO").out == "new\n"
    rpod("cp", f"{account_dir}/new", f"{source}:/d/sub/near")
    assert rpod.shell(f"$RPOD cp {source}:/d/near - | tar xO").out == "new\n"
    assert rpod("cp", f"{account_dir}/new", f"{source}:/d/sub/lost", check=False).code == 125


def test_archive_with_dots_is_refused(rpod: Command, image: str) -> None:
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../up"))
    rpod("create", "--name", "dots", image, "true")
    done = rpod("cp", "-", "dots:/tmp", input=hostile.getvalue(), check=False)
    assert rpod("cp", "dots:/up", "-", check=False).code == 125, done.told


@pytest.mark.rpod_only
def test_directory_is_not_replaced_unless_asked(
    rpod: Command, source: str, account_dir: str
) -> None:
    rpod.shell(f"mkdir -p {account_dir}/t/file; echo x >{account_dir}/t/file/in")
    done = rpod("cp", f"{account_dir}/t/.", f"{source}:/d", check=False)
    assert done.code == 125, done.told
    assert "cannot overwrite non-directory" in done.err
    rpod("cp", "--overwrite", f"{account_dir}/t/.", f"{source}:/d")
    rpod("cp", f"{source}:/d/file/in", f"{account_dir}/got")


@pytest.mark.rpod_only
def test_file_that_is_a_mount_point_is_written_in_place(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "mounted", image, "sleep", "1000")
    hosts = io.BytesIO()
    with tarfile.open(fileobj=hosts, mode="w") as archive:
        member = tarfile.TarInfo("hosts")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"new\n"))
    rpod("cp", "-", "mounted:/etc", input=hosts.getvalue())
    assert rpod("exec", "mounted", "cat", "/etc/hosts").out == "new\n"
