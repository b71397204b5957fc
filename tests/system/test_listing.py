"""`ps`, `inspect`, `info`, `version`: tables, formats, filters."""

import json
import os
import re

import pytest

from tests.support.command import Command


def test_ps_table(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "running", image, "sleep", "100")
    head, line = rpod("ps").lines
    columns = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert re.split(r"\s{2,}", head.strip()) == columns
    cells = re.split(r"\s{2,}", line.strip())
    assert re.fullmatch(r"[0-9a-f]{12}", cells[0])
    assert cells[1] == image
    assert cells[2] == "sleep 100"
    assert cells[3].endswith("ago")
    assert cells[4].startswith("Up ")
    assert cells[-1] == "running"


def test_ps_shows_running_ones_and_all_on_request(rpod: Command, image: str) -> None:
    rpod("create", "--name", "made", image)
    rpod("run", "--name", "over", image, "sh", "-c", "exit 3", check=False)
    rpod("run", "-d", "--name", "running", image, "sleep", "100")
    assert rpod("ps", "--format", "{{.Names}}").lines == ["running"]
    states = sorted(rpod("ps", "-a", "--format", "{{.Names}} {{.Status}}").lines)
    assert states[0] == "made Created"
    assert re.match(r"over Exited \(3\) .* ago", states[1])
    assert states[2].startswith("running Up")


def test_ps_quiet(rpod: Command, image: str) -> None:
    container_id = rpod("create", image).out.strip()
    assert rpod("ps", "-aq").lines == [container_id[:12]]
    assert rpod("ps", "-aq", "--no-trunc").lines == [container_id]


def test_ps_json(rpod: Command, image: str) -> None:
    container_id = rpod("create", "--name", "made", "--label", "a=b", image, "true").out.strip()
    rows = json.loads(rpod("ps", "-a", "--format", "json").out)
    assert len(rows) == 1
    row = rows[0]
    assert row["Id"] == container_id
    assert row["Names"] == ["made"]
    assert row["Image"] == image
    assert row["Command"] == ["true"]
    assert row["State"] == "created"
    assert row["Labels"]["a"] == "b"
    assert row["Exited"] is False


FILTERS = {
    "name": ("name=^two$", ["two"]),
    "name part": ("name=t", ["two", "three"]),
    "status": ("status=running", ["three"]),
    "label": ("label=kind=x", ["one", "three"]),
    "label key": ("label=kind", ["one", "three"]),
    "exited": ("exited=4", ["two"]),
}


@pytest.mark.parametrize(("condition", "expected"), FILTERS.values(), ids=FILTERS.keys())
def test_ps_filter(rpod: Command, image: str, condition: str, expected: list[str]) -> None:
    rpod("create", "--name", "one", "--label", "kind=x", image)
    rpod("run", "--name", "two", image, "sh", "-c", "exit 4", check=False)
    rpod("run", "-d", "--name", "three", "--label", "kind=x", image, "sleep", "100")
    found = rpod("ps", "-a", "--filter", condition, "--format", "{{.Names}}").lines
    assert sorted(found) == sorted(expected)


def test_ps_filter_combines_keys(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image)
    rpod("create", "--name", "two", image)
    both = ("--filter", "name=one", "--filter", "status=created")
    assert rpod("ps", "-a", *both, "--format", "{{.Names}}").lines == ["one"]
    neither = ("--filter", "name=one", "--filter", "status=exited")
    assert rpod("ps", "-aq", *neither).lines == []


def test_ps_latest_and_last(rpod: Command, image: str) -> None:
    for name in ("one", "two", "three"):
        rpod("create", "--name", name, image)
    assert rpod("ps", "-l", "--format", "{{.Names}}").lines == ["three"]
    assert sorted(rpod("ps", "-n", "2", "--format", "{{.Names}}").lines) == ["three", "two"]


def test_format_table(rpod: Command, image: str) -> None:
    rpod("create", "--name", "made", image)
    found = rpod("ps", "-a", "--format", "table {{.Names}} {{.Status}}").lines
    assert found == ["NAMES       STATUS", "made        Created"]


