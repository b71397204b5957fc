"""A user without subordinate ids: one id inside, and everything that works with it."""

from tests.support.command import Command


def test_run(one_id_rpod: Command, image: str) -> None:
    done = one_id_rpod("run", "--rm", image, "sh", "-c", "id -u; cat /proc/self/uid_map")
    assert done.lines[0] == "0"
    assert done.lines[1].split() == ["0", str(one_id_rpod.account.uid), "1"]


def test_exec(one_id_rpod: Command, image: str) -> None:
    one_id_rpod("run", "-d", "--name", "box", image, "sleep", "1000")
    assert one_id_rpod("exec", "box", "echo", "hello").out == "hello\n"


def test_the_one_id_can_be_that_of_another_user(one_id_rpod: Command, image: str) -> None:
    done = one_id_rpod(
        "run", "--rm", "-u", "alice", image, "sh", "-c", "id -u; cat /proc/self/uid_map"
    )
    assert done.lines[0] == "1000"
    assert done.lines[1].split() == ["1000", str(one_id_rpod.account.uid), "1"]
