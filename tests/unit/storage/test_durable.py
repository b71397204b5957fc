"""Syncs that threads share."""

import threading
import time

import pytest

from storage import durable


def test_threads_share_a_sync_that_began_after_their_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[tuple[float, float]] = []

    def slow(path: str) -> None:
        began = time.monotonic()
        time.sleep(0.05)
        runs.append((began, time.monotonic()))

    monkeypatch.setattr(durable, "sync_file_system", slow)
    group = durable.GroupSync()
    spans: list[tuple[float, float]] = []

    def work(delay_s: float) -> None:
        time.sleep(delay_s)
        came = time.monotonic()
        group.sync("/")
        spans.append((came, time.monotonic()))

    threads = [threading.Thread(target=work, args=(0.004 * number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spans) == 10
    assert len(runs) < 5
    for came, went in spans:
        assert any(came <= began and ended <= went for began, ended in runs)


def test_a_sync_that_fails_is_told_to_the_one_who_ran_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise OSError("disk")

    monkeypatch.setattr(durable, "sync_file_system", fail)
    group = durable.GroupSync()
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            group.sync("/")
