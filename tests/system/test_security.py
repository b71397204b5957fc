"""Attempts to get out of a container, or into one: each sentence of docs/security.md is tried."""

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import InAccount
from tests.support import accounts, images
from tests.support.accounts import Account
from tests.support.command import Command
from tests.support.images import File, directory, symlink

pytestmark = pytest.mark.rpod_only

SECRET = "swordfish-of-the-host"
SECRET_ENV = {"SECRET_OF_HOST": SECRET}
MakeImage = Callable[..., str]


@pytest.fixture
def make_image(rpod: Command, account_dir: str) -> Iterator[MakeImage]:
    """Put an image with more or other files into the store; returns its name."""
    made: list[str] = []

    def make(*files: File, without: tuple[str, ...] = (), **config: object) -> str:
        replaced = {file.name for file in files} | set(without)
        base = [
            file
            for file in images.busybox_files()
            if not any(file.name == name or file.name.startswith(f"{name}/") for name in replaced)
        ]
        name = f"localhost/hostile-{len(made)}:latest"
        whole = {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin"], **config}
        path = f"{account_dir}/hostile-{len(made)}.tar"
        with open(path, "wb") as out:
            out.write(images.docker_archive([images.tar([*base, *files])], whole, name))
        os.chmod(path, 0o644)
        rpod("load", "--input", path)
        made.append(name)
        return name

    yield make
    for name in made:
        rpod("rmi", "--force", name, check=False)


@pytest.fixture
def victim(account: Account, account_dir: str) -> Iterator[str]:
    """A directory of the account that no container was given; nothing in it may change."""
    path = f"{account_dir}/victim"
    os.mkdir(path)
    with open(f"{path}/passwd", "w", encoding="ascii") as file:
        file.write("mallory:x:4242:4242::/:/bin/sh\n")
    for entry in (path, f"{path}/passwd"):
        os.chown(entry, account.uid, account.gid)

    def state() -> list[tuple[str, int, bytes]]:
        found = []
        for name in sorted(os.listdir(path)):
            inner = f"{path}/{name}"
            data = b""
            if os.path.isfile(inner):
                with open(inner, "rb") as file:
                    data = file.read()
            found.append((name, os.lstat(inner).st_mode, data))
        return found

    before = state()
    yield path
    assert state() == before


# Links in the image


@pytest.mark.parametrize("prefix", ["", "/../../../../.."], ids=["absolute", "climbing"])
def test_links_in_the_way_of_rpods_own_mounts_stay_inside(
    rpod: Command, make_image: MakeImage, victim: str, prefix: str
) -> None:
    out = f"{prefix}{victim}"
    image = make_image(
        symlink("etc/hosts", f"{out}/hosts"),
        symlink("etc/hostname", f"{out}/hostname"),
        symlink("etc/resolv.conf", f"{out}/resolv.conf"),
        symlink("run", f"{out}/run"),
    )
    done = rpod("run", "--rm", image, "ls", victim)
    assert {"hosts", "hostname", "resolv.conf", "run"} <= set(done.lines)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", [".", "srv/.."])
def test_a_link_in_place_of_a_kernel_file_system_is_refused(
    rpod: Command, make_image: MakeImage, name: str, target: str
) -> None:
    """Over a directory above, a second way would lead around the masks (compare CVE-2019-19921)."""
    image = make_image(symlink(name, target))
    done = rpod("run", "--rm", image, "true", check=False)
    assert done.code == 125, done.told
    assert f"link in the image (/{name})" in done.err, done.told


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-w", "/srv/out/made"], id="workdir"),
        pytest.param(["-v", "data:/srv/out/made"], id="volume"),
        pytest.param(["--tmpfs", "/srv/out/made"], id="tmpfs"),
        pytest.param(["-v", "/etc/hostname:/srv/out/made"], id="file"),
    ],
)
def test_paths_through_links_of_the_image_are_made_inside(
    rpod: Command, make_image: MakeImage, victim: str, options: list[str]
) -> None:
    # The image has a directory of the same name, so that the link leads to something.
    image = make_image(symlink("srv/out", f"/../../..{victim}"), directory(victim[1:]))
    found = rpod("run", "--rm", *options, image, "ls", victim).lines
    assert found == ["made"]


