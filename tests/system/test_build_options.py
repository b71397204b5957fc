"""`build`: what the options of a step do, read back from inside the step."""

import json
import os
import subprocess
from collections.abc import Callable

import pytest

from rootless.container.start_errors import elf_loader
from tests.support.command import Command, Done

pytestmark = pytest.mark.rpod_only

Build = Callable[..., Done]


@pytest.fixture
def build(rpod: Command, image: str) -> Build:
    """Build from a Containerfile on standard input, on the test image."""

    def run(source: str, *options: str, check: bool = True) -> Done:
        data = source.replace("BASE", image).encode()
        return rpod("build", "--no-cache", *options, "-", input=data, check=check)

    return run


READ_BACK = {
    "ulimit": ("ulimit -n; ulimit -Hn", ("--ulimit=nofile=77:88",), ["77", "88"]),
    "add-host": ("grep one.example /etc/hosts | tr '\\t' ' '", ("--add-host=one.example:1.2.3.4",),
                 ["1.2.3.4 one.example"]),
    "dns": ("grep nameserver /etc/resolv.conf; grep search /etc/resolv.conf",
            ("--dns=9.8.7.6", "--dns-search=x.example"),
            ["nameserver 9.8.7.6", "search x.example"]),
    "env": ("echo $GIVEN", ("--env=GIVEN=value",), ["value"]),
    "shm-size": ("df -k /dev/shm | tail -n1 | awk '{print $2}'", ("--shm-size=3m",), ["3072"]),
    "cap-drop": ("chown 1 /tmp 2>/dev/null || echo refused", ("--cap-drop=CHOWN",), ["refused"]),
    "cap-add": ("grep -c 'CapEff:.*2000' /proc/self/status | tr 1 y | tr 0 n",
                ("--cap-drop=all", "--cap-add=NET_RAW"), ["y"]),
    "network": ("ip -o link | wc -l", ("--network=none",), ["1"]),
    "security-opt": ("grep NoNewPrivs /proc/self/status | tr '\\t' ' '",
                     ("--security-opt=no-new-privileges",), ["NoNewPrivs: 1"]),
    "group-add": ("id -G", ("--group-add=5,audio", "--group-add=7"), ["0 5 7 29"]),
    "no-hosts": ("cat /etc/hosts | wc -l", ("--no-hosts",), ["0"]),
    "ipc": ("readlink /proc/self/ns/ipc", ("--ipc=host",), [os.readlink("/proc/self/ns/ipc")]),
    "uts": ("readlink /proc/self/ns/uts; hostname", ("--uts=host",),
            [os.readlink("/proc/self/ns/uts"), os.uname().nodename]),
    "cgroupns": ("readlink /proc/self/ns/cgroup", ("--cgroupns=host",),
                 [os.readlink("/proc/self/ns/cgroup")]),
    "private": ("readlink /proc/self/ns/ipc /proc/self/ns/uts /proc/self/ns/cgroup | "
                f"grep -c {os.readlink('/proc/self/ns/ipc')[5:-1]} || echo $$",
                ("--ipc=container", "--pid=private", "--uts=private", "--cgroupns=private",
                 "--isolation=oci"), ["0", "1"]),
    "build-arg": ("echo $A", ("--build-arg=A=given",), ["given"]),
}  # fmt: skip


@pytest.mark.parametrize(("script", "options", "seen"), READ_BACK.values(), ids=READ_BACK)
def test_option_is_seen_by_the_step(
    build: Build, script: str, options: tuple[str, ...], seen: list[str]
) -> None:
    done = build(f"FROM BASE\nARG A\nRUN {{ {script}; }} | sed 's/^/= /'\n", *options)
    found = [line.removeprefix("= ") for line in done.lines if line.startswith("= ")]
    assert found == seen


@pytest.mark.parametrize(
    "option", ["--ulimit=none=1", "--add-host=x", "--memory=zz", "--volume=/none/here:/x"]
)
def test_option_that_cannot_be_is_refused(build: Build, option: str) -> None:
    done = build("FROM BASE\nRUN echo executed\n", option, check=False)
    assert done.code == 125
    assert "\nexecuted" not in done.out


ABSENT = {
    "--userns-uid-map=0:0:1": "a build has all your subordinate ids",
    "--all-platforms": "name the platforms with --platform",
    "--userns=keep-id": "is not one of",
    "--cpp-flag=-DX": "include any file that you may read",
    "--disable-compression": "layers are stored as they are pushed",
    "--builder=other": "there is one builder",
    "--inherit-annotations=false": "annotations of a base image are never taken over",
    "--os-version=10": "only Windows images have it",
    "--logsplit": "--logfile has the platforms one after the other",
    "--isolation=jail": "is not one of",
}  # fmt: skip


