"""Terminals: `-t`, sizes, keys, and the caller's terminal afterwards."""

import re
import signal
import time

import pexpect
import pytest

from tests.support.command import Command, is_podman


def wait_for_end(session: "pexpect.spawn[str]") -> int:
    """Read to the end and return the exit status."""
    session.expect(pexpect.EOF)
    session.close()
    assert session.exitstatus is not None, f"ended by signal {session.signalstatus}"
    return session.exitstatus


def test_tty_is_a_terminal(rpod: Command, image: str) -> None:
    session = rpod.pty("run", "--rm", "-it", image, "sh", "-c", "tty; test -t 0 -a -t 1 -a -t 2")
    session.expect("/dev/(pts/0|console)")
    assert wait_for_end(session) == 0


def test_output_of_a_terminal_has_carriage_returns(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "-t", image, "sh", "-c", "echo a; echo b >&2")
    assert (done.out, done.err) == ("a\r\nb\r\n", "")


def test_console_is_the_terminal(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "-t", image, "sh", "-c", "echo hello >/dev/console")
    assert done.out == "hello\r\n"


def test_no_terminal_no_console(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", image, "test", "-e", "/dev/console", check=False).code == 1


def test_terminal_starts_with_the_size_of_the_caller(rpod: Command, image: str) -> None:
    session = rpod.pty(
        "run", "--rm", "-it", image, "sh", "-c", "sleep 0.3; stty size", size=(33, 101)
    )
    session.expect("33 101")
    assert wait_for_end(session) == 0


def test_resize_reaches_the_container(rpod: Command, image: str) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done"
    session = rpod.pty("run", "--rm", "-it", image, "sh", "-c", script)
    session.expect("ready")
    session.setwinsize(40, 120)
    session.expect("40 120")
    assert wait_for_end(session) == 0


def test_keys_reach_the_container(rpod: Command, image: str) -> None:
    session = rpod.pty("run", "--rm", "-it", image, "sh")
    session.sendline("echo $((40 + 2))")
    session.expect("\n42")
    session.sendline("exit 5")
    assert wait_for_end(session) == 5


def test_control_c_interrupts_the_command(rpod: Command, image: str) -> None:
    script = "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.1; done"
    session = rpod.pty("run", "--rm", "-it", image, "sh", "-c", script)
    session.expect("ready")
    session.sendcontrol("c")
    session.expect("interrupted")
    assert wait_for_end(session) == 4


@pytest.mark.rpod_only  # podman 4.3.1 sees the keys only some of the time
def test_detach_keys_leave_it_running(rpod: Command, image: str) -> None:
    session = rpod.pty("run", "--name", "left", "-it", image, "sh", "-c", "echo ready; sleep 100")
    session.expect("ready")
    session.sendcontrol("p")
    session.sendcontrol("q")
    assert wait_for_end(session) == 0
    assert rpod("inspect", "--format", "{{.State.Status}}", "left").out == "running\n"


@pytest.mark.rpod_only  # podman 4.3.1 sees the keys only some of the time
def test_other_detach_keys(rpod: Command, image: str) -> None:
    arguments = ("--name", "left", "--detach-keys", "ctrl-x,y", "-it", image)
    session = rpod.pty("run", *arguments, "sh", "-c", "echo ready; sleep 100")
    session.expect("ready")
    session.sendcontrol("x")
    session.send("y")
    assert wait_for_end(session) == 0
    assert rpod("inspect", "--format", "{{.State.Status}}", "left").out == "running\n"


def test_attach_after_detach_sees_what_follows(rpod: Command, image: str) -> None:
    rpod("run", "-d", "-it", "--name", "shell", image, "sh")
    session = rpod.pty("attach", "shell")
    session.sendline("echo from-$((1+1))")
    session.expect("from-2")
    session.sendline("exit 6")
    # docker gives the container's status, podman always 0
    assert wait_for_end(session) == (0 if is_podman() else 6)


ENDINGS = {
    "command ends": ("true", None),
    "command fails": ("exit 9", None),
    "killed by the caller": ("sleep 100", signal.SIGTERM),
}


@pytest.mark.parametrize(("script", "number"), ENDINGS.values(), ids=ENDINGS.keys())
def test_terminal_of_the_caller_is_restored(
    rpod: Command, image: str, script: str, number: int | None
) -> None:
    # A shell on the terminal runs the command and prints the settings before and after.
    inner = f"run --rm -it --stop-signal KILL {image} sh -c 'echo started; {script}'"
    session = pexpect.spawn(
        "sh",
        ["-c", "stty -g; " + " ".join([*rpod.dropping(), *rpod.prefix]) + f" {inner}; stty -g"],
        env=rpod.environment,
        timeout=20,
        encoding="utf-8",
        cwd="/",
    )
    session.expect("started")
    if number is not None:
        rpod("kill", *rpod("ps", "-q").lines)
    session.expect(pexpect.EOF)
    assert session.before is not None
    settings = re.findall(r"^[0-9a-f]+:[0-9a-f:]+", session.before, re.MULTILINE)
    session.close()
    assert len(settings) == 1, session.before
    assert settings[0].count(":") > 10


def test_exec_has_a_terminal_of_its_own(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "target", image, "sleep", "100")
    session = rpod.pty("exec", "-it", "target", "sh", "-c", "sleep 0.3; stty size", size=(31, 99))
    session.expect("31 99")
    assert wait_for_end(session) == 0


def test_lone_control_p_is_passed_on(rpod: Command, image: str) -> None:
    script = "stty raw -echo; echo ready; od -An -tx1 -N2"
    session = rpod.pty("run", "--rm", "-it", image, "sh", "-c", script)
    session.expect("ready")
    time.sleep(0.2)
    session.sendcontrol("p")
    session.send("z")
    session.expect("10 7a")
    assert wait_for_end(session) == 0


@pytest.mark.rpod_only
def test_detached_exec_goes_on(rpod: Command, image: str) -> None:
    # podman 4.3 never reads the keys of an exec session.
    rpod("run", "-d", "--name", "target", image, "sleep", "100")
    session = rpod.pty("exec", "-it", "target", "sh", "-c", "echo ready; sleep 1; echo x >/left")
    session.expect("ready")
    time.sleep(0.3)  # podman shows output before its terminal is raw
    session.sendcontrol("p")
    session.sendcontrol("q")
    assert wait_for_end(session) == 0
    rpod("exec", "target", "sh", "-c", "while ! test -s /left; do sleep 0.1; done")


@pytest.mark.rpod_only  # podman 4.3.1 leaves with 1, or stays
@pytest.mark.parametrize("option", ["-t", "-i"])
def test_control_c_ends_an_exec(rpod: Command, image: str, option: str) -> None:
    rpod("run", "-d", "--name", "target", image, "sleep", "100")
    session = rpod.pty("exec", option, "target", "sh", "-c", "echo ready; sleep 50")
    session.expect("ready")
    session.sendcontrol("c")
    assert wait_for_end(session) in (2, 130)