def test_descriptors_of_the_starting_process_are_no_way_out(
    rpod: Command, make_image: MakeImage, victim: str
) -> None:
    """`/proc/self/fd/N` of the process that mounts leads to what it has open: the host's root."""
    numbers = range(3, 32)
    links = [symlink(f"srv/{n}", f"/proc/self/fd/{n}{victim}") for n in numbers]
    image = make_image(*links)
    for n in numbers:
        for option in (f"--volume=probe:/srv/{n}", f"--workdir=/srv/{n}/made"):
            done = rpod("run", "--rm", "--network=none", option, image, "true", check=False)
            assert done.code != 0, done.told
    # A new volume takes what is below its mount point: the victim's files must not be in it.
    assert rpod("run", "--rm", "-v", "probe:/v", image, "ls", "-A", "/v").lines == []


def test_accounts_are_not_looked_up_through_links_out_of_the_image(
    rpod: Command, make_image: MakeImage, victim: str
) -> None:
    image = make_image(symlink("etc/passwd", f"{victim}/passwd"))
    done = rpod("run", "--rm", "--user", "mallory", image, "id", check=False)
    assert done.code == 125, done.told
    assert "mallory" in done.err


@pytest.mark.parametrize("kind", [b"6", b"2"], ids=["fifo", "loop"])
def test_what_is_no_file_in_place_of_passwd_hangs_nothing(
    rpod: Command, make_image: MakeImage, kind: bytes
) -> None:
    image = make_image(File("etc/passwd", kind=kind, link="passwd" if kind == b"2" else ""))
    query = ["sed", "-n", "s/^Uid:\t\\([0-9]*\\).*/\\1/p", "/proc/self/status"]
    for user in ("0", "7", "mallory"):
        done = rpod("run", "--rm", "--user", user, image, *query, check=False, timeout_s=20)
        assert done.code == 125 or done.lines == [user], done.told
        assert "internal error" not in done.err, done.told


def test_exec_reads_accounts_inside_even_when_the_container_has_changed_them(
    rpod: Command, image: str, victim: str
) -> None:
    script = f"rm /etc/passwd; ln -s /proc/1/root/../../..{victim}/passwd /etc/passwd; sleep 60"
    rpod("run", "-d", "--name", "liar", image, "sh", "-c", script)
    wait_for(lambda: "->" in rpod("exec", "liar", "ls", "-l", "/etc/passwd").out)
    done = rpod("exec", "--user", "mallory", "liar", "id", check=False)
    assert done.code != 0, done.told
    rpod("rm", "-f", "-t", "0", "liar")


# The host's interpreter, memory and descriptors


def host_libraries() -> list[File]:
    """Return what the host's Python needs to start: an attacker's image would have it."""
    program = os.path.realpath(sys.executable)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"(/\S+) \(0x", listed)
    assert any("ld-" in path for path in paths), listed
    files = []
    for path in paths:
        with open(path, "rb") as library:
            files.append(File(path[1:], library.read(), 0o755))
    return files


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([symlink("bin/evil", "/proc/self/exe")], id="link"),
        pytest.param([File("bin/evil", b"#!/proc/self/exe -V\n", 0o755)], id="script"),
        pytest.param(
            [
                File("bin/evil", b"#!/bin/step\n", 0o755),
                symlink("bin/step", "thread"),
                symlink("bin/thread", "/proc/thread-self/exe"),
            ],
            id="script-and-links",
        ),
        pytest.param([symlink("bin/evil", "/proc/1/exe")], id="pid-1"),
    ],
)
def test_the_hosts_interpreter_is_not_executed_inside(
    rpod: Command, make_image: MakeImage, files: list[File]
) -> None:
    image = make_image(*files, *host_libraries())
    for command in (["evil", "-c", "print(6*7)"], ["/bin/evil"]):
        done = rpod("run", "--rm", image, *command, check=False)
        assert done.code in (126, 127), done.told
        assert "42" not in done.out
        assert "Python" not in done.out
    rpod("run", "-d", "--name", "target", image, "sleep", "60")
    done = rpod("exec", "target", "evil", "-c", "print(6*7)", check=False)
    rpod("rm", "-f", "-t", "0", "target")
    assert done.code in (126, 127), done.told
    assert "42" not in done.out