@pytest.mark.parametrize(("option", "reason"), ABSENT.items(), ids=ABSENT)
def test_option_that_is_not_there_is_explained(rpod: Command, option: str, reason: str) -> None:
    done = rpod("build", option, "-", input=b"FROM scratch\n", check=False)
    assert done.code == 125
    assert reason in done.err


@pytest.mark.parametrize(
    ("option", "told"),
    [("--memory=64m", "memory"), ("--cpu-shares=77", "cpu"), ("--cgroup-parent=/mine", "cgroup")],
)
def test_limit_that_cannot_be_enforced_is_an_error(build: Build, option: str, told: str) -> None:
    """Without a cgroup nothing is executed; in tests/lab one can be had, and is looked into."""
    done = build("FROM BASE\nRUN echo executed\n", option, check=False)
    assert done.code == 125
    assert told in done.err
    assert "delegated to you" in done.err
    assert "\nexecuted" not in done.out
    done = build("FROM BASE\nRUN echo executed\n", option, "--limits=best-effort")
    assert "\nexecuted" in done.out


def test_options_of_a_step_are_part_of_its_key(rpod: Command, image: str) -> None:
    def cached(*options: str) -> bool:
        source = f"FROM {image}\nRUN id -G; echo keys of options\n".encode()
        return "--> Using cache" in rpod("build", *options, "-", input=source).out

    cached()
    assert cached()
    assert not cached("--group-add=5")
    assert cached("--group-add=5")
    assert not cached("--shm-size=1m")
    assert cached()


def test_labels_of_the_base_and_of_rpod(build: Build, rpod: Command) -> None:
    def labels(*options: str, base: str = "localhost/labelled") -> object:
        name = build(f"FROM {base}\nLABEL own=1\n", *options).lines[-1]
        return json.loads(rpod("inspect", name).out)[0]["Config"]["Labels"]

    build("FROM scratch\nLABEL of=base\n", "-t", "localhost/labelled")
    assert labels() == {"of": "base", "own": "1"}
    assert labels("--inherit-labels=false") == {"own": "1"}
    assert labels("--identity-label=false") == {"of": "base", "own": "1"}
    version = rpod("version", "--format", "{{.Client.Version}}").lines[0]
    found = labels("--identity-label")
    assert found == {"of": "base", "own": "1", "io.rpod.version": version}


def test_unused_stages_are_built_when_asked_for(build: Build) -> None:
    source = "FROM BASE AS a\nRUN echo of-a\nFROM BASE AS b\nRUN echo of-b\nFROM BASE AS c\n"
    shown = build(source, "--skip-unused-stages=false", "--target=b").out
    assert "\nof-a\n" in shown
    assert "\nof-b\n" in shown
    assert "\nof-a\n" not in build(source, "--target=b").out


def test_calls_tell_of_a_containerfile(build: Build) -> None:
    source = (
        "ARG V=1\nARG IMAGE=BASE\n# Base with all tools\nFROM $IMAGE AS base\n"
        "ARG V\nARG W=w\nRUN --mount=type=secret,id=token,required --mount=type=ssh true\n"
        "# other things\nFROM base\nRUN --mount=type=secret,target=/etc/key true\n"
    )
    assert build(source, "--call=targets").lines == [
        "TARGET        DESCRIPTION", "base          with all tools", "1 (default)",
    ]  # fmt: skip
    shown = build(source, "--call=outline", "--build-arg=W=given").lines
    assert shown[:4] == ["TARGET: 1", "", "BUILD ARG   VALUE", "V           1"]
    assert shown[4].startswith("IMAGE       ")
    assert shown[5:] == [
        "W           given", "", "SECRET   REQUIRED", "key", "token    true", "",
        "SSH       REQUIRED", "default",
    ]  # fmt: skip
    assert build(source, "--call=check").lines == ["Check complete, no warnings found."]


