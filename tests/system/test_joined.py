"""Containers in namespaces of another: --network, --pid, --ipc, --uts container:NAME."""

import os

import pytest

from tests.support.command import Command, is_podman

rpod_only = pytest.mark.skipif(is_podman(), reason="rpod's own")
KINDS = ("network", "ipc", "uts", "pid")


def test_namespaces_of_another_container(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "owner", "--hostname", "theirs", image, "sh", "-c",
         "echo in memory >/dev/shm/note; exec sleep 1000")  # fmt: skip
    shared = [f"--{kind}=container:owner" for kind in KINDS]
    look = "ps -o args; cat /dev/shm/note; hostname; grep theirs /etc/hosts | wc -l; id -u"
    done = rpod("run", "--rm", *shared, image, "sh", "-c", look)
    assert "sleep 1000" in done.out
    assert done.lines[-4:] == ["in memory", "theirs", "1", "0"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_namespace_alone(rpod: Command, image: str, kind: str) -> None:
    rpod("run", "-d", "--name", "owner", image, "sleep", "1000")
    name = {"network": "net"}.get(kind, kind)
    look = ("sh", "-c", "cd /proc/self/ns; for n in net ipc uts pid; do readlink $n; done")
    theirs = rpod("exec", "owner", *look).lines
    ours = rpod("run", "--rm", f"--{kind}=container:owner", image, *look).lines
    shared = [one for one, other in zip(theirs, ours, strict=True) if one == other]
    assert [text.partition(":")[0] for text in shared] == [name]


def test_owner_is_started_first_and_removed_last(rpod: Command, image: str) -> None:
    rpod("create", "--name", "owner", image, "sleep", "1000")
    rpod("create", "--name", "guest", "--network=container:owner", image, "sleep", "1000")
    rpod("start", "guest")
    assert rpod("inspect", "-f", "{{.State.Status}}", "owner").out == "running\n"
    refused = rpod("rm", "-f", "owner", check=False)
    assert refused.code != 0
    assert rpod("container", "exists", "guest").code == 0
    rpod("rm", "-f", "-t", "0", "--depend", "owner")
    assert rpod("ps", "-aq").out == ""


@rpod_only  # crun may not join them
@pytest.mark.parametrize("kind", ["network", "pid", "ipc", "uts"])
def test_owner_that_has_the_hosts_namespace(rpod: Command, image: str, kind: str) -> None:
    rpod("run", "-d", "--name", "owner", f"--{kind}=host", image, "sleep", "1000")
    name = {"network": "net"}.get(kind, kind)
    look = (image, "readlink", f"/proc/self/ns/{name}")
    done = rpod("run", "--rm", f"--{kind}=container:owner", *look)
    assert done.out.strip() == os.readlink(f"/proc/self/ns/{name}")


@rpod_only
def test_namespace_of_a_process_of_ones_own(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "owner", image, "sleep", "1000")
    pid = rpod("inspect", "-f", "{{.State.Pid}}", "owner").out.strip()
    ours = rpod("run", "--rm", f"--network=ns:/proc/{pid}/ns/net", image,
                "readlink", "/proc/self/ns/net").out  # fmt: skip
    assert ours == rpod("exec", "owner", "readlink", "/proc/self/ns/net").out


def test_files_of_a_pod_user_namespace_are_the_owners(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "owner", "--userns=keep-id", image, "sleep", "1000")
    done = rpod("run", "--rm", "--network=container:owner", "--userns=container:owner", image,
                "cat", "/proc/self/uid_map")  # fmt: skip
    assert done.out == rpod("exec", "owner", "cat", "/proc/self/uid_map").out


@rpod_only
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--network=container:nope"], "no such container"),
        (["--network=container:owner", "-p", "1:1"], "cannot set port bindings"),
        (["--network=container:owner", "--userns=keep-id"], "lives in its user namespace"),
        (["--ipc=ns:relative"], "absolute path"),
        (["--pid=ns:/nowhere"], "join the namespace /nowhere"),
        (["--uts=ns:/etc/passwd"], "join the namespace /etc/passwd"),
        (["--cgroupns=container:owner"], "unknown namespace"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_shared_is_refused(
    rpod: Command, image: str, argv: list[str], said: str
) -> None:
    rpod("create", "--name", "owner", image, "true")
    done = rpod("run", "--rm", *argv, image, "true", check=False)
    assert done.code == 125, done.told
    assert said in done.err, done.told
    assert rpod("ps", "-aq").out.count("\n") == 1


@rpod_only
def test_link_in_place_of_shared_memory_leads_nowhere(rpod: Command, image: str) -> None:
    # Root of the owner may mount and move things in its own namespace: not out of it.
    rpod("run", "-d", "--name", "owner", "--cap-add", "SYS_ADMIN", image, "sleep", "1000")
    script = "umount /dev/shm; rmdir /dev/shm; ln -s /etc /dev/shm; readlink /dev/shm"
    done = rpod("exec", "owner", "sh", "-c", script, check=False)
    look = ("ls", "-A", "/dev/shm")
    guest = rpod("run", "--rm", "--ipc=container:owner", image, *look)
    assert "passwd" not in guest.out
    assert done.out in ("/etc\n", "")
    assert os.path.exists("/etc/passwd")