@pytest.mark.parametrize("options", [[], ["--init"], ["--env", "OWN=1"]], ids=str)
def test_no_variable_of_the_caller_is_seen_inside(
    rpod: Command, image: str, options: list[str]
) -> None:
    script = "env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true"
    done = rpod("run", "--rm", *options, image, "sh", "-c", script, env=SECRET_ENV)
    assert SECRET not in done.out
    assert "HOSTNAME=" in done.out


def test_the_memory_of_init_is_closed(rpod: Command, image: str) -> None:
    script = "cat /proc/1/environ; cat /proc/1/maps; ls /proc/1/fd; readlink /proc/1/exe; true"
    options = ["--init", "--cap-add", "SYS_PTRACE"]
    done = rpod("run", "--rm", *options, image, "sh", "-c", script, check=False)
    assert done.out == "", done.told


@pytest.mark.parametrize("options", [[], ["-t"], ["--init"]], ids=str)
def test_no_signal_is_ignored_or_blocked(rpod: Command, image: str, options: list[str]) -> None:
    query = ["grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status"]
    found = rpod("run", "--rm", *options, image, *query).out.split()
    assert found == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    rpod("run", "-d", "--name", "target", image, "sleep", "60")
    done = rpod.shell(
        f"trap '' HUP QUIT; $RPOD exec target {' '.join(query[:2])} '{query[2]}' {query[3]}"
    )
    rpod("rm", "-f", "-t", "0", "target")
    assert done.out.split() == found


LIST_DESCRIPTORS = "ls -l /proc/$$/fd /proc/1/fd | grep -o '[0-9]* -> .*'"
HARMLESS_DESCRIPTOR = re.compile(r"\d+ -> (pipe:\[\d+\]|/dev/null|/dev/pts/\d+)\r?$")
# What a careless caller hands down: a file, a directory, a socket's worth of numbers in between.
INHERITED = "7</etc/passwd 8</ 63</etc/passwd"


@pytest.mark.parametrize("options", ["", "-i", "-t", "--init"])
def test_descriptors_of_the_first_process_lead_nowhere(
    rpod: Command, image: str, options: str
) -> None:
    script = shlex.quote(LIST_DESCRIPTORS)
    found = rpod.shell(f"$RPOD run --rm {options} {image} sh -c {script} {INHERITED}").lines
    assert len(found) >= 3
    assert [line for line in found if not HARMLESS_DESCRIPTOR.match(line)] == []


def test_descriptors_of_exec_lead_nowhere(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "target", image, "sleep", "60")
    script = shlex.quote(LIST_DESCRIPTORS)
    found = rpod.shell(f"$RPOD exec target sh -c {script} {INHERITED}").lines
    rpod("rm", "-f", "-t", "0", "target")
    assert len(found) >= 6
    assert [line for line in found if not HARMLESS_DESCRIPTOR.match(line)] == []


def test_the_monitor_keeps_nothing_of_the_callers_open(rpod: Command, image: str) -> None:
    """A script that reads the output of `run -d` must see its end, and may unmount its disk."""
    done = rpod.shell(f"$RPOD run -d --name target {image} sleep 60 {INHERITED} | cat")
    assert len(done.out.strip()) == 64
    init = rpod("inspect", "--format", "{{.State.Pid}}", "target").out.strip()
    with open(f"/proc/{init}/stat", encoding="ascii") as file:
        monitor = file.read().rpartition(")")[2].split()[1]
    found = rpod.shell(f"ls -l /proc/{monitor}/fd").out
    rpod("rm", "-f", "-t", "0", "target")
    assert "/dev/null" in found
    assert "/etc/passwd" not in found
    assert not re.search(r"-> /$", found, re.MULTILINE)


