"""pasta, really started for a real network namespace, by a regular user."""

import shutil

import pytest

from slirp import pasta
from slirp.errors import HelperFailed
from tests.conftest import InAccount
from tests.kernel.namespaces import network_namespace, serve_tcp
from tests.kernel.test_slirp4netns import (
    ANSWER,
    ask_tcp,
    ends_with_its_monitor,
    free_port,
    has_ended,
)

pytestmark = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed")


def test_published_port_is_reached(in_account: InAccount) -> None:
    def body() -> bytes:
        mapping = free_port()
        with network_namespace(serve_tcp(80, ANSWER)) as (pid, go):
            running = pasta.start(pid, ports=[mapping])
            try:
                running.wait_ready()
                go()
                return ask_tcp(mapping.host_port)
            finally:
                running.stop()

    assert in_account(body) == ANSWER


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def test_stop_leaves_no_process(in_account: InAccount) -> None:
    def body() -> bool:
        with network_namespace(lambda: None) as (pid, _):
            running = pasta.start(pid)
            running.wait_ready()
            inner = children(running.pid)
            running.stop()
            return len(inner) >= 1 and all(has_ended(one) for one in inner)

    assert in_account(body)


def test_helper_ends_when_its_monitor_is_killed(in_account: InAccount) -> None:
    assert in_account(lambda: ends_with_its_monitor(pasta.start))


def test_wrong_argument_is_one_clear_line(in_account: InAccount) -> None:
    def body() -> None:
        with network_namespace(lambda: None) as (pid, _):
            pasta.start(pid, ["--no-such-option"]).wait_ready()

    with pytest.raises(HelperFailed, match=r"start pasta: .*no-such-option") as caught:
        in_account(body)
    assert "\n" not in caught.value.message
