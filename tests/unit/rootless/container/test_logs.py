"""The log of a container: written in chunks, read by lines."""

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootless.config import Config
from rootless.container import tail as tails
from rootless.container.logfile import STDERR, STDOUT, LogWriter, timestamp
from rootless.container.logs import write_logs
from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.containers import MonitorLock
from storage.errors import ContainerNotFound
from storage.layout import Layout
from tests.unit.storage.containers import add_container

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
Chunk = tuple[str, bytes]


class Box:
    """A container with a log, and a way to read it back."""

    def __init__(self, top: Path, name: str = "box", log_driver: str = "k8s-file") -> None:
        layout = Layout(f"{top}/store", f"{top}/run")
        self.view = add_container(layout, name, log_driver=log_driver)
        self.host = Host(layout, uid=0, gid=0, config=Config(), environ={}, run_root_reason="")
        self.top = top

    def write(self, chunks: list[Chunk], first_ns: int = START) -> None:
        """Write chunks, one second after the other."""
        log = LogWriter(self.view.paths.log)
        for number, (stream, data) in enumerate(chunks):
            log.write(stream, data, first_ns + number * SECOND)
        log.close()

    def read(self, **options: object) -> tuple[bytes, bytes]:
        """Return what goes to the two standard streams."""
        return captured(self.top, lambda: write_logs(self.host, ["box"], **options))  # type: ignore[arg-type]


def captured(top: Path, function: Callable[[], None]) -> tuple[bytes, bytes]:
    written = []
    saved = [os.dup(fd) for fd in (1, 2)]
    files = [os.open(f"{top}/stream-{fd}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for fd in (1, 2)]
    try:
        for fd, file in zip((1, 2), files, strict=True):
            os.dup2(file, fd)
        function()
    finally:
        for fd, old in zip((1, 2), saved, strict=True):
            os.dup2(old, fd)
            os.close(old)
    for file in files:
        written.append(os.pread(file, 1 << 20, 0))
        os.close(file)
    return written[0], written[1]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


chunk_lists = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]),
        st.lists(st.sampled_from([b"a", b"bc", b"\n", b" ", b"\r", b"\0"]), min_size=1, max_size=6)
        .map(b"".join),
    ),
    max_size=12,
)  # fmt: skip
SLOW = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


def of(stream: str, chunks: list[Chunk]) -> bytes:
    return b"".join(data for name, data in chunks if name == stream)


@given(chunks=chunk_lists)
@settings(**SLOW, max_examples=60)  # type: ignore[arg-type]
def test_every_byte_comes_back_on_its_stream(box: Box, chunks: list[Chunk]) -> None:
    Path(box.view.paths.log).unlink(missing_ok=True)
    box.write(chunks)
    assert box.read() == (of(STDOUT, chunks), of(STDERR, chunks))


def line_starts(chunks: list[Chunk]) -> list[tuple[int, int]]:
    """Return (chunk, offset in it) of every beginning of a line, in the order of the log."""
    starts = []
    is_open = {STDOUT: False, STDERR: False}
    for number, (stream, data) in enumerate(chunks):
        position = 0
        while position < len(data):
            if not is_open[stream]:
                starts.append((number, position))
            end = data.find(b"\n", position)
            is_open[stream] = end < 0
            position = len(data) if end < 0 else end + 1
    return starts


@given(chunks=chunk_lists, tail=st.integers(0, 8), step=st.sampled_from([60, 150, 1 << 18]))
@settings(**SLOW, max_examples=100)  # type: ignore[arg-type]
def test_tail_begins_at_the_last_lines(
    box: Box, monkeypatch: pytest.MonkeyPatch, chunks: list[Chunk], tail: int, step: int
) -> None:
    """With whatever size the file is read in from its end."""
    monkeypatch.setattr(tails, "_CHUNK_BYTES", step)
    Path(box.view.paths.log).unlink(missing_ok=True)
    box.write(chunks)
    starts = line_starts(chunks)
    shown: list[Chunk] = []
    if tail and starts:
        number, offset = starts[max(0, len(starts) - tail)]
        shown = [(chunks[number][0], chunks[number][1][offset:]), *chunks[number + 1 :]]
    assert box.read(tail=tail) == (of(STDOUT, shown), of(STDERR, shown))


@pytest.mark.parametrize(
    ("since_s", "until_s", "expected"),
    [
        (None, None, b"0\n1\n2\n3\n"),
        (2, None, b"2\n3\n"),
        (None, 1, b"0\n1\n"),
        (1, 2, b"1\n2\n"),
        (1.5, None, b"2\n3\n"),
        (99, None, b""),
        (None, -99, b""),
    ],
)
def test_since_and_until_are_inclusive(
    box: Box, since_s: float | None, until_s: float | None, expected: bytes
) -> None:
    box.write([(STDOUT, b"%d\n" % number) for number in range(4)])
    begin = START / SECOND
    since = None if since_s is None else begin + since_s
    until = None if until_s is None else begin + until_s
    assert box.read(since=since, until=until) == (expected, b"")