def test_a_process_that_joins_cannot_be_looked_into(rpod: Command, image: str) -> None:
    """What `exec` brings along until its exec: the caller's memory, environment and files."""
    watch = (
        "while test -e /run/go; do for p in /proc/[0-9]*; do"
        " tr '\\0' '\\n' <$p/environ | grep SECRET_OF >>/run/caught;"
        " readlink $p/exe | grep -i python >>/run/caught;"
        " ls -l $p/fd | grep -e socket: -e anon_inode: -e /home/ -e rpod >>/run/caught;"
        " done 2>/dev/null; done; echo done >>/run/caught; sleep 60"
    )
    script = f"touch /run/go /run/caught; ({watch}) & ({watch}) & wait"
    options = ["-d", "--name", "spy", "--cap-add", "SYS_PTRACE"]
    rpod("run", *options, image, "sh", "-c", script)
    for _ in range(12):
        rpod("exec", "spy", "true", env=SECRET_ENV)
    rpod("exec", "spy", "rm", "/run/go")
    wait_for(lambda: rpod("exec", "spy", "cat", "/run/caught").lines.count("done") == 2)
    caught = rpod("exec", "spy", "cat", "/run/caught").lines
    rpod("rm", "-f", "-t", "0", "spy")
    assert caught == ["done", "done"]


# Mounts, devices, namespaces


def test_no_mount_of_the_host_is_seen(rpod: Command, image: str) -> None:
    expected = re.compile(
        r"/(proc|dev|sys|etc/(hosts|hostname|resolv\.conf)|run/\.containerenv)?(/.*)?$"
    )
    points = [
        line.split()[4] for line in rpod("run", "--rm", image, "cat", "/proc/self/mountinfo").lines
    ]
    assert points.count("/") == 1
    assert [point for point in points if not expected.match(point)] == []


def test_nothing_is_mounted_on_the_host(rpod: Command, image: str) -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        before = file.read()
    rpod("run", "-d", "--name", "quiet", "-v", "data:/data", "--tmpfs", "/x", image, "sleep", "60")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        during = file.read()
    rpod("rm", "-f", "-t", "0", "quiet")
    assert during == before


def test_masks_cannot_be_lifted_in_a_nested_namespace(rpod: Command, image: str) -> None:
    script = (
        "mount -t tmpfs none /srv && echo can-mount;"
        "umount /proc/timer_list && echo lifted;"
        "mount -o remount,rw,bind /proc/sys && echo writable;"
        "unshare -pf mount -t proc none /srv && echo fresh-proc; true"
    )
    found = rpod("run", "--rm", image, "unshare", "-Urm", "sh", "-c", script).lines
    assert found == ["can-mount"]


def test_a_read_only_mount_stays_read_only_in_a_nested_namespace(
    rpod: Command, image: str, victim: str
) -> None:
    script = "mount -o remount,rw,bind /v; echo x >/v/passwd; echo x >/v/new; true"
    options = ["-v", f"{victim}:/v:ro"]
    done = rpod("run", "--rm", *options, image, "unshare", "-Urm", "sh", "-c", script)
    assert done.err.count("Read-only file system") >= 2, done.told


def test_the_hosts_sysfs_is_read_only_all_the_way_down(rpod: Command, image: str) -> None:
    script = "grep ' /sys' /proc/self/mounts | grep -v -c ' ro,'; ls -A /sys/kernel"
    done = rpod("run", "--rm", "--network=host", image, "sh", "-c", script)
    assert done.lines == ["0"]


def test_mounting_needs_a_capability(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "mount", "-t", "tmpfs", "none", "/srv", check=False)
    assert done.code != 0, done.told


@pytest.mark.parametrize("options", [[], ["--privileged"]], ids=["default", "privileged"])
def test_device_nodes_cannot_be_made(rpod: Command, image: str, options: list[str]) -> None:
    done = rpod("run", "--rm", *options, image, "mknod", "/srv/disk", "b", "254", "0", check=False)
    assert done.code != 0, done.told
    assert "not permitted" in done.err


def test_privileged_cannot_read_the_hosts_disk_or_change_its_kernel(
    rpod: Command, image: str
) -> None:
    script = (
        "for d in /dev/vd? /dev/sd? /dev/nvme?n? /dev/mem; do head -c1 $d | wc -c; done;"
        "echo /tmp/x >/proc/sys/kernel/core_pattern && echo changed;"
        "echo b >/proc/sysrq-trigger && echo changed; true"
    )
    found = rpod("run", "--rm", "--privileged", image, "sh", "-c", script).lines
    assert set(found) <= {"0"}


