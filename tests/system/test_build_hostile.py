"""`build`: Containerfiles, contexts and steps that mean harm, or are merely broken."""

import json
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import leaks
from tests.support.built import layers_of
from tests.support.command import Command, Done

pytestmark = pytest.mark.rpod_only

Build = Callable[..., Done]

BAD = {
    "empty": (b"", "there is no instruction in it"),
    "comments": (b"# nothing\n\n", "there is no instruction in it"),
    "binary": (bytes(range(256)) * 40, "this is no text"),
    "not utf-8": (b"FROM scratch\nLABEL a=\xff\n", "Containerfile:2: this is no UTF-8 text"),
    "utf-16": ("FROM scratch\n".encode("utf-16"), "this is no text"),
    "a long line": (b"FROM scratch\nLABEL a=" + b"x" * 10_000_000, "the line is longer than"),
    "many lines": (b"FROM scratch\n" + b"ENV A=1\n" * 100_000, "more than 5000 instructions"),
    "10 MB of comments": ((b"# " + b"x" * 1000 + b"\n") * 10_000, "there is no instruction in it"),
    "a cycle": (b"FROM b AS a\nFROM a AS b\nCOPY --from=b / /\n", "the stage b copies from itself"),
    "a later stage": (b"FROM scratch AS a\nCOPY --from=b / /\nFROM a AS b\n", "comes later"),
    "a stage twice": (b"FROM scratch AS a\nFROM scratch AS A\n", "already defined in line 1"),
    "unknown instruction": (b"FROM scratch\nCPOY a b\n", "COPY"),
    "unknown flag": (b"FROM scratch\nCOPY --chwon=1 a b\n", "did you mean --chown?"),
    "unknown kind of mount": (b"FROM scratch\nRUN --mount=type=bnd a\n", "bind"),
    "no FROM": (b"RUN true\n", "Containerfile:1:"),
    "open heredoc": (b"FROM scratch\nRUN <<EOF\ntrue\n", "the heredoc EOF has no end"),
    "open quote": (b"FROM scratch\nLABEL a=\"b\n", "Containerfile:2:"),
    "open expansion": (b"FROM scratch\nENV A=${B\n", "Containerfile:2:"),
}  # fmt: skip


@pytest.fixture
def build(rpod: Command, image: str, account_dir: str) -> Build:
    """Build `made` from a Containerfile on the test image."""
    context = f"{account_dir}/context"
    os.makedirs(context)
    os.chmod(context, 0o755)
    os.chown(context, rpod.account.uid, rpod.account.gid)

    def run(source: str | bytes, *options: str, check: bool = True) -> Done:
        data = source.replace("BASE", image).encode() if isinstance(source, str) else source
        with open(f"{context}/Containerfile", "wb") as file:
            file.write(data)
        return rpod("build", "-t", "made", *options, context, check=check)

    return run


def run_made(rpod: Command, *command: str) -> list[str]:
    return rpod("run", "--rm", "made", *command).lines


@pytest.mark.parametrize(("data", "told"), BAD.values(), ids=BAD)
def test_bad_containerfile_is_refused(build: Build, data: bytes, told: str) -> None:
    started_s = time.monotonic()
    done = build(data, check=False)
    assert done.code == 125
    assert told in done.err
    assert len(done.err) < 3000
    assert time.monotonic() - started_s < 20


# Contexts.


