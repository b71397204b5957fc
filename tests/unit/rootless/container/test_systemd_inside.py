"""What a container gets whose first process is systemd."""

import pytest

from rootless.container.request import ContainerRequest
from rootless.container.spec import Network, Surroundings, make_config, runs_systemd
from rootless.container.users import User
from tests.unit.rootless.container.test_spec import ID, image, surroundings


def make(request: ContainerRequest, around: Surroundings | None = None) -> dict[str, object]:
    user = User(0, 0, (), "root", "/root")
    return make_config(request, image(), user, around or surroundings(network="none"))


def mounts(config: dict[str, object]) -> dict[str, list[str]]:
    entries = config["mounts"]
    assert isinstance(entries, list)
    return {entry["destination"]: entry["options"] for entry in entries}


@pytest.mark.parametrize(
    ("mode", "command", "expected"),
    [
        ("true", "/sbin/init", True),
        ("true", "/usr/sbin/init", True),
        ("true", "/lib/systemd/systemd", True),
        ("true", "systemd", True),
        ("true", "init", False),
        ("true", "/bin/sh", False),
        ("always", "/bin/sh", True),
        ("false", "/sbin/init", False),
    ],
)
def test_systemd_is_recognised(mode: str, command: str, expected: bool) -> None:
    request = ContainerRequest(image="x", command=(command,), systemd=mode)
    assert runs_systemd(request, image()) is expected


def test_init_of_ours_is_the_first_process_instead() -> None:
    request = ContainerRequest(image="x", command=("/sbin/init",), init=True)
    assert not runs_systemd(request, image())


def test_file_systems_in_memory_and_a_cgroup_to_divide() -> None:
    config = make(ContainerRequest(image="x", command=("/sbin/init",)))
    found = mounts(config)
    assert {"/run", "/run/lock", "/tmp", "/var/log/journal"} <= set(found)
    assert "rw" in found["/sys/fs/cgroup"]
    process = config["process"]
    assert isinstance(process, dict)
    assert f"container_uuid={ID[:32]}" in process["env"]


def test_others_cannot_divide_their_cgroup() -> None:
    plain = mounts(make(ContainerRequest(image="x", command=("sh",))))
    assert "ro" in plain["/sys/fs/cgroup"]
    assert "/tmp" not in plain


@pytest.mark.parametrize(
    "request_",
    [
        ContainerRequest(image="x", command=("/sbin/init",), cgroups="disabled"),
        ContainerRequest(image="x", command=("/sbin/init",), cgroupns="host"),
    ],
    ids=["cgroups", "cgroupns"],
)
def test_cgroup_of_the_caller_stays_closed(request_: ContainerRequest) -> None:
    assert "ro" in mounts(make(request_))["/sys/fs/cgroup"]


def test_own_mount_is_kept() -> None:
    from rootless.container.mounts import parse_tmpfs
    from rootless.container.spec import Source

    own = Source(parse_tmpfs("/tmp:size=1m"), "", "")
    around = surroundings(network="none", sources=(own,))
    assert isinstance(around.network, Network)
    config = make(ContainerRequest(image="x", command=("/sbin/init",)), around)
    entries = config["mounts"]
    assert isinstance(entries, list)
    assert [entry["destination"] for entry in entries].count("/tmp") == 1
