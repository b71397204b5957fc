"""rpod in a container: of rpod itself, with its default filter, as root there and as another."""

import errno
import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.command import Command, Done, command_line

pytestmark = pytest.mark.rpod_only  # podman in podman takes a containers.conf of its own
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEW_USER = 0x10000000
READY = ("--security-opt=unmask=ALL", "--device=/dev/net/tun")


def binds(*more: str) -> Iterator[str]:
    """Let the container have this Python, its modules and the tools of the host."""
    for path in dict.fromkeys((sys.prefix, sys.base_prefix, PROJECT, "/usr", *more)):
        yield f"--volume={path}:{path}:ro"
    for link in ("/lib", "/lib64"):
        if os.path.exists(link):
            yield f"--volume={link}:{link}:ro"


class Inside:
    """Commands in a container in which rpod can start, and has the image."""

    def __init__(
        self, rpod: Command, image: str, archive: str, *options: str, loads: bool = True
    ) -> None:
        self._rpod = rpod
        rpod(
            "run", "-d", "--init", "--name=outer", "--network=none", *options,
            "--tmpfs=/tmp:exec,mode=1777", "--env=HOME=/tmp/home", "--env=PATH=/usr/bin:/bin",
            *binds(archive), image, "sleep", "600",
        )  # fmt: skip
        self("mkdir", "/tmp/home")
        if loads:
            self(*command_line(), "load", "--quiet", "--input", archive)

    def __call__(self, *words: str, check: bool = True) -> Done:
        return self._rpod("exec", "outer", *words, check=check)


@pytest.fixture(params=["root", "33"])
def user(request: pytest.FixtureRequest) -> str:
    return f"--user={request.param}"


@pytest.fixture
def inside(user: str, rpod: Command, image: str, docker_archive: str) -> Inside:
    return Inside(rpod, image, docker_archive, user)


def test_what_the_outer_container_forbids_is_told_with_a_way_on(inside: Inside, image: str) -> None:
    own = command_line()
    done = inside(*own, "run", "--rm", image, "true", check=False)
    assert done.code == 125
    assert "/dev/net/tun" in done.err
    assert "--device /dev/net/tun, or use --network=host" in done.err, done.told
    done = inside(*own, "run", "--rm", "--network=host", image, "true", check=False)
    assert done.code == 125
    assert "unmask=ALL" in done.err
    assert "--pid=host" in done.err, done.told
    shared = ("--network=host", "--pid=host")
    done = inside(*own, "run", "--rm", "--hostname=x", *shared, image, "true", check=False)
    assert done.code == 125
    assert "--hostname" in done.err, done.told
    # What the errors have named, together.
    done = inside(*own, "run", "--rm", *shared, image, "sh", "-c", "id -u; hostname")
    name = inside("hostname").out
    assert done.out == f"0\n{name}", done.told


def test_containers_live_in_it(inside: Inside, image: str) -> None:
    own = command_line()
    shared = ("--network=host", "--pid=host")
    inside(*own, "run", "-d", "--name=box", *shared, image, "sh", "-c", "sleep 300 & wait")
    assert inside(*own, "exec", "box", "id", "-u").out == "0\n"
    assert inside(*own, "ps", "--format", "{{.Names}}").out == "box\n"
    inside(*own, "rm", "--force", "--time=0", "box")
    assert inside(*own, "ps", "-aq").out == ""
    assert "sleep 300" not in inside("ps", "-ef").out


def test_build_with_the_isolation_of_chroot(inside: Inside, image: str) -> None:
    own = command_line()
    text = f"FROM {image}\\nRUN sleep 301 & hostname >/name; ls -d /proc/1 >/one\\n"
    inside("sh", "-c", f"mkdir /tmp/c; printf '{text}' >/tmp/c/Containerfile")
    inside(*own, "build", "--isolation=chroot", "-t", "made", "/tmp/c")
    # What the step has left running has ended with it.
    assert "sleep 301" not in inside("ps", "-ef").out
    run = ("run", "--rm", "--network=host", "--pid=host")
    assert inside(*own, *run, "made", "cat", "/name").out == inside("hostname").out
    # The same words by the variable that buildah's users set, and nothing is built again.
    script = f"BUILDAH_ISOLATION=chroot {' '.join(own)} build -t made /tmp/c"
    assert "Using cache" in inside("sh", "-c", script).out


def test_a_container_that_may_has_namespaces_within(
    user: str, rpod: Command, image: str, docker_archive: str
) -> None:
    own = command_line()
    inside = Inside(rpod, image, docker_archive, user, *READY)
    done = inside(*own, "run", "--rm", image, "sh", "-c", "echo $$; ip -o addr show tap0")
    assert done.lines[0] == "1", done.told
    assert "10.0.2.100" in done.out, done.told


def test_a_filter_that_forbids_user_namespaces_is_named(
    user: str, rpod: Command, image: str, docker_archive: str, account_dir: str, account: Account
) -> None:
    """As docker's default one does."""
    path = f"{account_dir}/filter.json"
    rule = {"names": ["unshare", "setns"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    flags = {"index": 0, "value": NEW_USER, "valueTwo": NEW_USER, "op": "SCMP_CMP_MASKED_EQ"}
    clone = {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [flags]}
    clone3 = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule, clone, clone3]}
    with open(path, "w", encoding="ascii") as file:
        json.dump(profile, file)
    os.chmod(path, 0o644)
    options = (user, f"--security-opt=seccomp={path}")
    inside = Inside(rpod, image, docker_archive, *options, loads=False)
    for words in (("load", "--input", docker_archive), ("run", "--rm", image, "true")):
        done = inside(*command_line(), *words, check=False)
        assert done.code == 125
        assert "a seccomp filter forbids it" in done.err, done.told
        assert "seccomp=unconfined" in done.err, done.told
    assert "seccomp filter of the surrounding" in inside(*command_line(), "doctor", check=False).out
