"""`rpod shell`: at home in an image."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.accounts import Account
from tests.support.command import Command
from tests.system.conftest import check_nothing_left, clean, make_command, traces

pytestmark = pytest.mark.rpod_only
IMAGE = "localhost/shelled"


@pytest.fixture(scope="module", params=["range", "single"])
def unpacked(request: pytest.FixtureRequest, busybox_tar: str) -> Iterator[Command]:
    """The command of an account, with and without subordinate ids, that has an image."""
    name = "account" if request.param == "range" else "account_without_ids"
    account: Account = request.getfixturevalue(name)
    command = make_command(account, account.environment())
    command("import", busybox_tar, IMAGE)
    command("shell", IMAGE, "true")  # unpacked for the id map
    yield command
    command("rmi", "--force", IMAGE)


@pytest.fixture
def person(unpacked: Command) -> Iterator[tuple[Command, str]]:
    before = traces(unpacked.account)
    yield unpacked, IMAGE
    clean(unpacked)
    check_nothing_left(unpacked, before)


@pytest.fixture
def project(person: tuple[Command, str]) -> Iterator[str]:
    """A directory of the account below its home."""
    account = person[0].account
    path = f"{account.home}/project"
    os.makedirs(f"{path}/sub")
    for one in (path, f"{path}/sub"):
        os.chown(one, account.uid, account.gid)
    yield path
    shutil.rmtree(path)


def write(person: tuple[Command, str], path: str, text: str, mode: int = 0o644) -> None:
    account = person[0].account
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chown(path, account.uid, account.gid)
    os.chmod(path, mode)


def test_it_is_the_caller_at_home(person: tuple[Command, str]) -> None:
    rpod, image = person
    account = rpod.account
    script = "id -u; id -g; id -un; echo $HOME; pwd; echo $LANG; hostname; umask; touch made"
    done = rpod("shell", image, "sh", "-c", script, cwd=account.home)
    uid, gid, *rest = done.lines
    assert (uid, gid) == (str(account.uid), str(account.gid))
    assert rest == [
        account.name, account.home, account.home, "C.UTF-8", os.uname().nodename, "0022"
    ]  # fmt: skip
    made = os.stat(f"{account.home}/made")
    assert (made.st_uid, made.st_gid) == (account.uid, account.gid)
    assert done.err == ""
    os.unlink(f"{account.home}/made")


def test_as_root_it_is_still_the_caller_outside(person: tuple[Command, str]) -> None:
    rpod, image = person
    account = rpod.account
    done = rpod("shell", "--as-root", image, "sh", "-c", "id -u; touch made", cwd=account.home)
    assert done.lines == ["0"]
    assert os.stat(f"{account.home}/made").st_uid == account.uid
    os.unlink(f"{account.home}/made")


def test_an_agents_socket_is_there_and_a_stale_one_no_harm(person: tuple[Command, str]) -> None:
    rpod, image = person
    listener = f"{rpod.account.runtime_dir}/agent"
    rpod.shell(f"touch {listener}")
    script = "test -e $SSH_AUTH_SOCK && echo there; echo $LD_PRELOAD-$PYTHONPATH"
    env = {"SSH_AUTH_SOCK": listener, "PYTHONPATH": "/host", "XDG_RUNTIME_DIR": ""}
    assert rpod("shell", image, "sh", "-c", script, env=env).lines == ["there", "-"]
    env = {"SSH_AUTH_SOCK": "/nowhere/agent", "TMPDIR": "/nowhere"}
    assert rpod("shell", image, "sh", "-c", script, env=env).lines == ["-"]


def test_it_is_a_shell_on_a_terminal(person: tuple[Command, str]) -> None:
    rpod, image = person
    terminal = rpod.pty("shell", image)
    terminal.sendline("tty; echo in-$((40+2))")
    terminal.expect("/dev/pts/.*in-42")
    terminal.sendline("exit 5")
    terminal.expect("\\Z|$")
    terminal.wait()
    assert terminal.exitstatus == 5


def test_without_an_image_the_project_decides(person: tuple[Command, str], project: str) -> None:
    rpod, image = person
    write(
        person,
        f"{project}/rpod.toml",
        f'image = "{image}"\ncommand = ["sh", "-c", "echo $GREETING; pwd; ls /data"]\n'
        'mounts = ["./sub:/data"]\nenv = { GREETING = "hello" }\n',
    )
    write(person, f"{project}/sub/seen", "")
    done = rpod("shell", cwd=f"{project}/sub")
    assert done.lines == ["hello", f"{project}/sub", "seen"]
    done = rpod("shell", "-e", "GREETING=other", ".", "sh", "-c", "echo $GREETING", cwd=project)
    assert done.lines == ["other"]


def test_in_a_project_the_words_are_the_command(person: tuple[Command, str], project: str) -> None:
    rpod, image = person
    write(person, f"{project}/rpod.toml", f'image = "{image}"\n')
    base = image.removeprefix("localhost/")
    before: tuple[tuple[str, ...], ...] = (
        (), ("--",), (".",), (image,), (f"{base}:latest",), ("--join",),
        ("--project", f"{project}/rpod.toml"), ("--keep", "mine"), ("--keep", "mine", image),
    )  # fmt: skip
    for words in before:
        done = rpod("shell", *words, "echo", "in", cwd=f"{project}/sub")
        assert done.out == "in\n", words
    # What the store has does not decide.
    failed = rpod("shell", base, cwd=f"{project}/sub", check=False)
    assert failed.code == 127
    assert f"for an image: rpod shell {base}:TAG" in failed.err
    said = rpod("shell", "--project", f"{project}/rpod.toml", image, check=False)
    assert (said.code, "--project says which image" in said.err) == (125, True)
    # A shell that is there has its image also without a project.
    os.unlink(f"{project}/rpod.toml")
    assert rpod("shell", "--keep", "mine", "echo", "kept").out == "kept\n"
    rpod("rm", "-f", "mine")


def test_a_containerfile_is_built_once(person: tuple[Command, str], project: str) -> None:
    rpod, image = person
    write(person, f"{project}/Containerfile", f"FROM {image}\nRUN echo built > /made\n")
    write(person, f"{project}/rpod.toml", 'containerfile = "Containerfile"\n')
    first = rpod("shell", ".", "cat", "/made", cwd=project)
    assert first.lines == ["built"]
    assert "RUN echo built" in first.err
    second = rpod("shell", ".", "cat", "/made", cwd=project)
    assert (second.lines, second.err) == (["built"], "")
    name = next(line for line in rpod("images").lines if "localhost/shell-project" in line)
    rpod("rmi", "--force", name.split()[2])


def test_somebody_elses_project_is_refused(
    person: tuple[Command, str], project: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files planted in places where many may write: owner, modes, links, a missing one's parent."""
    if os.getuid() != 0:
        pytest.skip("needs a second user: run as root")
    rpod, image = person
    place = str(tmp_path_factory.mktemp("planted"))
    for path in (place, os.path.dirname(place), os.path.dirname(os.path.dirname(place))):
        os.chmod(path, 0o1777 if path == place else 0o755)
    os.makedirs(f"{place}/below", mode=0o755)
    planted = f'image = "{image}"\ncommand = ["touch", "{rpod.account.home}/owned"]\n'
    with open(f"{place}/rpod.toml", "w", encoding="utf-8") as file:
        file.write(planted)

    def refused(cwd: str) -> None:
        done = rpod("shell", cwd=cwd, check=False)
        assert done.code == 125
        assert f"{cwd.removesuffix('/below')}/rpod.toml is not used: " in done.err
        assert len(done.err.splitlines()) == 2
        assert not os.path.exists(f"{rpod.account.home}/owned")

    refused(f"{place}/below")  # another owner
    os.unlink(f"{place}/rpod.toml")
    write(person, f"{project}/mine.toml", planted)
    os.link(f"{project}/mine.toml", f"{place}/rpod.toml")
    refused(place)  # the caller's own file, in a directory that is not: a hard link
    os.unlink(f"{place}/rpod.toml")
    os.symlink(f"{project}/mine.toml", f"{place}/rpod.toml")
    refused(place)
    os.symlink(f"{place}/other.toml", f"{project}/rpod.toml")
    with open(f"{place}/other.toml", "w", encoding="utf-8") as file:
        file.write(planted)
    refused(project)  # a link of the caller's to what somebody else may change
    assert rpod("shell", image, "true", cwd=place).code == 0  # an image by name asks no file
    done = rpod("shell", "--project", f"{place}/other.toml", ".", "echo", "read", cwd=place)
    assert done.lines == ["read"]