def test_format_with_an_unknown_field(rpod: Command, image: str) -> None:
    rpod("create", image)
    done = rpod("ps", "-a", "--format", "{{.NoSuchField}}", check=False)
    assert done.code == 125, done.told
    assert "NoSuchField" in done.err


def test_inspect_container(rpod: Command, image: str) -> None:
    options = ("--name", "seen", "-e", "A=b", "--label", "c=d", "-w", "/tmp", "-u", "alice")
    container_id = rpod("create", *options, "--stop-signal", "INT", image, "sleep", "7").out.strip()
    found = json.loads(rpod("inspect", "seen").out)
    assert len(found) == 1
    document = found[0]
    assert document["Id"] == container_id
    assert document["Name"] == "seen"
    assert document["ImageName"] == image
    assert document["Path"] == "sleep"
    assert document["Args"] == ["7"]
    assert document["State"]["Status"] == "created"
    assert document["State"]["Running"] is False
    config = document["Config"]
    assert "A=b" in config["Env"]
    assert config["Labels"]["c"] == "d"
    assert config["WorkingDir"] == "/tmp"
    assert config["User"] == "alice"
    assert config["StopSignal"] == 2


def test_inspect_running_container(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "running", image, "sleep", "100")
    state = json.loads(rpod("inspect", "running").out)[0]["State"]
    assert state["Running"] is True
    assert state["Pid"] > 0
    assert state["StartedAt"].startswith("20")


def test_inspect_mounts(rpod: Command, image: str, account_dir: str) -> None:
    rpod("create", "--name", "seen", "-v", f"{account_dir}:/a:ro", "-v", "vol:/b", image)
    mounts = json.loads(rpod("inspect", "seen").out)[0]["Mounts"]
    found = {mount["Destination"]: mount for mount in mounts}
    assert (found["/a"]["Type"], found["/a"]["Source"], found["/a"]["RW"]) == (
        "bind",
        account_dir,
        False,
    )
    assert (found["/b"]["Type"], found["/b"]["Name"], found["/b"]["RW"]) == ("volume", "vol", True)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Name}}", "seen"),
        ("{{.State.Status}}/{{.State.ExitCode}}", "created/0"),
        ("{{json .Args}}", '["a","b"]'),
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b>"),
        ("{{if .State.Running}}on{{else}}off{{end}}", "off"),
        ("{{len .Args}}", "2"),
        ("{{index .Args 1}}", "b"),
        ('{{printf "%s-%d" .Name .State.ExitCode}}', "seen-0"),
    ],
)
def test_inspect_format(rpod: Command, image: str, template: str, expected: str) -> None:
    rpod("create", "--name", "seen", image, "echo", "a", "b")
    assert rpod("inspect", "--format", template, "seen").out == expected + "\n"


def test_inspect_of_nothing(rpod: Command, image: str) -> None:
    done = rpod("inspect", "no-such-thing", check=False)
    assert done.code == 125, done.told
    assert json.loads(done.out) == []
    assert "no-such-thing" in done.err


def test_images_table(rpod: Command, image: str) -> None:
    head, *lines = rpod("images").lines
    assert re.split(r"\s{2,}", head.strip()) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    repository, _, tag = image.rpartition(":")
    assert [repository, tag] in [row[:2] for row in cells]


@pytest.mark.rpod_only  # podman's entries need not have Names
def test_images_json(rpod: Command, image: str) -> None:
    rows = json.loads(rpod("images", "--format", "json").out)
    assert image in [name for row in rows for name in row["Names"] or []]


def test_version_and_info(rpod: Command) -> None:
    assert rpod("version").code == 0
    assert re.search(r"\d+\.\d+", rpod("--version").out)
    assert "host" in json.loads(rpod("info", "--format", "json").out)


def test_unknown_command_is_named(rpod: Command) -> None:
    done = rpod("frobnicate", check=False)
    assert done.code == 125, done.told
    assert "frobnicate" in done.err


def test_unknown_option_is_named(rpod: Command) -> None:
    done = rpod("run", "--no-such-option", "x", check=False)
    assert done.code == 125, done.told
    assert "--no-such-option" in done.err
    assert "run --help" in done.err


