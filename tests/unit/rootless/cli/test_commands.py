"""Commands that only read or write records, on a store of their own."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rootless.cli.main import run as main
from storage.containers import (
    ContainerRecord,
    ContainerState,
    take_name,
    write_record,
    write_state,
)
from storage.files import make_store, write_file
from storage.layout import Layout
from storage.names import set_name

LONG_ID = "55e8c6a67c99f80d73cbeca0aa02c8b325a38eab5bd811ec2ec2a9fb24cf51b9"
OTHER_ID = "2a69b79adb3acf1be877b515df6492a4446b55451b7b8e3651469b2004ee3f8d"
IMAGE_ID = "3f54da2c5bffea3cae262649674bd8682336a87c9eb45861e808f844b24aaf4b"
MANIFEST = "sha256:b11ee5f4ea925ac0d79f938f074629094f8a0754005f1af38ca3a1e76a2fa1e4"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Rpod = Callable[..., Done]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    store, run_root = str(tmp_path / "store"), str(tmp_path / "run")
    monkeypatch.setenv("RPOD_ROOT", store)
    monkeypatch.setenv("RPOD_RUNROOT", run_root)
    found = Layout(store, run_root)
    make_store(found)
    return found


@pytest.fixture
def rpod(layout: Layout, capsys: pytest.CaptureFixture[str]) -> Rpod:
    def call(*argv: str) -> Done:
        code = main(argv)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def make_container(layout: Layout, container_id: str, name: str, *, created_at: str,
                   command: tuple[str, ...], exit_code: int | None = None,
                   labels: dict[str, str] | None = None) -> None:  # fmt: skip
    paths = layout.container(container_id)
    os.makedirs(paths.directory)
    record = ContainerRecord(
        id=container_id,
        name=name,
        created_at=created_at,
        image_name="localhost/bb:latest",
        image_id=IMAGE_ID,
        image_digest=MANIFEST,
        command=command,
        map_key="k",
        chain_ids=(),
        uid_map=((0, 1000, 1),),
        gid_map=((0, 1000, 1),),
        driver="overlay",
        network="none",
        ports=({"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp"},),
        mounts=(),
        labels=labels or {},
        annotations={},
        stop_signal=15,
        stop_timeout_s=10,
        timeout_s=0,
        tty=False,
        interactive=False,
        auto_remove=False,
        init=False,
        log_driver="k8s-file",
        anonymous_volumes=(),
        cidfile="",
        pidfile="",
        request={},
    )
    write_record(paths, record, sync=False)
    if exit_code is not None:
        state = ContainerState(started_at=created_at, finished_at=created_at, exit_code=exit_code)
        write_state(paths, state, sync=False)
    take_name(layout, name, container_id, sync=False)


def make_image(layout: Layout, names: tuple[str, ...]) -> None:
    record = {
        "version": 1,
        "image_id": IMAGE_ID,
        "manifest_digest": MANIFEST,
        "config_digest": f"sha256:{IMAGE_ID}",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "size_bytes": 1997932,
        "created": "2020-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "labels": {"app": "x"},
        "added_at": "2020-01-01T00:00:00Z",
    }
    write_file(layout.image_record(MANIFEST), json.dumps(record).encode())
    for name in names:
        set_name(layout, name, MANIFEST)


@pytest.fixture
def containers(layout: Layout) -> None:
    make_container(
        layout, LONG_ID, "a", created_at="2020-01-01T00:00:00.5Z", command=("sleep", "1000"),
        labels={"foo": "bar"},
    )  # fmt: skip
    make_container(
        layout,
        OTHER_ID,
        "b",
        created_at="2020-01-02T00:00:00.5Z",
        command=("sh", "-c", "echo hello world"),
        exit_code=3,
    )


@pytest.mark.usefixtures("containers")
class TestPs:
    def test_lists_no_ended_container(self, rpod: Rpod) -> None:
        assert rpod("ps").out.splitlines() == [
            "CONTAINER ID  IMAGE       COMMAND     CREATED     STATUS      PORTS       NAMES"
        ]

    def test_lists_all_with_the_oldest_first(self, rpod: Rpod) -> None:
        done = rpod("ps", "-a", "--noheading")
        first, second = done.out.splitlines()
        assert first.startswith("55e8c6a67c99  localhost/bb:latest  sleep 1000")
        assert "Created" in first
        assert "0.0.0.0:8080->80/tcp" in first
        assert "sh -c echo hello ..." in second
        assert "Exited (3) " in second
        assert second.endswith("  b")

    def test_quiet_prints_short_ids(self, rpod: Rpod) -> None:
        assert rpod("ps", "-aq").out == "55e8c6a67c99\n2a69b79adb3a\n"

    def test_no_trunc_prints_everything(self, rpod: Rpod) -> None:
        assert rpod("ps", "-aq", "--no-trunc").out == f"{LONG_ID}\n{OTHER_ID}\n"
        assert "sh -c echo hello world" in rpod("ps", "-a", "--no-trunc").out

    @pytest.mark.parametrize(
        ("argv", "names"),
        [
            (["--latest"], "b"),
            (["-n", "1"], "b"),
            (["-n", "5"], "a b"),
            (["-a", "--filter", "label=foo"], "a"),
            (["--filter", "status=exited"], "b"),
            (["--filter", "exited=3"], "b"),
            (["-a", "--sort", "command"], "b a"),
            (["-a", "--sort", "names"], "a b"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_chooses_and_sorts(self, rpod: Rpod, argv: list[str], names: str) -> None:
        assert rpod("ps", *argv, "--format", "{{.Names}}").out.split() == names.split()

    def test_template_has_podmans_fields(self, rpod: Rpod) -> None:
        text = '{{.ID}}|{{.State}}|{{.ExitCode}}|{{.Created}}|{{.Labels}}|{{.Label "foo"}}'
        assert rpod("ps", "-l", "--format", text).out == (
            "2a69b79adb3a|exited|3|2020-01-02 00:00:00.5 +0000 UTC|map[]|\n"
        )

    def test_json_has_podmans_keys(self, rpod: Rpod) -> None:
        first, second = json.loads(rpod("ps", "-a", "--format", "json").out)
        assert first["Id"] == LONG_ID
        assert first["Names"] == ["a"]
        assert first["Labels"] == {"foo": "bar"}
        assert first["Ports"][0]["host_port"] == 8080
        assert (second["Exited"], second["ExitCode"], second["State"]) == (True, 3, "exited")

    def test_unknown_field_is_an_error(self, rpod: Rpod) -> None:
        done = rpod("ps", "--format", "{{.Bogus}}")
        assert done.code == 125
        assert done.err.startswith('Error: template: no field "Bogus"\n  valid fields: ')


@pytest.mark.usefixtures("containers")
class TestContainers:
    def test_exists_says_so_by_exit_code(self, rpod: Rpod) -> None:
        assert [rpod("container", "exists", name).code for name in ("a", "55e8", "c")] == [0, 0, 1]

    def test_wait_prints_the_exit_code(self, rpod: Rpod) -> None:
        assert rpod("wait", "b") == Done(0, "3\n", "")

    def test_kill_of_one_that_does_not_run_is_an_error(self, rpod: Rpod) -> None:
        done = rpod("kill", "b")
        assert done.code == 125
        assert done.err.startswith("Error: can only kill running containers")

    def test_stop_of_one_that_does_not_run_is_fine(self, rpod: Rpod) -> None:
        assert rpod("stop", "b") == Done(0, "b\n", "")

    def test_rm_goes_on_and_ends_with_1(self, rpod: Rpod) -> None:
        done = rpod("rm", "nosuch", "b")
        assert (done.code, done.out) == (1, "b\n")
        assert done.err == 'Error: no container with name or ID "nosuch" found: no such container\n'
        assert rpod("ps", "-aq").out == "55e8c6a67c99\n"

    @pytest.mark.parametrize("option", ["-f", "-i"])
    def test_rm_may_ignore_missing_ones(self, rpod: Rpod, option: str) -> None:
        assert rpod("rm", option, "nosuch") == Done(0, "", "")

    def test_rm_takes_all(self, rpod: Rpod) -> None:
        assert rpod("rm", "-a").code == 0
        assert rpod("ps", "-aq").out == ""

    def test_rm_takes_an_id_file(self, rpod: Rpod, tmp_path: Path) -> None:
        path = tmp_path / "cid"
        path.write_text(OTHER_ID)
        assert rpod("rm", "--cidfile", str(path)).out == f"{OTHER_ID}\n"

    def test_prune_asks(self, rpod: Rpod, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert "Are you sure" in rpod("container", "prune").out
        assert len(rpod("ps", "-aq").out.split()) == 2

    def test_prune_removes_what_does_not_run(self, rpod: Rpod) -> None:
        done = rpod("container", "prune", "-f", "--filter", "label=foo")
        assert done.out == f"{LONG_ID}\n"

    @pytest.mark.parametrize("command", ["stop", "rm", "kill", "start", "wait", "logs"])
    def test_a_name_is_needed(self, rpod: Rpod, command: str) -> None:
        done = rpod(command)
        assert (done.code, done.err) == (125, "Error: you must provide at least one name or id\n")

    @pytest.mark.parametrize("option", ["--all", "--latest"])
    def test_names_and_switches_do_not_go_together(self, rpod: Rpod, option: str) -> None:
        done = rpod("rm", option, "a")
        assert done.code == 125
        assert done.err == f"Error: {option} and names of containers do not go together\n"

    def test_port_lists(self, rpod: Rpod) -> None:
        assert rpod("port", "a").out == "80/tcp -> 0.0.0.0:8080\n"
        assert rpod("port", "a", "80").out == "0.0.0.0:8080\n"
        assert rpod("port", "a", "81").code == 125

    def test_exec_needs_a_running_container_and_a_command(self, rpod: Rpod) -> None:
        assert rpod("exec", "b", "true").code == 125
        assert rpod("exec", "b").err.startswith("Error: must provide a command to execute")


class TestImages:
    def test_table_is_podmans(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest",))
        heading, line = rpod("images").out.splitlines()
        assert heading == "REPOSITORY    TAG         IMAGE ID      CREATED      SIZE"
        assert line.startswith("localhost/bb  latest      3f54da2c5bff  ")
        assert line.endswith(" 2 MB")

    def test_an_image_without_names_is_none(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ())
        assert rpod("images", "-n").out.split()[:2] == ["<none>", "<none>"]

    @pytest.mark.parametrize(
        ("argv", "found"),
        [
            (["bb"], True),
            (["localhost/bb"], True),
            (["bb:latest"], True),
            (["b"], False),
            (["b*"], True),
            (["--filter", "dangling=false"], True),
            (["--filter", "dangling=true"], False),
            (["--filter", "label=app=x"], True),
            (["--filter", "label=app", "--filter", "label=no"], False),
            (["--filter", "reference=*/bb"], True),
            (["--filter", "reference!=*/bb"], False),
            (["--filter", "dangling!=true"], True),
            (["--filter", "intermediate=true"], False),
            (["-a"], True),
            (["--filter", "until=24h"], True),
            (["--filter", "id=3f54"], True),
            (["--filter", "containers=true"], False),
            (["--filter", "before=bb"], False),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_filters_choose(self, rpod: Rpod, layout: Layout, argv: list[str], found: bool) -> None:
        make_image(layout, ("localhost/bb:latest",))
        assert rpod("images", "-q", *argv).out == ("3f54da2c5bff\n" if found else "")

    def test_quiet_prints_each_id_once(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest", "localhost/bb:2"))
        assert rpod("images", "-q").out == "3f54da2c5bff\n"
        assert rpod("images", "-q", "--no-trunc").out == f"sha256:{IMAGE_ID}\n"

    def test_json_has_podmans_keys(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest", "localhost/bb:2"))
        (image,) = json.loads(rpod("images", "--format", "json").out)
        assert image["Id"] == IMAGE_ID
        assert image["RepoDigests"] == [f"localhost/bb@{MANIFEST}"]
        assert image["Names"] == ["localhost/bb:2", "localhost/bb:latest"]

    @pytest.mark.parametrize("text", ["bogus=1", "dangling"])
    def test_unknown_filter_is_an_error(self, rpod: Rpod, text: str) -> None:
        done = rpod("images", "--filter", text)
        assert done.code == 125
        assert done.err.startswith(f'Error: unsupported image filter "{text}"\n')

    def test_exists_says_so_by_exit_code(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest",))
        assert [rpod("image", "exists", name).code for name in ("bb", "3f54", "c")] == [0, 0, 1]

    def test_tag_and_untag(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest",))
        assert rpod("tag", "bb", "x:1", "quay.io/y:2") == Done(0, "", "")
        names = rpod("images", "--format", "{{.Repository}}:{{.Tag}}", "--sort", "tag").out
        assert names.split() == ["localhost/x:1", "quay.io/y:2", "localhost/bb:latest"]
        assert rpod("untag", "bb").code == 0
        assert rpod("images", "-q", "--filter", "dangling=true").out == "3f54da2c5bff\n"

    def test_rmi_of_a_missing_image_ends_with_1(self, rpod: Rpod) -> None:
        assert rpod("rmi", "nosuch") == Done(1, "", "Error: nosuch: image not known\n")

    def test_rmi_takes_a_name_away(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:1", "localhost/bb:2"))
        assert rpod("rmi", "bb:1").out == "Untagged: localhost/bb:1\n"

    @pytest.mark.usefixtures("containers")
    def test_rmi_of_an_image_in_use_ends_with_2(self, rpod: Rpod, layout: Layout) -> None:
        make_image(layout, ("localhost/bb:latest",))
        assert rpod("rmi", "bb").code == 2
        assert rpod("image", "exists", "bb").code == 0


@pytest.mark.usefixtures("layout")
class TestInspect:
    @pytest.mark.parametrize(
        ("argv", "error"),
        [
            (["inspect"], 'inspecting object: no such object: "nosuch"'),
            (["container", "inspect"], "inspecting object: no such container nosuch"),
            (["image", "inspect"], "inspecting object: nosuch: image not known"),
            (["volume", "inspect"], "inspecting object: no such volume nosuch"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_missing_object_is_an_empty_array_and_125(
        self, rpod: Rpod, argv: list[str], error: str
    ) -> None:
        assert rpod(*argv, "nosuch") == Done(125, "[]\n", f"Error: {error}\n")

    def test_template_prints_what_is_there_before_the_error(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        done = rpod("inspect", "v", "nosuch", "-f", "{{.Name}}")
        assert (done.code, done.out) == (125, "v\n")

    def test_type_chooses(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        assert rpod("inspect", "--type", "container", "v").code == 125
        assert rpod("inspect", "--type", "volume", "v").code == 0


@pytest.mark.usefixtures("layout")
class TestVolumes:
    def test_create_prints_the_name(self, rpod: Rpod) -> None:
        assert rpod("volume", "create", "v") == Done(0, "v\n", "")

    def test_create_makes_a_name_up(self, rpod: Rpod) -> None:
        assert len(rpod("volume", "create").out.strip()) == 64

    def test_create_of_a_taken_name_is_an_error(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        done = rpod("volume", "create", "v")
        assert done.code == 125
        assert done.err.startswith("Error: volume with name v already exists")
        assert rpod("volume", "create", "--ignore", "v").code == 0

    def test_ls_prints_podmans_table(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        assert rpod("volume", "ls").out == "DRIVER      VOLUME NAME\nlocal       v\n"
        assert rpod("volume", "ls", "-q").out == "v\n"

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("label=a", "v"),
            ("label=a=1", "v"),
            ("label=a=2", ""),
            ("label!=a", "w"),
            ("name=^v", "v"),
            ("dangling=true", "v w"),
            ("driver=local", "v w"),
            ("until=1h", ""),
        ],
    )
    def test_ls_filters(self, rpod: Rpod, text: str, names: str) -> None:
        rpod("volume", "create", "-l", "a=1", "v")
        rpod("volume", "create", "w")
        assert rpod("volume", "ls", "-q", "--filter", text).out.split() == names.split()

    def test_inspect_has_podmans_keys(self, rpod: Rpod, layout: Layout) -> None:
        rpod("volume", "create", "-l", "a=1", "v")
        (volume,) = json.loads(rpod("volume", "inspect", "v").out)
        assert volume["Mountpoint"] == layout.volume_data("v")
        assert volume["Labels"] == {"a": "1"}
        assert rpod("volume", "inspect", "-a", "-f", "{{.Name}}").out == "v\n"

    def test_rm_goes_on_and_ends_with_1(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        done = rpod("volume", "rm", "nosuch", "v")
        assert (done.code, done.out) == (1, "v\n")
        assert rpod("volume", "exists", "v").code == 1

    def test_prune_keeps_named_ones_unless_all(self, rpod: Rpod) -> None:
        rpod("volume", "create", "v")
        anonymous = rpod("volume", "create").out
        assert rpod("volume", "prune", "-f").out == anonymous
        assert rpod("volume", "prune", "-fa").out == "v\n"


@pytest.mark.parametrize(
    ("called", "line"),
    [
        ("/usr/bin/rpod", "rpod version 0."),
        ("/home/me/bin/podman", "podman version 5."),
        ("docker", "Docker version 27."),
    ],
)
def test_version_is_that_of_the_tool_it_is_started_as(
    rpod: Rpod, monkeypatch: pytest.MonkeyPatch, called: str, line: str
) -> None:
    monkeypatch.setattr("sys.argv", [called])
    told = rpod("--version").out
    assert told.startswith(line)
    number = told.split()[2].rstrip(",")
    assert rpod("version", "--format", "{{.Client.Version}} {{.Version}}").out.split() == [
        number,
        number,
    ]
    assert ("Server" in json.loads(rpod("version", "--format", "json").out)) == (called == "docker")