def test_a_line_in_parts_gets_one_time(box: Box) -> None:
    box.write([(STDOUT, b"one "), (STDERR, b"oh\n"), (STDOUT, b"line\nnext\n")])
    out, err = box.read(timestamps=True)
    assert re.fullmatch(rb"\S+ one line\n\S+ next\n", out)
    assert out.startswith(timestamp(START).encode())
    assert err == timestamp(START + SECOND).encode() + b" oh\n"


def test_one_container_needs_no_name(box: Box) -> None:
    box.write([(STDOUT, b"one\ntwo "), (STDOUT, b"three\n")])
    assert box.read(names=True)[0] == b"one\ntwo three\n"


def test_color_is_of_the_whole_line(box: Box) -> None:
    box.write([(STDOUT, b"one\ntwo "), (STDOUT, b"three\n")])
    assert box.read(color=True)[0] == b"\033[37mone\033[0m\n\033[37mtwo three\033[0m\n"


def test_several_containers_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    first, second = Box(tmp_path), Box(tmp_path, "other")
    first.write([(STDOUT, b"1\n")])
    second.write([(STDOUT, b"2\n")])
    out, _ = captured(tmp_path, lambda: write_logs(first.host, ["box", "other"]))
    ids = [box.view.record.id[:12].encode() for box in (first, second)]
    assert sorted(out.splitlines()) == sorted([ids[0] + b" 1", ids[1] + b" 2"])


def test_names_stand_before_lines_of_several(tmp_path: Path) -> None:
    first, second = Box(tmp_path), Box(tmp_path, "other")
    first.write([(STDOUT, b"1\n2 "), (STDOUT, b"3\n")])
    names = ["box", "other"]
    out, _ = captured(tmp_path, lambda: write_logs(second.host, names, names=True))
    assert out == b"box 1\nbox 2 3\n"


def test_a_container_that_never_ran_has_no_lines(box: Box) -> None:
    assert box.read() == (b"", b"")
    assert box.read(follow=True, tail=5) == (b"", b"")


def test_without_log_the_driver_is_named(tmp_path: Path) -> None:
    box = Box(tmp_path, log_driver="none")
    with pytest.raises(UsageError, match="log-driver=none"):
        box.read()


def test_a_missing_container_is_named(box: Box) -> None:
    with pytest.raises(ContainerNotFound, match="absent"):
        write_logs(box.host, ["absent"])


def test_follow_shows_everything_up_to_the_end(box: Box) -> None:
    os.makedirs(box.view.paths.run_dir)
    lock = MonitorLock.take(box.view.paths.lock)
    assert lock is not None

    def live() -> None:
        for number in range(5):
            box.write([(STDOUT, b"part %d " % number), (STDERR, b"%d\n" % number)])
            time.sleep(0.02)
        box.write([(STDOUT, b"last\n")])
        os.close(lock.fd)

    writer = threading.Thread(target=live)
    writer.start()
    out, err = box.read(follow=True)
    writer.join()
    assert out == b"part 0 part 1 part 2 part 3 part 4 last\n"
    assert err == b"0\n1\n2\n3\n4\n"


def test_a_long_tail_of_a_long_log_is_quick(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work grows with what is looked at, not with its square."""
    monkeypatch.setattr(tails, "_CHUNK_BYTES", 1 << 10)
    box.write([(STDOUT, b"line\n" * 50_000)])
    begin = time.process_time()
    assert len(box.read(tail=10_000_000)[0]) == 250_000
    assert time.process_time() - begin < 5


def test_a_line_longer_than_what_is_read_at_once(box: Box) -> None:
    line = b"x" * (1 << 19)
    box.write([(STDOUT, line[: 1 << 18]), (STDOUT, line[1 << 18 :] + b"\n"), (STDOUT, b"end\n")])
    assert box.read(tail=2)[0] == line + b"\nend\n"


def test_times_are_rfc_3339_with_nanoseconds() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000000+00:00"
    assert timestamp(START + 5) == "2023-11-14T22:13:20.000000005+00:00"


def test_the_file_is_that_of_kubernetes(box: Box) -> None:
    box.write([(STDOUT, b"whole\npart"), (STDERR, b"\n")])
    assert Path(box.view.paths.log).read_text().splitlines() == [
        f"{timestamp(START)} stdout F whole",
        f"{timestamp(START)} stdout P part",
        f"{timestamp(START + SECOND)} stderr F ",
    ]
    assert os.stat(box.view.paths.log).st_mode & 0o777 == 0o600
