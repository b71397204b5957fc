"""What is known of a container's last run, also when the disk is full."""

import errno
import os
from pathlib import Path

import pytest

from storage import containers
from storage.containers import ContainerState, read_state, write_state
from storage.errors import DiskFull
from storage.layout import ContainerPaths, Layout


def paths_in(tmp_path: Path) -> ContainerPaths:
    paths = Layout(str(tmp_path), str(tmp_path)).container("c" * 64)
    os.makedirs(paths.directory)
    return paths


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_file(path: str, data: bytes, *, sync: bool = True) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(containers, "write_file", write_file)


@pytest.mark.parametrize("error", ["", "a reason that is longer than anything before" * 5])
def test_end_is_kept_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    paths = paths_in(tmp_path)
    start = ContainerState(pid=4711, started_at="2026-01-01T00:00:00Z", boot_id="b" * 36)
    write_state(paths, start, sync=False)
    fill_disk(monkeypatch)
    end = start._replace(exit_code=3, pid=0, boot_id="", error=error)
    write_state(paths, end, sync=True)
    assert read_state(paths) == end


def test_start_on_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = paths_in(tmp_path)
    fill_disk(monkeypatch)
    with pytest.raises(DiskFull):
        write_state(paths, ContainerState(pid=4711), sync=False)
    assert read_state(paths) == ContainerState()


BROKEN = {
    "empty": "",
    "no JSON": "{",
    "list": "[]",
    "null": "null",
    "pid": '{"pid": "x"}',
    "ports": '{"ports": 5}',
    "port": '{"ports": [5]}',
    "exit code": '{"exit_code": "x"}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_broken_state_is_that_of_a_container_that_never_ran(tmp_path: Path, text: str) -> None:
    paths = paths_in(tmp_path)
    Path(paths.state).write_text(text, encoding="utf-8")
    assert read_state(paths) == ContainerState()