def test_ssh_key_is_used_and_not_shown(build: Build, rpod: Command, account_dir: str) -> None:
    """`--ssh ID=KEY` starts an agent for the step: it signs, the key stays outside."""
    key = f"{account_dir}/key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for path in (key, f"{key}.pub"):
        os.chown(path, rpod.account.uid, rpod.account.gid)
    with open("/usr/bin/ssh-add", "rb") as file:
        loader = os.path.realpath(elf_loader(file.read(4096)))
    libraries = "/host" + os.path.dirname(loader)
    add = f"/host{loader} --library-path {libraries} /host/usr/bin/ssh-add"
    done = build(
        "FROM BASE\n"
        f"RUN --mount=type=ssh,id=one,required {add} -l | sed 's/^/= /'\n"
        'RUN [ -z "$SSH_AUTH_SOCK" ]\n',
        f"--ssh=one={key}", "--volume=/usr:/host/usr:ro",
    )  # fmt: skip
    shown = [line for line in done.lines if line.startswith("= ")]
    assert len(shown) == 1
    assert "(ED25519)" in shown[0]
    as_alice = build(
        "FROM BASE\nUSER alice\n"
        f"RUN --mount=type=ssh,id=one,uid=1000,mode=0600 {add} -l | sed 's/^/= /'; "
        "stat -c '= %a:%u:%g' $SSH_AUTH_SOCK\n",
        f"--ssh=one={key}", "--volume=/usr:/host/usr:ro",
    )  # fmt: skip
    found = [line for line in as_alice.lines if line.startswith("= ")]
    assert found == [shown[0], "= 600:1000:0"]
    missing = build("FROM BASE\nRUN --mount=type=ssh,required true\n", check=False)
    assert "ssh default: it was not given" in missing.err
    source = "FROM BASE\nRUN --mount=type=ssh,id=one true\n"
    none = build(source, f"--ssh=one={key}.none", check=False)
    assert none.code == 125
    assert f"{key}.none: No such file or directory" in none.err


def test_history_can_be_left_out(build: Build, rpod: Command) -> None:
    built = build("FROM BASE\nRUN echo x >/x\n", "--omit-history", "-t", "localhost/none")
    found = json.loads(rpod("inspect", "localhost/none").out)[0]
    assert not found["History"]
    assert rpod("run", "--rm", built.lines[-1], "cat", "/x").out == "x\n"


def test_platform_by_its_parts(rpod: Command) -> None:
    source = b"FROM scratch\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\n"
    image = rpod("build", "--arch=arm", "--variant=v7", "-", input=source).lines[-1]
    found = json.loads(rpod("inspect", image).out)[0]
    assert (found["Architecture"], found["Config"]["Labels"]["p"]) == ("arm", "linux/arm/v7")
    both = rpod("build", "--arch=arm", "--platform=linux/arm64", "-", input=source, check=False)
    assert both.code == 125


def test_progress_as_json(build: Build) -> None:
    done = build("FROM BASE AS a\nRUN echo said; echo wrong >&2\n", "--progress=rawjson")
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    kinds = [event["kind"] for event in events]
    assert kinds.count("start") == kinds.count("end") == 2
    said = {event["stream"]: event["data"] for event in events if event["kind"] == "output"}
    assert said == {1: "said\n", 2: "wrong\n"}
    assert [event["text"] for event in events if event["kind"] == "start"][1].startswith("RUN echo")
    quiet = build("FROM BASE\nRUN echo said\n", "--progress=quiet")
    assert (len(quiet.lines), quiet.err) == (1, "")


def test_cache_is_counted_and_pruned(build: Build, rpod: Command) -> None:
    def used() -> tuple[int, int]:
        rows = json.loads(rpod("system", "df", "--format", "json").out)
        (row,) = (row for row in rows if row["Type"] == "Build Cache")
        return row["Total"], row["RawSize"]

    rpod("builder", "prune", "--force", "--all")
    build("FROM BASE\nRUN --mount=type=cache,target=/c dd if=/dev/zero of=/c/f bs=64k count=16\n")
    count, size = used()
    assert count >= 1
    assert size >= 1 << 20
    rpod("builder", "prune", "--force", "--all")
    assert used()[0] == 0


def test_steps_read_standard_input_and_are_run_each_time(
    rpod: Command, image: str, account_dir: str
) -> None:
    with open(f"{account_dir}/Containerfile", "w", encoding="ascii") as file:
        file.write(f"FROM {image}\nRUN read line && echo $line >/first\nRUN cat >/rest\n")
    for given in (b"one\ntwo\nthree\n", b"four\nfive\n"):
        rpod("build", "--stdin", "--userns=host", "-t", "made", account_dir, input=given)
        assert rpod("run", "--rm", "made", "cat", "/first", "/rest").out.encode() == given
    # Without it there is nothing to read, whatever this command gets: `read` fails.
    done = rpod("build", "-t", "made", account_dir, input=b"six\n", check=False)
    assert (done.code, "Containerfile:2" in done.err) == (1, True), done.told
    done = rpod("build", "--stdin", "-f", "-", account_dir, input=b"FROM scratch\n", check=False)
    assert done.code == 125
    assert "--stdin" in done.err
