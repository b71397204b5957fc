"""Where the output goes: files of a size, elsewhere, nowhere, the caller's own streams."""

import json
import os
import subprocess

import pytest

from tests.support.command import Command

LINES = 120_000  # with their heads less than what a slow follower may be behind
WRITE = f"seq 1 {LINES}"
WIDE = "head -c 8000000 /dev/zero | base64"


@pytest.mark.rpod_only
def test_follower_gets_every_line_of_a_log_that_rotates(rpod: Command, image: str) -> None:
    script = f"echo 0; read go; {WRITE}"
    options = ("--log-opt", "max-size=64k")
    rpod("run", "-di", "--name", "c", *options, image, "sh", "-c", script)
    followers = [rpod.spawn("logs", "-f", "c", stdout=subprocess.PIPE) for _ in range(3)]
    for follower in followers:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"0\n"
    rpod("attach", "c", input=b"go\n", timeout_s=90)
    wanted = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
    for follower in followers:
        out, _ = follower.communicate(timeout=90)
        assert out == wanted
    assert len(rpod("logs", "c").lines) < LINES


@pytest.mark.rpod_only
def test_log_that_nobody_reads_stays_small(rpod: Command, image: str, account_dir: str) -> None:
    options = ("--log-opt", f"path={account_dir}/log", "--log-opt", "max-size=50k")
    files = ("--log-opt", "max-file=3")
    rpod("run", "--name", "c", *options, *files, image, "sh", "-c", WRITE)
    names = sorted(os.listdir(account_dir))
    assert names == ["log", "log.1", "log.2"]
    assert max(os.path.getsize(f"{account_dir}/{name}") for name in names) < 50_000 + 2**20
    last = [str(number) for number in range(1, LINES + 1)]
    lines = rpod("logs", "c").lines
    assert lines == last[-len(lines) :]
    for tail in (1, 1000, len(lines) - 1):
        assert rpod("logs", "--tail", str(tail), "c").lines == last[-tail:]


@pytest.mark.rpod_only
def test_stopped_follower_does_not_fill_the_disk(
    rpod: Command, image: str, account_dir: str
) -> None:
    options = ("--log-opt", f"path={account_dir}/log", "--log-opt", "max-size=20k")
    rpod("run", "-di", "--name", "c", *options, image, "sh", "-c", f"echo 0; read go; {WIDE}")
    follower = rpod.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"0\n"
    rpod.shell(f"kill -STOP {follower.pid}")
    try:
        rpod("attach", "c", input=b"go\n", timeout_s=90)
        assert os.path.getsize(f"{account_dir}/log") < 9 << 20
    finally:
        follower.kill()
        follower.communicate()


@pytest.mark.rpod_only  # conmon refuses a tag for k8s-file
def test_log_options_are_shown(rpod: Command, image: str, account_dir: str) -> None:
    options = ("--log-opt", f"path={account_dir}/log", "--log-opt", "tag=t")
    rpod("run", "--name", "c", *options, "--log-driver=k8s-file", image, "echo", "text")
    shown = json.loads(rpod("inspect", "c").out)[0]["HostConfig"]["LogConfig"]
    assert (shown["Type"], shown["Path"], shown["Tag"]) == ("k8s-file", f"{account_dir}/log", "t")
    assert rpod("logs", "c").out == "text\n"
    with open(f"{account_dir}/log", encoding="utf-8") as file:
        assert file.read().endswith("stdout F text\n")


@pytest.mark.rpod_only
def test_streams_are_passed_through(rpod: Command, image: str, account_dir: str) -> None:
    script = (
        "echo in | $RPOD run --rm -u 1000 --log-driver=passthrough $I sh -c"
        f" 'cat; echo err >&2' >{account_dir}/out 2>{account_dir}/err"
    )
    rpod.shell(script, env={"I": image})
    for name, text in (("out", "in\n"), ("err", "err\n")):
        with open(f"{account_dir}/{name}", encoding="utf-8") as file:
            assert file.read() == text
        assert os.stat(f"{account_dir}/{name}").st_uid == rpod.account.uid
    rpod("run", "--name", "c", "--log-driver=passthrough", image, "echo", "text")
    assert rpod("logs", "c", check=False).code == 125


@pytest.mark.rpod_only
def test_no_terminal_is_passed_through(rpod: Command, image: str) -> None:
    terminal = rpod.pty("run", "--rm", "--log-driver=passthrough", image, "true")
    terminal.expect("cannot be used on a TTY")
    terminal.expect_exact(["\r\n"])
    terminal.wait()
    assert terminal.exitstatus == 125


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "options",
    [("--log-opt", "max-size=x"), ("--log-opt", "frob=1"), ("--log-opt", "path=/missing/dir/x"),
     ("--log-opt", "max-file=0"), ("--log-driver=none", "--log-opt", "max-size=1m"),
     ("--log-driver=frob",)],
)  # fmt: skip
def test_wrong_log_options_make_nothing(
    rpod: Command, image: str, options: tuple[str, ...]
) -> None:
    done = rpod("run", "--name", "c", *options, image, "true", check=False)
    assert done.code == 125, done.told
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only
@pytest.mark.skipif(os.path.exists("/run/systemd/journal/socket"), reason="a journal is here")
def test_journal_that_is_not_there_is_named(rpod: Command, image: str) -> None:
    done = rpod("run", "--log-driver=journald", image, "true", check=False)
    assert done.code == 125
    assert "/run/systemd/journal/socket" in done.err
