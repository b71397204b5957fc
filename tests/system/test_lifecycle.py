"""Containers that stay: detached, started again, stopped, killed, removed, waited for."""

import os
import signal
import socket
import time

import pytest

from tests.support.command import Command
from tests.support.registry import free_port


def status_of(rpod: Command, name: str) -> str:
    form = "{{.State.Status}} {{.State.ExitCode}}"
    return rpod("container", "inspect", "--format", form, name).out.strip()


def test_detached_prints_the_id_and_runs(rpod: Command, image: str) -> None:
    container_id = rpod("run", "-d", image, "sleep", "100").out.strip()
    assert len(container_id) == 64
    assert status_of(rpod, container_id).startswith("running")


def test_detached_container_survives_the_end_of_its_client(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "alone", image, "sh", "-c", "sleep 0.5; echo later")
    assert rpod("wait", "alone").out == "0\n"
    assert rpod("logs", "alone").out == "later\n"


@pytest.mark.parametrize("length", [6, 12, 63])
def test_an_id_may_be_shortened(rpod: Command, image: str, length: int) -> None:
    container_id = rpod("create", image).out.strip()
    assert rpod("inspect", "--format", "{{.Id}}", container_id[:length]).out.strip() == container_id


def test_created_container_has_not_run(rpod: Command, image: str) -> None:
    rpod("create", "--name", "made", image, "sh", "-c", "echo hello")
    assert status_of(rpod, "made").startswith("created")
    assert rpod("logs", "made").out == ""


def test_start_runs_a_created_container(rpod: Command, image: str) -> None:
    rpod("create", "--name", "made", image, "sh", "-c", "echo hello; exit 3")
    assert rpod("start", "made").out == "made\n"
    assert rpod("wait", "made").out == "3\n"
    assert rpod("logs", "made").out == "hello\n"
    assert status_of(rpod, "made") == "exited 3"


def test_start_attached_gives_output_and_status(rpod: Command, image: str) -> None:
    rpod("create", "--name", "made", image, "sh", "-c", "echo hello; echo oh >&2; exit 3")
    done = rpod("start", "--attach", "made", check=False)
    assert (done.code, done.out, done.err) == (3, "hello\n", "oh\n")


def test_start_of_a_running_container_is_fine(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "runs", image, "sleep", "100")
    assert rpod("start", "runs").code == 0


def test_second_start_keeps_the_files(rpod: Command, image: str) -> None:
    rpod("run", "--name", "again", image, "sh", "-c", "echo x >>/count; cat /count")
    assert rpod("start", "-a", "again").out == "x\nx\n"


def test_stop_asks_with_term(rpod: Command, image: str) -> None:
    script = "trap 'echo asked; exit 8' TERM; echo ready; while :; do sleep 0.1; done"
    rpod("run", "-d", "--name", "polite", image, "sh", "-c", script)
    wait_for_log(rpod, "polite", "ready")
    begin = time.monotonic()
    assert rpod("stop", "polite").out == "polite\n"
    assert time.monotonic() - begin < 8
    assert status_of(rpod, "polite") == "exited 8"
    assert rpod("logs", "polite").lines == ["ready", "asked"]


def test_stop_kills_after_its_time(rpod: Command, image: str) -> None:
    rpod(
        "run", "-d", "--name", "deaf", image, "sh", "-c", "trap '' TERM; while :; do sleep 1; done"
    )
    begin = time.monotonic()
    rpod("stop", "--time", "1", "deaf")
    assert 0.9 <= time.monotonic() - begin < 9
    assert status_of(rpod, "deaf") == "exited 137"


def test_stop_asks_all_containers_at_once(rpod: Command, image: str) -> None:
    names = ("one", "two", "three")
    for name in names:
        rpod("run", "-d", "--name", name, image, "sleep", "1000")  # ignores TERM as process 1
    begin = time.monotonic()
    done = rpod("stop", "--time", "1", *names)
    assert time.monotonic() - begin < 2.5
    assert sorted(done.lines) == sorted(names)
    assert [status_of(rpod, name) for name in names] == ["exited 137"] * 3


