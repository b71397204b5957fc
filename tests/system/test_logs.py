"""`logs`: what a container wrote, when, and where."""

import re
import time

from tests.support.command import Command

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d) ")


def test_logs_keep_the_streams_apart(rpod: Command, image: str) -> None:
    rpod("run", "--name", "two", image, "sh", "-c", "echo to-out; echo to-err >&2")
    done = rpod("logs", "two")
    assert (done.out, done.err) == ("to-out\n", "to-err\n")


def test_logs_tail(rpod: Command, image: str) -> None:
    rpod("run", "--name", "many", image, "seq", "1", "1000")
    assert rpod("logs", "--tail", "3", "many").lines == ["998", "999", "1000"]
    assert rpod("logs", "--tail", "0", "many").lines == []
    assert len(rpod("logs", "many").lines) == 1000


def test_logs_timestamps(rpod: Command, image: str) -> None:
    rpod("run", "--name", "stamped", image, "echo", "text")
    line = rpod("logs", "-t", "stamped").out
    assert STAMP.match(line), line
    assert line.endswith(" text\n")


def test_logs_since_and_until(rpod: Command, image: str) -> None:
    rpod("run", "--name", "timed", image, "sh", "-c", "echo first; sleep 3; echo second")
    first = rpod("logs", "-t", "timed").lines[0].split()[0]
    middle = first[:17] + f"{min(int(first[17:19]) + 2, 59):02}" + first[-6:].lstrip("0123456789")
    if int(first[17:19]) < 56:
        assert rpod("logs", "--since", middle, "timed").lines == ["second"]
        assert rpod("logs", "--until", middle, "timed").lines == ["first"]
    assert rpod("logs", "--since", "1h", "timed").lines == ["first", "second"]


def test_logs_follow_ends_with_the_container(rpod: Command, image: str) -> None:
    rpod(
        "run",
        "-d",
        "--name",
        "slow",
        image,
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.5; done",
    )
    assert rpod("logs", "--follow", "slow").lines == ["1", "2", "3"]


def test_logs_follow_shows_lines_as_they_come(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "slow", image, "sh", "-c", "sleep 1; echo first; sleep 100")
    process = rpod.spawn("logs", "-f", "slow")
    assert process.stdout is not None
    begin = time.monotonic()
    assert process.stdout.readline() == b"first\n"
    assert time.monotonic() - begin < 20
    process.terminate()
    process.communicate(timeout=20)


def test_logs_of_a_line_without_an_end(rpod: Command, image: str) -> None:
    rpod("run", "--name", "partial", image, "printf", "no newline")
    assert rpod("logs", "partial").out.rstrip("\n") == "no newline"


def test_logs_of_a_long_line(rpod: Command, image: str) -> None:
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo"
    rpod("run", "--name", "long", image, "sh", "-c", script)
    assert rpod("logs", "long").out == "x" * 100_000 + "\n"


def test_logs_of_a_terminal(rpod: Command, image: str) -> None:
    rpod("run", "-d", "-t", "--name", "terminal", image, "echo", "text")
    rpod("wait", "terminal")
    assert rpod("logs", "terminal").out.replace("\r", "") == "text\n"


def test_logs_of_two_containers(rpod: Command, image: str) -> None:
    for name in ("one", "two"):
        rpod("run", "--name", name, image, "echo", f"of {name}")
    plain = rpod("logs", "one", "two").lines
    assert {line.rpartition("of ")[2] for line in plain} == {"one", "two"}
    named = rpod("logs", "--names", "one", "two").lines
    assert len(named) == 2
    assert {line.rpartition("of ")[2] for line in named} == {"one", "two"}


def test_attached_output_is_kept_too(rpod: Command, image: str) -> None:
    assert rpod("run", "--name", "seen", image, "echo", "once").out == "once\n"
    assert rpod("logs", "seen").out == "once\n"


def test_log_driver_none_keeps_nothing(rpod: Command, image: str) -> None:
    rpod("run", "--log-driver", "none", "--name", "silent", image, "echo", "text")
    done = rpod("logs", "silent", check=False)
    assert done.out == ""


def test_each_container_has_a_color(rpod: Command, image: str) -> None:
    for name in ("one", "two"):
        rpod("run", "--name", name, image, "echo", "text")
    lines = rpod("logs", "--color", "--names", "one", "two").lines
    assert sorted(lines) == ["\x1b[31mtwo text\x1b[0m", "\x1b[37mone text\x1b[0m"]
    assert rpod("logs", "--color", "--names", "one").lines == ["\x1b[37mtext\x1b[0m"]
    assert rpod("logs", "--names", "one").lines == ["text"]