def test_a_kept_shell_keeps(person: tuple[Command, str]) -> None:
    rpod, image = person
    script = "echo one > /kept; chown 5:6 /kept; stat -c %u:%g /kept"
    done = rpod("shell", "--keep", "box", "--as-root", image, "sh", "-c", script)
    assert done.lines == ["5:6"]  # packages are installed there, with a single id too
    assert rpod("ps", "-q").lines == []  # nothing runs when nobody is in it
    assert rpod("shell", "--keep", "box", ".", "cat", "/kept").lines == ["one"]
    first = rpod.spawn(
        "shell",
        "--keep",
        "box",
        ".",
        "sh",
        "-c",
        "echo in; sleep 2; exit 3",
        stderr=subprocess.DEVNULL,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == b"in\n"
    assert rpod("shell", "--keep", "box", ".", "cat", "/kept").lines == ["one"]
    assert first.wait() == 3  # the one who leaves first takes nothing from the other
    first.stdout.close()
    done = rpod("shell", "--keep", "box", "localhost/other", "true", check=False)
    assert (done.code, "was made from" in done.err) == (125, True)


def test_a_kept_shell_outlives_a_killed_client(person: tuple[Command, str]) -> None:
    rpod, image = person
    client = rpod.spawn(
        "shell", "--keep", "box", image, "sh", "-c", "echo in; sleep 100", stderr=subprocess.DEVNULL
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"in\n"
    client.kill()
    client.wait()
    client.stdout.close()
    assert rpod("shell", "--keep", "box", ".", "echo", "again").lines == ["again"]
    assert rpod("ps", "-q").lines == []


def test_without_a_home(person: tuple[Command, str]) -> None:
    rpod, image = person
    store = f"{rpod.account.home}/.local/share/rpod"
    env = {"HOME": "/nowhere", "XDG_DATA_HOME": os.path.dirname(store)}
    done = rpod("shell", image, "pwd", env=env)
    assert done.lines == ["/"]
    assert done.err == "Note: the home directory /nowhere is not there: the shell has none\n"
    done = rpod("shell", "--home=false", image, "sh", "-c", "ls -A $HOME; touch $HOME/f")
    assert done.lines == []
    assert not os.path.exists(f"{rpod.account.home}/f")


def test_a_copy_of_the_host_is_thrown_away(person: tuple[Command, str], project: str) -> None:
    rpod, _ = person
    write(person, f"{project}/file", "before\n")
    script = "id -un; pwd; echo after > file; rm -rf sub; cat file; ls; ls -d /usr/bin /proc/self"
    done = rpod("shell", "--rootfs", "/", "sh", "-c", script, cwd=project)
    assert done.lines == [rpod.account.name, project, "after", "file", "/proc/self", "/usr/bin"]
    with open(f"{project}/file", encoding="utf-8") as file:
        assert file.read() == "before\n"
    assert sorted(os.listdir(project)) == ["file", "sub"]


def test_a_copy_shows_nothing_that_the_caller_may_not_see(person: tuple[Command, str]) -> None:
    rpod, _ = person
    script = "cat /etc/shadow; ls /root; touch /proc/sys/kernel/x; ls /dev/shm /dev/null"
    done = rpod("shell", "--rootfs", "/", "sh", "-c", f"{script}; true")
    assert done.lines[0] == "/dev/null"
    assert done.err.count("Permission denied") + done.err.count("No such file") >= 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--rootfs", "/nowhere"), "--rootfs /nowhere: not a directory"),
        (("--rootfs", "/root"), "you may not read it"),
        (("--rootfs", "/", "--as-root"), "--rootfs and --as-root: "),
        (("--rootfs", "/", "--keep", "x"), "--rootfs and --keep do not go together"),
    ],
)
def test_a_copy_that_cannot_be(person: tuple[Command, str], argv: list[str], said: str) -> None:
    rpod, _ = person
    done = rpod("shell", *argv, "true", check=False)
    assert done.code == 125
    assert said in done.err