def test_processes_of_the_host_survive_a_kill_of_everything(rpod: Command, image: str) -> None:
    bystander = subprocess.Popen([*rpod.dropping(), "sleep", "60"])
    try:
        rpod("run", "--rm", image, "sh", "-c", "kill -9 -1; true")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_with_pid_host_processes_are_seen_but_not_looked_into(rpod: Command, image: str) -> None:
    bystander = subprocess.Popen([*rpod.dropping(), "sleep", "60"], env=SECRET_ENV)
    try:
        script = f"cat /proc/{bystander.pid}/comm; cat /proc/{bystander.pid}/environ; true"
        options = ["--pid=host", "--cap-add", "SYS_PTRACE"]
        done = rpod("run", "--rm", *options, image, "sh", "-c", script)
    finally:
        bystander.kill()
        bystander.wait()
    assert done.lines == ["sleep"]


# Other users of the machine


def attach_socket(rpod: Command, name: str) -> str:
    container_id = rpod("inspect", "--format", "{{.Id}}", name).out.strip()
    return f"{rpod.account.runtime_dir}/rpod/containers/{container_id}/attach.sock"


def talk(path: str) -> bytes:
    """Connect and return the first bytes that the monitor sends."""
    directory = os.open(os.path.dirname(path), os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        os.close(directory)
        return connection.recv(100)


@pytest.fixture
def socket_path(rpod: Command, image: str) -> Iterator[str]:
    rpod("run", "-d", "--name", "talker", image, "sleep", "60")
    yield attach_socket(rpod, "talker")
    rpod("rm", "-f", "-t", "0", "talker")


def test_the_own_user_may_attach(socket_path: str, in_account: InAccount) -> None:
    assert in_account(talk, socket_path) != b""


def test_the_attach_socket_is_closed_to_others(
    socket_path: str, in_account: InAccount, account_without_ids: Account
) -> None:
    assert os.stat(socket_path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(socket_path)).st_mode & 0o777 == 0o700
    with pytest.raises(PermissionError):
        in_account(talk, socket_path, account=account_without_ids)


def test_the_monitor_asks_who_connects(socket_path: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can pass the modes of the directories to be asked")
    assert talk(socket_path) == b""


def test_others_cannot_reach_files_of_containers(
    rpod: Command, docker_archive: str, in_account: InAccount, account_without_ids: Account
) -> None:
    """A setuid program that a container made would give its user's rights to whoever finds it."""
    with tempfile.TemporaryDirectory(prefix="rpt-open-", dir="/tmp") as path:
        os.chmod(path, 0o755)
        os.chown(path, rpod.account.uid, rpod.account.gid)
        store = f"{path}/store"
        own = ("--root", store)
        rpod(*own, "load", "--input", docker_archive)
        rpod(*own, "volume", "create", "data")
        rpod(*own, "create", "--name", "idle", images.NAME, "true")

        def look() -> list[str]:
            reached = []
            for name in ("layers", "containers", "volumes", "blobs/sha256", "tmp", "partial"):
                try:
                    reached += [f"{name}/{entry}" for entry in os.listdir(f"{store}/{name}")]
                    reached.append(name)
                except PermissionError:
                    continue
            try:
                reached.append(str(os.stat(f"{store}/volumes/data/_data")))
            except PermissionError:
                pass
            return reached

        assert in_account(look, account=account_without_ids) == []
        accounts.remove_tree(store)


def test_others_cannot_run_setuid_files_of_images_whose_path_they_know(
    rpod: Command, in_account: InAccount, account_without_ids: Account
) -> None:
    """To be listed by nobody is not enough: the names of layers follow from the image."""
    layer = images.tar([*images.busybox_files(), File("bin/raise", b"#!/bin/sh\n", 0o4755)])
    archive = images.docker_archive([layer], {"Cmd": ["sh"]}, "localhost/raise:1")
    with tempfile.TemporaryDirectory(prefix="rpt-open-", dir="/tmp") as path:
        os.chmod(path, 0o755)
        os.chown(path, rpod.account.uid, rpod.account.gid)
        store = f"{path}/store"
        rpod("--root", store, "load", "-q", input=archive)
        places = [f"{at}/raise" for at, _, names in os.walk(f"{store}/layers") if "raise" in names]
        assert len(places) == 1
        assert os.lstat(places[0]).st_mode & 0o7777 == 0o4755

        def look() -> list[str]:
            reached = []
            for place in places:
                with contextlib.suppress(PermissionError):
                    reached.append(str(os.stat(place)))
                with contextlib.suppress(PermissionError):
                    os.close(os.open(place, os.O_PATH))
                    reached.append(place)
            return reached

        assert in_account(look, account=account_without_ids) == []
        assert in_account(look) != []
        accounts.remove_tree(store)


# What the options promise


def write_profile(account_dir: str, profile: object) -> str:
    path = f"{account_dir}/profile.json"
    with open(path, "w", encoding="utf-8") as file:
        file.write(profile if isinstance(profile, str) else json.dumps(profile))
    os.chmod(path, 0o644)
    return path


def test_a_seccomp_profile_is_applied_to_run_and_exec(
    rpod: Command, image: str, account_dir: str
) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    option = f"--security-opt=seccomp={write_profile(account_dir, profile)}"
    done = rpod("run", "--rm", option, image, "mkdir", "/srv/x", check=False)
    assert "Operation not supported" in done.err, done.told
    rpod("run", "-d", "--name", "strict", option, image, "sleep", "60")
    done = rpod("exec", "strict", "mkdir", "/srv/x", check=False)
    rpod("rm", "-f", "-t", "0", "strict")
    assert "Operation not supported" in done.err, done.told


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("{", "profile.json"),
        ("[]", "expected an object"),
        ({"defaultAction": "SCMP_ACT_NO"}, "defaultAction: unknown action"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 9}]}],
            },
            "syscalls[0].args[0]",
        ),
    ],
    ids=["no-json", "list", "action", "argument"],
)
def test_a_broken_seccomp_profile_is_one_clear_line(
    rpod: Command, image: str, account_dir: str, profile: object, message: str
) -> None:
    option = f"--security-opt=seccomp={write_profile(account_dir, profile)}"
    done = rpod("run", "--rm", option, image, "true", check=False)
    assert done.code == 125, done.told
    assert message in done.err, done.told
    assert "internal error" not in done.err, done.told