def test_files_that_change_while_they_are_read(build: Build, account_dir: str) -> None:
    """Either the build says so, or the layer has one whole state."""
    path = f"{account_dir}/context/changing"
    size = 1 << 22
    with open(path, "wb") as file:
        file.write(b"a" * size)
    done = threading.Event()

    def change() -> None:
        for letter in b"bcdefghijklmnopqrstuvwxyz" * 1000:
            if done.is_set():
                return
            with open(path, "r+b", buffering=0) as file:
                file.write(bytes([letter]) * size)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        archive = f"{account_dir}/out.tar"
        for _ in range(3):
            told = build("FROM scratch\nCOPY . /\n", "-o", f"type=oci,dest={archive}", check=False)
            if told.code:
                assert "changes while it is read" in told.err
            else:
                content = layers_of(archive)[-1]["changing"][5]
                assert len(content) == size
                assert len(set(content)) == 1
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes device nodes")
def test_device_in_a_context_is_left_out(build: Build, account_dir: str) -> None:
    os.mknod(f"{account_dir}/context/disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    os.mknod(f"{account_dir}/context/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    archive = f"{account_dir}/out.tar"
    done = build("FROM scratch\nCOPY . /x/\n", "-o", f"type=oci,dest={archive}")
    assert "a device was left out" in done.err
    assert set(layers_of(archive)[-1]) == {"x", "x/Containerfile"}


# What a Containerfile or a base image may try to reach.


@pytest.fixture
def victim(account_dir: str) -> str:
    """A directory of the caller that no build is given."""
    path = f"{account_dir}/victim"
    os.makedirs(path)
    with open(f"{path}/file", "w", encoding="ascii") as file:
        file.write("of the host")
    subprocess.run(["chmod", "-R", "a+rwX", path], check=True)
    return path


def untouched(victim: str) -> bool:
    with open(f"{victim}/file", encoding="ascii") as file:
        return os.listdir(victim) == ["file"] and file.read() == "of the host"


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind,from=evil,source=/link,target=/m,rw",
        "type=bind,from=evil,source=/link/file,target=/m",
        "type=cache,from=evil,source=/link,target=/m",
        "type=cache,id=../../../../VICTIM,target=/m",
        "type=cache,id=/VICTIM,target=/m",
        "type=bind,source=../victim,target=/m,rw",
        "type=bind,source=/../../VICTIM,target=/m",
    ],
)
def test_mounts_reach_nothing_of_the_host(
    build: Build, victim: str, account_dir: str, mount: str
) -> None:
    """CVE-2024-1753, CVE-2024-9675, CVE-2024-23651: links and names lead to places in the root."""
    mount = mount.replace("VICTIM", victim.lstrip("/"))
    os.symlink(victim, f"{account_dir}/context/link")
    done = build(
        f"FROM BASE AS evil\nRUN ln -s {victim} /link\nFROM BASE\n"
        f"RUN --mount={mount} cat /m /m/file; echo changed >/m/file; echo new >/m/new; true\n",
        "--no-cache", check=False,
    )  # fmt: skip
    assert "of the host" not in done.out + done.err
    assert untouched(victim)


@pytest.mark.parametrize("option", ["bind-propagation=shared", "propagation=rshared", "U", "dev"])
def test_mount_has_no_options_of_the_host(build: Build, option: str) -> None:
    """CVE-2024-9407: an option of a mount is known, or refused."""
    done = build(f"FROM BASE\nRUN --mount=type=bind,target=/m,{option} true\n", check=False)
    assert done.code == 125
    assert "Containerfile:2" in done.err


def test_mount_point_that_becomes_a_link_removes_nothing(
    rpod: Command, build: Build, victim: str
) -> None:
    """CVE-2024-23652: places of mounts are tidied up inside the step's files only."""
    build(
        "FROM BASE\nRUN --mount=type=tmpfs,target=/a/b/c --mount=type=cache,target=/d/e"
        f" mv /a /gone; ln -s {victim} /a; mv /d /gone2; mkdir /d; ln -s {victim}/file /d/e; true\n"
        f"RUN --mount=type=tmpfs,target=/etc/hosts.d rm -rf /etc/hosts.d; ln -s {victim} /etc/x\n",
        check=False,
    )
    assert untouched(victim)


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9, 12])
def test_workdir_through_a_descriptor_leads_nowhere(build: Build, victim: str, number: int) -> None:
    """CVE-2024-21626: a working directory is a directory of the image."""
    done = build(
        f"FROM BASE\nWORKDIR /proc/self/fd/{number}\nRUN pwd; cat ../../../../../..{victim}/file\n",
        "--no-cache", check=False,
    )  # fmt: skip
    assert "of the host" not in done.out + done.err
    assert untouched(victim)


