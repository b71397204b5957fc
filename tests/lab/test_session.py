"""A real systemd user session: run, exec, stop, and what doctor says of it."""

import json

from tests.support.command import Command


def test_run(session_rpod: Command, image: str) -> None:
    done = session_rpod("run", "--rm", image, "sh", "-c", "id -u; exit 3", check=False)
    assert (done.out, done.code) == ("0\n", 3), done.told


def test_default_network(session_rpod: Command, image: str) -> None:
    done = session_rpod("run", "--rm", image, "ip", "-4", "addr")
    assert "inet 10.0.2.100/24" in done.out


def test_exec_and_stop(session_rpod: Command, image: str) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.2; done"
    session_rpod("run", "-d", "--name", "box", image, "sh", "-c", script)
    assert session_rpod("exec", "box", "cat", "/proc/1/comm").out == "sh\n"
    session_rpod("stop", "--time", "100", "box")
    form = "{{.State.Status}} {{.State.ExitCode}}"
    assert session_rpod("inspect", "--format", form, "box").out == "exited 7\n"


def test_ids_are_the_subordinate_ones(session_rpod: Command, image: str) -> None:
    done = session_rpod("run", "--rm", image, "cat", "/proc/self/uid_map")
    assert len(done.lines) == 2


def test_keep_id(session_rpod: Command, image: str) -> None:
    arguments = ("run", "--rm", "--userns=keep-id", image, "id", "-u")
    done = session_rpod(*arguments)
    assert done.out == f"{session_rpod.account.uid}\n"


def test_doctor_finds_cgroup_v2(session_rpod: Command) -> None:
    done = session_rpod("doctor", "--format", "json", check=False)
    assert "cgroup" in json.dumps(json.loads(done.out))
