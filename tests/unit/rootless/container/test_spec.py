"""config.json for typical requests; the values are those that podman 4.3.1 writes for them."""

import os

import pytest

from rootless.container.accounts import account_files
from rootless.container.idmap import choose
from rootless.container.merged import Accounts
from rootless.container.mounts import parse_tmpfs, parse_volume
from rootless.container.request import ContainerRequest
from rootless.container.spec import (
    Network,
    Source,
    Surroundings,
    container_command,
    find_user,
    generated_files,
    make_config,
)
from rootless.container.users import User
from rootless.errors import UnknownUser, UsageError
from rootless.linux.userns import IdMaps
from storage.oci.config import ImageConfig

ID = "0123456789ab" + "c" * 52
UID, GID = 1000, 1001
MAPS = IdMaps(((0, UID, 1), (1, 100_000, 65_536)), ((0, GID, 1), (1, 100_000, 65_536)))
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n"
GROUP = b"root:x:0:\naudio:x:29:alice\nalice:x:1000:\n"


def image(**config: object) -> ImageConfig:
    settings = {"Env": ["PATH=/usr/bin:/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"], **config}
    digest = "sha256:" + "0" * 64
    raw = {
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    return ImageConfig.from_json(raw, "config")


def surroundings(
    userns: str = "host", network: str = "slirp4netns", sources: tuple[Source, ...] = ()
) -> Surroundings:
    return Surroundings(
        container_id=ID,
        name="box",
        directory="/store/containers/x",
        namespace=choose(userns, MAPS, UID, GID),
        layers=[],
        accounts=Accounts(PASSWD, GROUP),
        network=Network(network),
        sources=list(sources),
    )


class Document:
    """A made config.json, with short ways to its parts."""

    def __init__(
        self,
        request: ContainerRequest | None = None,
        configuration: ImageConfig | None = None,
        around: Surroundings | None = None,
    ) -> None:
        wanted, configured = request or ContainerRequest(), configuration or image()
        there = around or surroundings()
        self.raw = make_config(wanted, configured, find_user(wanted, configured, there), there)

    def part(self, *names: str) -> dict[str, object]:
        found: object = self.raw
        for name in names:
            assert isinstance(found, dict)
            found = found[name]
        assert isinstance(found, dict)
        return found

    @property
    def process(self) -> dict[str, object]:
        return self.part("process")

    @property
    def mounts(self) -> dict[str, dict[str, object]]:
        found = self.raw["mounts"]
        assert isinstance(found, list)
        return {entry["destination"]: entry for entry in found}

    @property
    def namespaces(self) -> set[str]:
        found = self.part("linux")["namespaces"]
        assert isinstance(found, list)
        return {entry["type"] for entry in found}


def test_a_plain_request() -> None:
    made = Document()
    assert made.process["args"] == ["sh"]
    assert made.process["cwd"] == "/"
    assert made.process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0], "umask": 0o22}
    assert made.process["env"] == [
        "PATH=/usr/bin:/bin",
        "TERM=xterm",
        "container=podman",
        "FROM_IMAGE=yes",
        "HOME=/root",
        f"HOSTNAME={ID[:12]}",
    ]
    assert made.process["noNewPrivileges"] is False
    assert made.part("process", "capabilities")["effective"] == sorted(
        [f"CAP_{name}" for name in (
            "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP",
            "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")]
    )  # fmt: skip
    assert made.namespaces == {"user", "mount", "pid", "ipc", "uts", "cgroup", "network"}
    assert made.raw["hostname"] == ID[:12]
    assert made.part("root")["readonly"] is False


def test_a_request_with_wishes() -> None:
    request = ContainerRequest(
        user="alice",
        workdir="/srv",
        env=("A=b",),
        hostname="hh",
        read_only=True,
        cap_drop=("all",),
        cap_add=("chown",),
        ulimit=("core=1:2",),
        security_opt=("no-new-privileges",),
    )
    made = Document(request)
    assert made.process["user"] == {
        "uid": 1000,
        "gid": 1000,
        "additionalGids": [1000, 29],
        "umask": 0o22,
    }
    assert made.process["cwd"] == "/srv"
    environment = made.process["env"]
    assert isinstance(environment, list)
    assert {"A=b", "HOSTNAME=hh", "HOME=/home/alice"} <= set(environment)
    assert set(made.part("process", "capabilities")["bounding"]) == {"CAP_CHOWN"}  # type: ignore[call-overload]
    assert set(made.part("process", "capabilities")["effective"]) == {"CAP_CHOWN"}  # type: ignore[call-overload]
    assert made.process["noNewPrivileges"] is True
    assert {"type": "RLIMIT_CORE", "soft": 1, "hard": 2} in made.process["rlimits"]  # type: ignore[operator]
    assert made.part("root")["readonly"] is True
    for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
        assert "ro" in made.mounts[path]["options"]  # type: ignore[operator]


