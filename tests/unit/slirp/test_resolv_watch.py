"""How a change of the host's resolv.conf is seen."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slirp.resolv_watch import Watch, directories

Watched = Callable[..., Watch]


@pytest.fixture
def signals() -> Iterator[list[int]]:
    seen: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def watched(signals: list[int]) -> Iterator[Watched]:
    """Make watches that end with the test: the signal's default would end the tests."""
    with contextlib.ExitStack() as stack:
        yield lambda *paths: stack.enter_context(contextlib.closing(Watch(paths)))


def changed(watch: Watch, seen: list[int]) -> bool:
    for _ in range(100):
        if seen and watch.has_changed():
            seen.clear()
            return True
        time.sleep(0.01)
    return False


def test_links_are_followed(tmp_path: Path) -> None:
    def below(path: Path) -> list[str]:
        return [name for name in directories(str(path)) if name.startswith(str(tmp_path))]

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to("../run/stub/resolv.conf")
    wanted = [f"{tmp_path}", f"{tmp_path}/etc"]
    assert below(tmp_path / "etc/resolv.conf") == wanted  # run is not there
    (tmp_path / "state/stub").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "state")
    assert below(tmp_path / "etc/resolv.conf") == [
        *wanted, f"{tmp_path}/state", f"{tmp_path}/state/stub"
    ]  # fmt: skip
    (tmp_path / "loop").symlink_to("loop")
    assert below(tmp_path / "loop") == [f"{tmp_path}"]


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by a rename"])
def test_new_contents_are_seen_once(
    tmp_path: Path, signals: list[int], watched: Watched, in_place: bool
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    watch = watched(str(path), f"{tmp_path}/missing/resolv.conf")
    for number in (22, 33):
        (path if in_place else tmp_path / "new").write_text(f"nameserver 192.0.2.{number}\n")
        if not in_place:
            os.rename(tmp_path / "new", path)
        assert changed(watch, signals)
        assert not watch.has_changed()


def test_file_behind_a_new_link_is_watched(
    tmp_path: Path, signals: list[int], watched: Watched
) -> None:
    other = tmp_path / "run"
    other.mkdir()
    (other / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    path = tmp_path / "resolv.conf"
    watch = watched(str(path))
    path.symlink_to("run/resolv.conf")
    assert changed(watch, signals)
    (other / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    assert changed(watch, signals)


def test_directory_that_goes_and_comes_is_watched(
    tmp_path: Path, signals: list[int], watched: Watched
) -> None:
    (tmp_path / "resolv.conf").symlink_to("run/stub/resolv.conf")
    stub = tmp_path / "run/stub"
    watch = watched(f"{tmp_path}/resolv.conf")
    for number in range(3):
        stub.mkdir(parents=True)
        (stub / "resolv.conf").write_text(f"nameserver 192.0.2.{number}\n")
        assert changed(watch, signals)
        shutil.rmtree(tmp_path / "run")
        assert changed(watch, signals)
        assert watch.newest_ns() == 0


def test_directory_in_the_place_of_another_is_watched(
    tmp_path: Path, signals: list[int], watched: Watched
) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    (tmp_path / "resolv.conf").symlink_to("now/resolv.conf")
    (tmp_path / "now").symlink_to("one")
    watch = watched(f"{tmp_path}/resolv.conf")
    (tmp_path / "next").symlink_to("two")
    os.rename(tmp_path / "next", tmp_path / "now")
    assert changed(watch, signals)
    (tmp_path / "two/resolv.conf").write_text("nameserver 192.0.2.22\n")
    assert changed(watch, signals)
    os.rename(tmp_path / "two", tmp_path / "old")
    assert changed(watch, signals)
    os.rename(tmp_path / "three", tmp_path / "two")
    assert changed(watch, signals)
