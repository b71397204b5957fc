"""image scp: over a real sshd of the account; for what goes wrong a script stands for ssh."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.command import Command, command_line
from tests.support.images import File

pytestmark = pytest.mark.rpod_only
FAR = """#!/bin/sh
# ssh -T -- HOST SCRIPT
[ "$1 $2" = "-T --" ] || exit 255
echo "$3" >"$FAR/host"
export XDG_DATA_HOME="$FAR/data" XDG_CONFIG_HOME="$FAR/config"
exec sh -c "$4"
"""


@pytest.fixture
def near(fresh_rpod: Command, account_dir: str) -> Command:
    """A store with two images that share their lower layer, and a far one."""
    place = f"{account_dir}/far"
    fresh_rpod.shell(f"mkdir -p {place}/bin")
    with open(f"{place}/bin/ssh", "w", encoding="ascii") as out:
        out.write(FAR)
    os.chmod(f"{place}/bin/ssh", 0o755)
    path = f"{place}/bin:{os.path.dirname(command_line()[0])}:{os.environ['PATH']}"
    fresh_rpod.environment.update({"FAR": place, "PATH": path})
    base = images.tar(images.busybox_files())
    for number in ("1", "2"):
        layers = [base, images.tar([File("own", number.encode())])]
        archive = images.docker_archive(layers, {"Cmd": ["sh"]}, f"localhost/app:{number}")
        fresh_rpod("load", "-q", input=archive)
    return fresh_rpod


def far(command: Command) -> Command:
    place = command.environment["FAR"]
    settings = {"XDG_DATA_HOME": f"{place}/data", "XDG_CONFIG_HOME": f"{place}/config"}
    return Command(command.account, {**command.environment, **settings})


SSHD = "/usr/sbin/sshd"
SETTINGS = """Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv PATH={path} XDG_DATA_HOME={place}/data XDG_CONFIG_HOME={place}/config XDG_RUNTIME_DIR={run}
"""


@pytest.fixture
def sshd(near: Command, account_dir: str) -> Iterator[str]:
    """Run sshd as the account on a high port; the result is USER@HOST:PORT for ssh://."""
    if not os.access(SSHD, os.X_OK):
        pytest.skip("openssh-server is not installed")
    account, place = near.account, f"{account_dir}/far"
    os.unlink(f"{place}/bin/ssh")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # ssh(1) looks for its files in the home of passwd(5), whatever HOME says.
    home = f"{account.home}/.ssh"
    near.shell(f"""set -e; cd {place}; umask 077; mkdir -p {home}
        for one in host user; do ssh-keygen -q -t ed25519 -N '' -f $one; done
        cp user {home}/id_ed25519
        echo "[127.0.0.1]:{port} $(cut -d' ' -f1-2 host.pub)" >{home}/known_hosts""")
    settings = SETTINGS.format(
        port=port, place=place, path=near.environment["PATH"], run=account.runtime_dir
    )
    near.shell(f"cat >{place}/sshd_config <<'END'\n{settings}END")
    command = [*near.dropping(), SSHD, "-D", "-e", "-f", f"{place}/sshd_config"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"{account.name}@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise AssertionError("sshd does not answer")


def test_images_go_over_a_real_sshd(near: Command, sshd: str) -> None:
    near("image", "scp", "-q", "localhost/app:1", f"ssh://{sshd}::")
    there = far(near)
    assert digest(there, "localhost/app:1") == digest(near, "localhost/app:1")
    # The lower layer is there already: only the other one crosses the wire.
    done = near("image", "scp", "localhost/app:2", f"ssh://{sshd}::")
    assert done.err.count("skipped: already exists") == 1
    near("rmi", "-af")
    near("image", "scp", "-q", f"ssh://{sshd}::localhost/app:2")
    assert near("run", "--rm", "--network=none", "localhost/app:2", "cat", "/own").out == "2"
    near("image", "scp", "-q", f"ssh://{sshd}::localhost/app:2", f"ssh://{sshd}::relayed:1")
    assert digest(there, "relayed:1") == digest(there, "localhost/app:2")
    missing = ["image", "scp", f"ssh://{sshd}::none:1", f"ssh://{sshd}::x"]
    assert near(*missing, check=False).code == 125
    refused = near("image", "scp", f"ssh://{sshd}::localhost/none:1", check=False)
    assert refused.code == 125
    assert "localhost/none:1" in refused.err


def test_a_host_that_is_not_known_is_not_trusted(near: Command, sshd: str) -> None:
    os.unlink(f"{near.account.home}/.ssh/known_hosts")
    done = near("image", "scp", "-q", "localhost/app:1", f"ssh://{sshd}::", check=False)
    assert done.code == 125, done.told
    assert far(near)("images", "-q").out == ""


def digest(command: Command, name: str) -> str:
    return command("image", "inspect", "--format", "{{.Digest}}", name).out


def test_image_goes_to_another_machine(near: Command) -> None:
    near("image", "scp", "localhost/app:1", "me@far.example.org::")
    there = far(near)
    assert digest(there, "localhost/app:1") == digest(near, "localhost/app:1")
    assert there("run", "--rm", "--network=none", "localhost/app:1", "cat", "/own").out == "1"
    with open(f"{near.environment['FAR']}/host", encoding="ascii") as file:
        assert file.read() == "me@far.example.org\n"


def test_layer_that_is_there_is_not_sent(near: Command) -> None:
    near("image", "scp", "localhost/app:1", "far::")
    done = near("image", "scp", "localhost/app:2", "far::renamed:3")
    assert done.err.count("skipped: already exists") == 1
    again = near("image", "scp", "localhost/app:2", "far::")
    assert "done" not in again.err
    there = far(near)
    assert there("run", "--rm", "--network=none", "renamed:3", "cat", "/own").out == "2"


def test_image_comes_from_another_machine(near: Command) -> None:
    near("image", "scp", "-q", "localhost/app:1", "far::")
    near("rmi", "-a")
    near("image", "scp", "-q", "far::localhost/app:1", "mine:1")
    assert near("images", "--format", "{{.Repository}}:{{.Tag}}").lines == ["localhost/mine:1"]
    assert near("run", "--rm", "--network=none", "mine:1", "cat", "/own").out == "1"


def test_machine_without_rpod_gets_an_archive(near: Command) -> None:
    bin_dir = f"{near.environment['FAR']}/bin"
    for name, text in (("rpod", "exit 127"), ("podman", 'cat >"$FAR/archive.tar"')):
        path = f"{bin_dir}/{name}"
        with open(path, "w", encoding="ascii") as out:
            out.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, stat.S_IRWXU | 0o055)
    near("image", "scp", "-q", "localhost/app:1", "far::")
    listed = near.shell('tar -tf "$FAR/archive.tar"').out
    assert "manifest.json" in listed