def test_a_request_that_shares_with_the_host() -> None:
    request = ContainerRequest(pid="host", ipc="host", uts="host", cgroupns="host")
    made = Document(request, around=surroundings(network="host"))
    assert made.namespaces == {"user", "mount"}
    assert "hostname" not in made.raw
    assert f"HOSTNAME={os.uname().nodename}" in made.process["env"]  # type: ignore[operator]
    assert made.mounts["/proc"]["type"] == "bind"
    assert made.mounts["/sys"]["type"] == "bind"
    assert made.part("linux")["sysctl"] == {}


def test_a_mount_that_lies_below_comes_later() -> None:
    sources = (
        Source(parse_volume("/x:/etc/deep/er", "/"), "/x", ""),
        Source(parse_volume("data:/etc", "/"), "/data", "data"),
        Source(parse_tmpfs("/run"), "", ""),
    )
    places = list(Document(around=surroundings(sources=sources)).mounts)
    assert places.index("/etc") < places.index("/etc/hosts") < places.index("/etc/deep/er")
    assert places.index("/run") < places.index("/run/.containerenv")
    assert places.index("/dev") < places.index("/dev/pts")


@pytest.mark.parametrize("target", ["/etc/hosts", "/dev", "/proc", "/dev/shm", "/sys"])
def test_what_the_user_mounts_takes_the_place_of_ours(target: str) -> None:
    source = Source(parse_volume(f"/x:{target}", "/"), "/x", "")
    made = Document(around=surroundings(sources=(source,)))
    assert made.mounts[target]["source"] == "/x"
    found = made.raw["mounts"]
    assert isinstance(found, list)
    assert [entry["destination"] for entry in found].count(target) == 1


def test_options_of_proc_replace_ours() -> None:
    made = Document(ContainerRequest(security_opt=("proc-opts=nosuid,hidepid=2",)))
    assert made.mounts["/proc"]["options"] == ["nosuid", "hidepid=2"]


@pytest.mark.parametrize(
    ("request_", "absent"),
    [
        (ContainerRequest(no_hosts=True), "/etc/hosts"),
        (ContainerRequest(dns=("none",)), "/etc/resolv.conf"),
    ],
)
def test_files_that_are_not_wanted_are_not_made(request_: ContainerRequest, absent: str) -> None:
    assert absent not in [target for _, target in generated_files(request_)]
    assert absent not in Document(request_).mounts


def test_the_terminals_group_is_named_only_where_it_is_mapped() -> None:
    assert "gid=5" in Document().mounts["/dev/pts"]["options"]  # type: ignore[operator]
    single = IdMaps(((0, UID, 1),), ((0, GID, 1),))
    around = surroundings()._replace(namespace=choose("host", single, UID, GID))
    options = Document(around=around).mounts["/dev/pts"]["options"]
    assert isinstance(options, list)
    assert not [word for word in options if word.startswith("gid=")]


def test_keep_id_runs_as_the_caller() -> None:
    made = Document(around=surroundings("keep-id"))
    assert made.part("process", "user")["uid"] == UID
    assert made.part("process", "user")["gid"] == GID


def test_user_beats_keep_id_and_the_image() -> None:
    request = ContainerRequest(user="alice")
    made = Document(request, image(User="root"), surroundings("keep-id:uid=5"))
    assert made.part("process", "user")["uid"] == 1000


def test_an_id_that_is_not_mapped_is_refused() -> None:
    with pytest.raises(UnknownUser, match="70000"):
        Document(ContainerRequest(user="70000"))


@pytest.mark.parametrize(
    ("entrypoint", "command", "image_entrypoint", "image_cmd", "expected"),
    [
        (None, (), None, ["sh"], ["sh"]),
        (None, ("ls",), None, ["sh"], ["ls"]),
        (None, (), ["e"], ["c"], ["e", "c"]),
        (None, ("x",), ["e"], ["c"], ["e", "x"]),
        ("mine", (), ["e"], ["c"], ["mine"]),
        ("mine", ("x",), ["e"], ["c"], ["mine", "x"]),
        ("", ("x",), ["e"], ["c"], ["x"]),
        ('["a", "b"]', ("x",), ["e"], None, ["a", "b", "x"]),
        ("[not json", (), None, None, ["[not json"]),
        ("[1]", (), None, None, ["[1]"]),
        ("[]", ("x",), ["e"], ["c"], ["x"]),
        (None, (), [""], ["c"], ["c"]),
    ],
)  # fmt: skip
def test_command_is_entry_point_and_words(
    entrypoint: str | None,
    command: tuple[str, ...],
    image_entrypoint: list[str] | None,
    image_cmd: list[str] | None,
    expected: list[str],
) -> None:
    request = ContainerRequest(entrypoint=entrypoint, command=command)
    found = container_command(request, image(Entrypoint=image_entrypoint, Cmd=image_cmd))
    assert found == expected


