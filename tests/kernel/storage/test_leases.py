"""Leases without locks: one holder at a time, and no holder for ever."""

import os
import signal
import time
from pathlib import Path

import pytest

from storage.leases import Lease

LEASE_S = 0.4


def hold(directory: Path, seconds: float) -> int:
    """Fork a process that takes the lease and keeps it; returns once it is taken."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with Lease(str(directory), "one", lease_s=LEASE_S):
            os.write(writer, b"x")
            time.sleep(seconds)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return pid


def test_one_holder_at_a_time_however_long_it_takes(tmp_path: Path) -> None:
    pid = hold(tmp_path, 3 * LEASE_S)
    begin_s = time.monotonic()
    with Lease(str(tmp_path), "one", lease_s=LEASE_S):
        assert time.monotonic() - begin_s > 2 * LEASE_S
    os.waitpid(pid, 0)
    assert os.listdir(tmp_path) == []


def test_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    pid = hold(tmp_path, 100)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    begin_s = time.monotonic()
    with Lease(str(tmp_path), "one", lease_s=60):
        assert time.monotonic() - begin_s < 1


@pytest.mark.parametrize(
    "content",
    [b"another-boot pid:[1] 1 1 abc\n", b"", b"\xff\0 torn"],
    ids=["other", "empty", "torn"],
)
def test_lease_of_a_dead_machine_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one").write_bytes(content)
    begin_s = time.monotonic()
    with Lease(str(tmp_path), "one", lease_s=LEASE_S):
        waited_s = time.monotonic() - begin_s
        assert LEASE_S * 0.9 < waited_s < LEASE_S * 5
    assert os.listdir(tmp_path) == []


def test_lease_that_was_taken_over_is_not_given_back(tmp_path: Path) -> None:
    with Lease(str(tmp_path), "one", lease_s=LEASE_S):
        (tmp_path / "one").write_bytes(b"somebody else\n")
    assert (tmp_path / "one").read_bytes() == b"somebody else\n"
