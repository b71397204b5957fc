"""How a change of the host's resolv.conf is seen."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slirp.resolv_watch import Watch, directories


@pytest.fixture
def signals() -> Iterator[list[int]]:
    seen: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGIO, before)


def changed(watch: Watch, seen: list[int]) -> bool:
    for _ in range(100):
        if seen and watch.has_changed():
            seen.clear()
            return True
        time.sleep(0.01)
    return False


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to("../run/stub/resolv.conf")
    wanted = [f"{tmp_path}/etc", f"{tmp_path}/etc/../run/stub"]
    assert directories(f"{tmp_path}/etc/resolv.conf") == wanted
    (tmp_path / "loop").symlink_to("loop")
    assert len(directories(f"{tmp_path}/loop")) == 8


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by a rename"])
def test_new_contents_are_seen_once(tmp_path: Path, signals: list[int], in_place: bool) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    watch = Watch((str(path), f"{tmp_path}/missing/resolv.conf"))
    for number in (22, 33):
        (path if in_place else tmp_path / "new").write_text(f"nameserver 192.0.2.{number}\n")
        if not in_place:
            os.rename(tmp_path / "new", path)
        assert changed(watch, signals)
        assert not watch.has_changed()


def test_file_behind_a_new_link_is_watched(tmp_path: Path, signals: list[int]) -> None:
    other = tmp_path / "run"
    other.mkdir()
    (other / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    path = tmp_path / "resolv.conf"
    watch = Watch((str(path),))
    path.symlink_to("run/resolv.conf")
    assert changed(watch, signals)
    (other / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    assert changed(watch, signals)