@pytest.mark.parametrize("entrypoint", [None, ""])
def test_without_any_command_there_is_a_clear_error(entrypoint: str | None) -> None:
    with pytest.raises(UsageError, match="no command or entrypoint"):
        container_command(ContainerRequest(entrypoint=entrypoint), image(Cmd=None))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"umask": "99"}, id="umask"),
        pytest.param({"umask": "7777"}, id="umask-range"),
        pytest.param({"umask": "-1"}, id="umask-sign"),
        pytest.param({"workdir": "relative"}, id="workdir"),
        pytest.param({"hostname": "a b"}, id="hostname-blank"),
        pytest.param({"hostname": "a\nb"}, id="hostname-line"),
        pytest.param({"hostname": "x" * 65}, id="hostname-long"),
        pytest.param({"pid": "container:x"}, id="pid"),
        pytest.param({"ipc": "bogus"}, id="ipc"),
        pytest.param({"annotation": ("x",)}, id="annotation"),
        pytest.param({"annotation": ("dev.rpod.seccomp=unconfined",)}, id="annotation-of-ours"),
        pytest.param({"sysctl": ("kernel.core_pattern=|/x",)}, id="sysctl-of-the-host"),
        pytest.param({"sysctl": ("net.ipv4.x",)}, id="sysctl-without-value"),
        pytest.param({"sysctl": ("kernel.shmmax=1",), "ipc": "host"}, id="sysctl-shared-ipc"),
        pytest.param({"ulimit": ("bogus=1",)}, id="ulimit"),
        pytest.param({"cap_add": ("bogus",)}, id="capability"),
        pytest.param({"oom_score_adj": 5000}, id="oom"),
    ],
)
def test_wrong_wishes_are_usage_errors(changes: dict[str, object]) -> None:
    request = ContainerRequest()._replace(**changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Document(request)


def test_a_sysctl_of_an_own_namespace_is_taken() -> None:
    request = ContainerRequest(sysctl=("net/ipv4/ip_forward=1", "kernel.shmmax=5"))
    found = Document(request).part("linux")["sysctl"]
    assert isinstance(found, dict)
    assert (found["net.ipv4.ip_forward"], found["kernel.shmmax"]) == ("1", "5")


class TestAccountFiles:
    def test_known_ids_need_nothing(self) -> None:
        user = User(1000, 1000, (), "alice", "/home/alice")
        assert account_files(user, surroundings(), "caller", ContainerRequest()) == {}

    def test_unknown_ids_get_lines(self) -> None:
        made = account_files(User(7, 8, (), "", "/"), surroundings(), "caller", ContainerRequest())
        assert made["passwd"] == PASSWD + b"7:*:7:8:container user:/:/bin/sh\n"
        assert made["group"] == GROUP + b"8:x:8:\n"

    def test_the_caller_keeps_the_name_of_the_host(self) -> None:
        around = surroundings("keep-id:uid=1234,gid=1235")
        made = account_files(User(1234, 1235, (), "", "/"), around, "caller", ContainerRequest())
        assert made["passwd"].endswith(b"\ncaller:*:1234:1235:container user:/:/bin/sh\n")

    def test_a_last_line_without_end_is_ended(self) -> None:
        around = surroundings()._replace(accounts=Accounts(b"root:x:0:0::/:", b""))
        made = account_files(User(7, 0, (), "", "/"), around, "caller", ContainerRequest())
        assert made["passwd"].splitlines()[0] == b"root:x:0:0::/:"

    def test_templates_replace_the_usual_lines(self) -> None:
        request = ContainerRequest(
            passwd_entry="u$UID:*:$UID:$GID:$NAME:$HOME:/bin/zsh", group_entry="g:x:$GID:"
        )
        made = account_files(User(7, 8, (), "", "/w"), surroundings(), "caller", request)
        assert made["passwd"] == PASSWD + b"u7:*:7:8:container user:/w:/bin/zsh\n"
        assert made["group"] == GROUP + b"g:x:8:\n"

    def test_no_passwd_leaves_the_files_alone(self) -> None:
        request = ContainerRequest(passwd=False)
        assert account_files(User(7, 8, (), "", "/"), surroundings(), "caller", request) == {}

    def test_a_user_of_the_host_is_added_once(self) -> None:
        request = ContainerRequest(hostuser=("daemon", "root"))
        made = account_files(User(0, 0, (), "root", "/"), surroundings(), "caller", request)
        assert made["passwd"].startswith(PASSWD + b"daemon:*:1:1:")
        assert made["passwd"].count(b"root:x:0") == 1

    def test_an_unknown_user_of_the_host_is_an_error(self) -> None:
        request = ContainerRequest(hostuser=("no-such-user",))
        with pytest.raises(UsageError, match="no-such-user"):
            account_files(User(0, 0, (), "root", "/"), surroundings(), "caller", request)