def test_image_comes_from_a_machine_without_rpod(near: Command) -> None:
    place = near.environment["FAR"]
    near("save", "-q", "-o", f"{place}/archive.tar", "localhost/app:1")
    near("rmi", "-af")
    text = 'echo "$*" >"$FAR/asked"; cat "$FAR/archive.tar"'
    for name, script in (("rpod", "exit 127"), ("podman", text)):
        path = f"{place}/bin/{name}"
        with open(path, "w", encoding="ascii") as out:
            out.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, stat.S_IRWXU | 0o055)
    near("image", "scp", "-q", "far::localhost/app:1", "mine:1")
    assert near.shell('cat "$FAR/asked"').out == "save -- localhost/app:1\n"
    assert near("run", "--rm", "--network=none", "mine:1", "cat", "/own").out == "1"


SUDO = """#!/bin/sh
# sudo -iu USER -- WORD...
[ "$1 $2 $3" = "-iu other --" ] || { echo "not allowed" >&2; exit 1; }
shift 3
export XDG_DATA_HOME="$FAR/data" XDG_CONFIG_HOME="$FAR/config"
exec "$@"
"""


def test_image_goes_to_another_user_of_this_machine(near: Command) -> None:
    path = f"{near.environment['FAR']}/bin/sudo"
    with open(path, "w", encoding="ascii") as out:
        out.write(SUDO)
    os.chmod(path, 0o755)
    near("image", "scp", "localhost/app:1", "other@localhost::")
    done = near("image", "scp", "localhost/app:2", "other@localhost::renamed:2")
    assert done.err.count("skipped: already exists") == 1
    there = far(near)
    assert sorted(there("images", "--format", "{{.Repository}}:{{.Tag}}").lines) == [
        "localhost/app:1", "localhost/renamed:2",
    ]  # fmt: skip
    near("image", "scp", "-q", "other@localhost::renamed:2", "back:2")
    assert digest(near, "back:2") == digest(near, "localhost/app:2")
    for words in (["localhost/app:1", "nobody@localhost::"], ["nobody@localhost::x"],
                  ["localhost/app:1", f"{near.account.name}@localhost::x"]):  # fmt: skip
        failed = near("image", "scp", *words, check=False)
        assert failed.code == 125, failed.told
        assert "it has ended" not in failed.err


@pytest.mark.parametrize(
    "words",
    [
        ["localhost/app:1"],
        ["localhost/app:1", "other:1"],
        ["a::x", "b::y"],
        ["localhost/none:1", "far::"],
        ["far::localhost/none:1"],
        ["localhost/app:1", "-oProxyCommand=x::"],
        ["localhost/app:1", "root@localhost::"],
        ["far::"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_copied_is_an_error(near: Command, words: list[str]) -> None:
    done = near("image", "scp", "--", *words, check=False)
    assert done.code == 125, done.told
    assert "internal error" not in done.err


def test_garbage_on_the_wire_is_an_error(near: Command) -> None:
    for data in (b"", b"hello\n", b"{}\n", b'{"version":1,"blobs":["x"]}\n', b"x" * 100):
        done = near("image", "receive", input=data, check=False)
        assert done.code == 125, done.told
        assert "internal error" not in done.err