def test_links_of_a_base_image_lead_nowhere(build: Build, victim: str, account_dir: str) -> None:
    with open(f"{account_dir}/context/passwd", "w", encoding="ascii") as file:
        file.write("root:x:0:0::/:/bin/sh\n")
    build(
        f"FROM BASE\nRUN ln -s {victim} /out && rm /etc/passwd && ln -s {victim}/file /etc/passwd\n"
        "COPY passwd /out/file\nCOPY passwd /etc/passwd\nWORKDIR /out/made\nADD passwd /out/\n"
        "RUN echo x >/out/also; rm -rf /out/made\n"
    )
    assert untouched(victim)


def test_ignore_file_that_leads_away_shows_nothing(
    build: Build, victim: str, account_dir: str
) -> None:
    with open(f"{victim}/file", "w", encoding="ascii") as file:
        file.write("of the host")
    os.symlink(f"{victim}/file", f"{account_dir}/context/.dockerignore")
    done = build("FROM scratch\nCOPY . /\n", check=False)
    assert "of the host" not in done.out + done.err


# Steps.


def test_step_that_forks_away_ends_with_its_command(rpod: Command, build: Build) -> None:
    started_s = time.monotonic()
    build(
        'FROM BASE\nRUN for i in $(seq 50); do (setsid sh -c \'trap "" TERM HUP INT;'
        " while :; do sleep 1; done' >/dev/null 2>&1 &); done; echo left >/left\n"
    )
    assert time.monotonic() - started_s < 20
    assert run_made(rpod, "cat", "/left") == ["left"]
    assert leaks.wait_until_gone(lambda: leaks.own_processes(rpod.account), 5) == []


def test_step_that_makes_many_files(rpod: Command, build: Build, account_dir: str) -> None:
    archive = f"{account_dir}/out.tar"
    build(
        "FROM BASE\nRUN mkdir /many && cd /many && seq 5000 | xargs touch\n",
        "-o", f"type=oci,dest={archive}",
    )  # fmt: skip
    assert len(layers_of(archive)[-1]) == 5000 + 2


# Sixty directories in each other, three times: a path of 3,000 bytes in /A, /B, /C.
DEEP = (
    "d=dddddddddddddddddddddddddddddddddddddddddddddddddd; for t in A B C; do mkdir /$t; cd /$t;"
    " i=0; while [ $i -lt 60 ]; do mkdir $d; cd $d; i=$((i+1)); done; echo of-$t >file; done; "
)
# One of them at the bottom of another: no program can name what is in it at once.
DEEPER = DEEP + "mv /A . ; "


def test_step_that_makes_a_deep_tree(rpod: Command, build: Build, account_dir: str) -> None:
    archive = f"{account_dir}/out.tar"
    build(f"FROM BASE\nRUN {DEEP}\nRUN rm -r /A\n", "-o", f"type=oci,dest={archive}")
    below = "/".join(["d" * 50] * 60)
    (_, made, removed) = layers_of(archive)
    assert made[f"B/{below}/file"][5] == b"of-B\n"
    assert len(set(made) - {"."}) == 3 * 62
    assert set(removed) - {"."} == {".wh.A"}
    build(f"FROM BASE\nRUN {DEEP}\n")
    find = "find /B /C -name file -exec cat {} ;"
    assert run_made(rpod, *find.split()) == ["of-B", "of-C"]