def test_paths_are_masked_and_unmasked_on_request(rpod: Command, image: str) -> None:
    script = "wc -c </etc/group; head -c1 /proc/timer_list | wc -c"
    masked = rpod("run", "--rm", "--security-opt=mask=/etc/group", image, "sh", "-c", script)
    assert masked.lines == ["0", "0"]
    option = "--security-opt=unmask=/proc/timer_list"
    opened = rpod("run", "--rm", option, image, "wc", "-l", "/proc/self/mountinfo")
    closed = rpod("run", "--rm", image, "wc", "-l", "/proc/self/mountinfo")
    assert int(opened.out.split()[0]) == int(closed.out.split()[0]) - os.path.exists(
        "/proc/timer_list"
    )


def test_a_device_is_given_and_only_whole(rpod: Command, image: str) -> None:
    option = ["--device", "/dev/zero:/dev/nothing:rwm"]
    script = "head -c3 /dev/nothing | od -An -tx1"
    assert rpod("run", "--rm", *option, image, "sh", "-c", script).out.split() == ["00"] * 3
    done = rpod("run", "--rm", "--device", "/dev/zero:r", image, "true", check=False)
    assert done.code == 125, done.told
    assert "cannot be limited" in done.err


def test_a_privileged_container_drops_what_it_is_told_to(rpod: Command, image: str) -> None:
    options = ["--privileged", "--cap-drop", "sys_admin"]
    found = rpod("run", "--rm", *options, image, "grep", "CapBnd", "/proc/self/status").out
    mask = int(found.split()[1], 16)
    assert mask.bit_count() > 30
    assert not mask >> 21 & 1


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)