def test_stop_uses_the_stop_signal(rpod: Command, image: str) -> None:
    script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done"
    rpod("run", "-d", "--name", "own", "--stop-signal", "SIGUSR1", image, "sh", "-c", script)
    wait_for_log(rpod, "own", "ready")
    rpod("stop", "own")
    assert status_of(rpod, "own") == "exited 5"


def test_stop_of_a_stopped_container_is_fine(rpod: Command, image: str) -> None:
    rpod("run", "--name", "over", image, "true")
    assert rpod("stop", "over").code == 0


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "15"])
def test_kill_with_a_signal(rpod: Command, image: str, name: str) -> None:
    script = "trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done"
    rpod("run", "-d", "--name", "target", image, "sh", "-c", script)
    wait_for_log(rpod, "target", "ready")
    rpod("kill", "--signal", name, "target")
    assert rpod("wait", "target").out == "6\n"


def test_kill_without_signal_ends_it(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "target", image, "sleep", "100")
    assert rpod("kill", "target").out == "target\n"
    assert rpod("wait", "target").out == f"{128 + signal.SIGKILL}\n"


def test_kill_of_a_stopped_container_is_refused(rpod: Command, image: str) -> None:
    rpod("create", "--name", "idle", image)
    done = rpod("kill", "idle", check=False)
    assert done.code == 125, done.told
    assert done.err.startswith("Error: "), done.told


def test_wait_blocks_until_the_end(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "slow", image, "sh", "-c", "sleep 1; exit 4")
    assert rpod("wait", "slow").out == "4\n"


def test_rm_of_a_running_container_needs_force(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "runs", image, "sleep", "100")
    done = rpod("rm", "runs", check=False)
    assert done.code == 2, done.told
    assert "runs" in done.err or "running" in done.err
    rpod("rm", "--force", "--time", "0", "runs")
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only  # podman 4.3.1 removes nothing then; 5 goes on
def test_rm_goes_on_after_a_name_that_is_missing(rpod: Command, image: str) -> None:
    rpod("create", "--name", "one", image)
    rpod("create", "--name", "two", image)
    done = rpod("rm", "one", "absent", "two", check=False)
    assert done.code == 1, done.told
    assert len(done.lines) == 2
    assert "absent" in done.err
    assert rpod("ps", "-aq").out == ""


@pytest.mark.parametrize("command", ["start", "stop", "logs", "inspect", "wait", "kill", "attach"])
def test_missing_container_is_named(rpod: Command, image: str, command: str) -> None:
    done = rpod(command, "no-such-container", check=False)
    assert done.code == 125, done.told
    assert "no-such-container" in done.err
    assert len(done.err.splitlines()) <= 2, done.told


def test_container_exists(rpod: Command, image: str) -> None:
    rpod("create", "--name", "here", image)
    assert rpod("container", "exists", "here").code == 0
    assert rpod("container", "exists", "there", check=False).code == 1