def test_step_that_makes_a_tree_too_deep(rpod: Command, build: Build) -> None:
    """It cannot be stored, which is said; it can be removed, by the step or after it."""
    done = build(f"FROM BASE\nRUN {DEEPER}\n", check=False)
    assert done.code == 125
    assert "Containerfile:2: store what the step has changed: a file has a path of" in done.err
    assert leaks.unfinished(rpod.account.home) == []
    build(f"FROM BASE\nRUN {DEEPER} mv A /; cd /; rm -r /A /B /C\nRUN ls / >/left\n")
    assert not {"A", "B", "C"} & set(run_made(rpod, "cat", "/left"))
    deeper = DEEPER.replace("/A", "/c/A").replace("/$t", "/c/$t")
    build(f"FROM BASE\nRUN --mount=type=cache,target=/c,id=deep {deeper} :\n")
    rpod("builder", "prune", "--force", "--all")
    build("FROM BASE\nRUN --mount=type=cache,target=/c,id=deep ls /c >/left; touch /again\n")
    assert run_made(rpod, "cat", "/left") == []


@pytest.fixture
def small_disk(fresh_rpod: Command, busybox_tar: str) -> Iterator[Command]:
    """The command with a store of 24 MiB."""
    if os.getuid() != 0:
        pytest.skip("only root mounts a small file system")
    store = fresh_rpod.environment["XDG_DATA_HOME"]
    account = fresh_rpod.account
    os.makedirs(store)
    options = f"size=24m,mode=755,uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", store], check=True)
    try:
        fresh_rpod("import", busybox_tar, "base")
        yield fresh_rpod
    finally:
        subprocess.run(["umount", "-l", store], check=True)


@pytest.mark.parametrize("megabytes", [12, 100], ids=["when it is stored", "in the step"])
def test_disk_that_is_full(small_disk: Command, megabytes: int) -> None:
    step = f"RUN dd if=/dev/urandom of=/big bs=1M count={megabytes}\n"
    done = small_disk("build", "-", input=f"FROM base\n{step}".encode(), check=False)
    assert done.code in (1, 125)
    assert "No space left on device" in done.err
    store = small_disk.environment["XDG_DATA_HOME"]
    assert [name for name in os.listdir(f"{store}/rpod/tmp") if name != "lock"] == []
    small_disk("build", "-t", "after", "-", input=b"FROM base\nRUN echo works >/x\n")
    assert small_disk("run", "--rm", "after", "cat", "/x").out == "works\n"


# Confidential things.


def test_secrets_are_nowhere(rpod: Command, build: Build, account_dir: str) -> None:
    secret = f"confidential-{os.urandom(8).hex()}"
    with open(f"{account_dir}/token", "w", encoding="ascii") as file:
        file.write(secret)
    source = (
        "FROM BASE\nRUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN"
        ' --mount=type=secret,id=file,target=/etc/token test "$TOKEN" = "$(cat /etc/token)"'
        " && touch /used\nRUN ls /run/secrets /etc/token; env; true\n"
    )
    archive = f"{account_dir}/out.tar"
    done = build(source, "--secret=id=variable,env=TOKEN_OF_THE_CALLER", check=False)
    assert done.code == 125
    assert "TOKEN_OF_THE_CALLER is not set" in done.err
    for option in ("plain", "rawjson"):
        done = rpod(
            "--log-level=debug", "build", "-t", "made", "--no-cache", "--explain-cache",
            f"--progress={option}", f"--secret=id=file,src={account_dir}/token",
            "--secret=id=variable,env=TOKEN_OF_THE_CALLER",
            f"--metadata-file={account_dir}/metadata", "-o", f"type=oci,dest={archive}",
            f"{account_dir}/context", env={"TOKEN_OF_THE_CALLER": secret},
        )  # fmt: skip
        assert secret not in done.out + done.err
    assert run_made(rpod, "ls", "/used") == ["/used"]
    assert secret not in rpod("inspect", "made").out + rpod("history", "--no-trunc", "made").out
    for layer in layers_of(archive):
        assert not [name for name, entry in layer.items() if secret.encode() in entry[5]]
    with open(f"{account_dir}/metadata", encoding="utf-8") as file:
        assert secret not in json.dumps(json.load(file))
    where = f"{rpod.account.home}/.local/share/rpod {rpod.account.runtime_dir}"
    found = rpod.shell(f"grep -rl {secret} {where} 2>/dev/null", check=False)
    assert found.out == ""