def test_a_jobs_directory_that_has_another_group(
    fresh_rpod: Command, docker_archive: str, account_dir: str
) -> None:
    """Root of a namespace of other ids has no right to it; the image is found all the same."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to give a directory to a group")
    job = f"{account_dir}/job"
    os.mkdir(job, 0o700)
    os.chown(job, fresh_rpod.account.uid, 0)
    fresh_rpod.environment["RPOD_NODE_ROOT"] = job
    fresh_rpod("load", "-q", "-i", docker_archive)
    done = fresh_rpod("shell", images.NAME, "id", "-u")
    assert done.out == f"{fresh_rpod.account.uid}\n"


def test_a_store_that_root_of_other_ids_cannot_reach_is_told(
    fresh_rpod: Command, docker_archive: str, account_dir: str
) -> None:
    """A directory of a project on a cluster: its user's own, its group's, closed to others."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to give a directory to a group")
    job = f"{account_dir}/closed"
    os.mkdir(job, 0o700)
    os.chown(job, fresh_rpod.account.uid, 0)
    fresh_rpod.environment["RPOD_ROOT"] = f"{job}/store"
    fresh_rpod("load", "-q", "-i", docker_archive)
    assert fresh_rpod("run", "--rm", images.NAME, "id", "-u").out == "0\n"
    for mode in ("keep-id", "auto", "nomap"):
        done = fresh_rpod("run", "--rm", f"--userns={mode}", images.NAME, "true", check=False)
        assert done.code == 125
        assert f"{job} is closed to others (0700), and its group 0" in done.err
        assert f"chmod o+x {job}" in done.err
    os.chmod(job, 0o701)
    assert fresh_rpod("run", "--rm", "--userns=keep-id", images.NAME, "true").code == 0