def test_detached_rm_frees_the_name(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--rm", "--name", "brief", image, "true")
    deadline = time.monotonic() + 10
    while rpod("container", "exists", "brief", check=False).code == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_top_lists_the_processes(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "busy", image, "sh", "-c", "sleep 99 & sleep 98")
    time.sleep(0.3)
    done = rpod("top", "busy", "pid", "args")
    assert done.lines[0].split() == ["PID", "COMMAND"]
    assert any("sleep 99" in line for line in done.lines), done.told


def test_generated_names_are_distinct(rpod: Command, image: str) -> None:
    for _ in range(3):
        rpod("create", image)
    names = rpod("ps", "-a", "--format", "{{.Names}}").lines
    assert len(set(names)) == 3
    assert all("_" in name for name in names), names


def test_attach_shares_the_streams(rpod: Command, image: str) -> None:
    rpod("run", "-d", "-i", "--name", "echoing", image, "cat")
    done = rpod("attach", "echoing", input=b"through the socket\n", check=False)
    assert done.out.rstrip("\n") == "through the socket", done.told
    assert rpod("wait", "echoing").out == "0\n"


def wait_for_log(rpod: Command, name: str, text: str) -> None:
    """Wait until a container has written a line."""
    deadline = time.monotonic() + 20
    while text not in rpod("logs", name).out:
        assert time.monotonic() < deadline, f"{name} did not write {text}"
        time.sleep(0.05)


@pytest.mark.rpod_only  # podman leaves them to the host
@pytest.mark.parametrize("end", ["by itself", "rm", "kill"])
def test_what_a_container_in_the_hosts_pid_namespace_started_ends_with_it(
    rpod: Command, image: str, end: str
) -> None:
    """The fixture looks for what is left behind."""
    script = "(sh -c 'sleep 1001 & sleep 1002' &) ; (setsid sleep 1003 &); "
    script += "true" if end == "by itself" else "exec sleep 1000"
    rpod("run", "-d", "--pid", "host", "--name", "open", image, "sh", "-c", script)
    if end == "by itself":
        assert rpod("wait", "open").out == "0\n"
    elif end == "rm":
        rpod("rm", "-f", "-t", "0", "open")
    else:
        rpod("kill", "open")
        rpod("wait", "open")


def test_container_with_an_init_is_entered(rpod: Command, image: str, account_dir: str) -> None:
    rpod("run", "-d", "--init", "--name", "c", "--health-cmd", "true", image, "sleep", "1000")
    assert rpod("exec", "c", "sh", "-c", "readlink /proc/self/ns/pid").out.startswith("pid:[")
    rpod.shell(f"echo text >{account_dir}/file; $RPOD cp {account_dir}/file c:/file")
    assert rpod.shell("$RPOD cp c:/file - | tar xO").out == "text\n"
    assert rpod.shell("$RPOD export c | tar xO file").out == "text\n"
    assert "A /file" in rpod("diff", "c").lines
    assert [line.split()[-2:] for line in rpod("top", "c", "args").lines][-1] == ["sleep", "1000"]
    rpod("healthcheck", "run", "c")
    joining = ("--network", "container:c", "--pid", "container:c")
    script = "tr '\\0' ' ' </proc/2/cmdline"
    assert rpod("run", "--rm", *joining, image, "sh", "-c", script).out == "sleep 1000 "


def test_port_of_a_container_with_an_init_is_served(rpod: Command, image: str) -> None:
    port = free_port()
    options = ("-d", "--init", "--name", "c", "-p", f"127.0.0.1:{port}:80")
    rpod("run", *options, image, "sh", "-c", "while :; do echo hi | nc -l -p 80; done")
    deadline = time.monotonic() + 10
    while (answer := _answer(port)) != b"hi\n":
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def _answer(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            return client.recv(100)
    except OSError:
        return b""


def test_top_of_what_only_a_container_has(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "one", "--cap-drop=ALL", "--cap-add=CHOWN", image, "sleep", "99")
    words = ("ruser", "rgroup", "capeff", "capinh", "capamb", "seccomp", "label", "huser", "hpid")
    heading, row = rpod("top", "one", *words).lines
    assert heading.split()[:2] == ["RUSER", "RGROUP"]
    assert row.split()[:6] == ["root", "root", "CHOWN", "none", "none", "filter"]
    assert row.split()[7] == str(rpod.account.uid)
    assert os.path.exists(f"/proc/{row.split()[8]}")
    assert rpod("top", "one", "%p", "%a").lines[1].split() == ["1", "sleep", "99"]
    assert rpod("top", "one", "stime").lines[1].endswith("UTC")


def test_top_with_options_of_ps(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "one", image, "sleep", "99")
    assert "sleep" in rpod("top", "one", "-eo", "pid,comm").out
    assert rpod("top", "one", "-o", check=False).code == 125


@pytest.mark.rpod_only  # podman 4.3 knows only the container's
def test_top_by_the_hosts_ps_where_the_container_has_none(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "one", image, "sh", "-c", "rm -f /bin/ps /usr/bin/ps; sleep 99")
    rpod("run", "-d", "--name", "two", image, "sleep", "98")
    rpod("exec", "one", "sh", "-c", "until [ ! -e /bin/ps ]; do sleep 0.02; done")
    told = rpod("top", "one", "-eo", "pid,args").out
    assert "sleep 99" in told and "sleep 98" not in told
    done = rpod("top", "one", "-eo", "args", check=False)
    assert done.code == 125 and "PID" in done.err