def test_help_names_the_commands(rpod: Command) -> None:
    text = rpod("--help").out
    for command in ("run", "exec", "ps", "images", "pull", "logs", "inspect"):
        assert re.search(rf"^\s+{command}\s", text, re.MULTILINE), command


def test_ps_size(rpod: Command, image: str) -> None:
    rpod("run", "--name", "c", image, "sh", "-c", "head -c 3000000 /dev/zero >/file")
    size, virtual = rpod("ps", "-as", "--format", "{{.Size}}").out.split(" ", 1)
    assert re.fullmatch(r"3(\.0\d*)?MB", size)
    assert re.fullmatch(r"\(virtual \d[\d.]*MB\)\n", virtual)
    head, line = rpod("ps", "-a", "--size").lines
    assert head.split()[-1] == "SIZE"
    assert line.endswith(f"{size} {virtual}".rstrip())
    (found,) = json.loads(rpod("ps", "-as", "--format", "json").out)
    measured = found["Size"]
    assert 3_000_000 <= measured["rwSize"] < 3_001_000
    assert 0 < measured["rootFsSize"] < 3_000_000
    (shown,) = json.loads(rpod("inspect", "--size", "c").out)
    assert (shown["SizeRw"], shown["SizeRootFs"]) == (measured["rwSize"], measured["rootFsSize"])
    assert "SizeRw" not in json.loads(rpod("container", "inspect", "c").out)[0]


def test_ps_namespaces(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "c", "--uts", "host", image, "sleep", "100")
    head, line = rpod("ps", "--ns").lines
    names = "CONTAINER ID  NAMES  PID  CGROUPNS  IPC  MNT  NET  PIDNS  USERNS  UTS"
    assert re.split(r"\s{2,}", head.strip()) == names.split("  ")
    pid = rpod("inspect", "--format", "{{.State.Pid}}", "c").out.strip()
    numbers = dict(zip(names.split("  "), line.split(), strict=True))
    assert numbers["PID"] == pid
    assert f"uts:[{numbers['UTS']}]" == os.readlink("/proc/self/ns/uts")
    kernel = rpod("exec", "c", "sh", "-c", "readlink /proc/1/ns/pid; readlink /proc/1/ns/net").lines
    assert kernel == [f"pid:[{numbers['PIDNS']}]", f"net:[{numbers['NET']}]"]
    (found,) = json.loads(rpod("ps", "--ns", "--format", "json").out)
    assert found["Namespaces"]["Net"] == numbers["NET"]
    both = rpod("ps", "--ns", "--size", check=False)
    assert (both.code, both.err) == (125, "Error: size and namespace options conflict\n")


def test_ps_watch_shows_what_changes(rpod: Command, image: str) -> None:
    watching = rpod.spawn("ps", "-a", "--watch", "1", "--noheading", "--format", "{{.Names}}")
    rpod("create", "--name", "later", image)
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"later\n"
    assert watching.stdout.readline() == b"later\n"
    watching.kill()
    watching.communicate()


@pytest.mark.rpod_only  # podman's shows nothing at all
def test_ps_watch_wants_seconds(rpod: Command) -> None:
    refused = rpod("ps", "--watch", "-1", check=False)
    assert (refused.code, "--watch -1" in refused.err) == (125, True)


def test_options_that_find_nothing_more(rpod: Command, image: str) -> None:
    rpod("create", "--name", "c", image)
    for option in ("--external", "--sync"):
        assert rpod("ps", "-a", option, "--format", "{{.Names}}").lines == ["c"]


def test_images_with_all_names(rpod: Command, image: str) -> None:
    rpod("tag", image, "localhost/other:2")
    listed = rpod("images", "--history", "--noheading").lines
    (line,) = [line for line in listed if line.startswith("localhost/other ")]
    history = re.split(r"\s{2,}", line.strip())[-1].split(", ")
    assert {image, "localhost/other:2"} <= set(history)
    rpod("untag", image, "localhost/other:2")


def test_diff_of_the_latest(rpod: Command, image: str) -> None:
    rpod("run", "--name", "c", image, "touch", "/made")
    assert "A /made" in rpod("diff", "--latest").lines
