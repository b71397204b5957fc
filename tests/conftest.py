"""Fixtures and rules for every test: accounts, time limits, skips, what may be left behind.

Tests run as root (then regular accounts are made, and code is run dropped to them) or as a regular
user (then that user is the account, with a home of its own for the tests).
"""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Protocol, TypeVar

import pytest

from tests.support import accounts, images, leaks
from tests.support import registry as registries
from tests.support.accounts import Account
from tests.support.command import TIME_FACTOR, is_podman

R = TypeVar("R")

TIME_LIMIT_S = 60 * TIME_FACTOR
MUST_RUN = os.environ.get("RPOD_TESTS_MUST_RUN") == "1"
_FIRST_MARKERS = ("kernel", "system", "lab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long tests (marker: full)")
    parser.addoption("--lab", action="store_true", help="also run the tests of the virtual machine")


def pytest_configure(config: pytest.Config) -> None:
    # What a shell starts in the background ignores SIGINT, and so would every command tested here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "time_limit(seconds): another limit than 60 s")
    config.addinivalue_line("markers", "rpod_only: about something of our own; not for podman")
    config.addinivalue_line("markers", "full: long; only with --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    dropped: list[pytest.Item] = []
    for item in items:
        parts = item.nodeid.split("/")
        for name in _FIRST_MARKERS:
            if name in parts[:2]:
                item.add_marker(name)
        if _is_deselected(config, item):
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def _is_deselected(config: pytest.Config, item: pytest.Item) -> bool:
    if item.get_closest_marker("rpod_only") and is_podman():
        return True
    return any(
        item.get_closest_marker(name) is not None and not config.getoption(f"--{name}")
        for name in ("full", "lab")
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if MUST_RUN and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but RPOD_TESTS_MUST_RUN=1: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if MUST_RUN and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but RPOD_TESTS_MUST_RUN=1: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    marker = item.get_closest_marker("time_limit")
    limit_s = float(marker.args[0]) * TIME_FACTOR if marker else TIME_LIMIT_S

    def expire(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"the test was not done after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class InAccount(Protocol):
    """Run a function in a forked child of an account; see `tests.support.accounts.run_as`."""

    def __call__(
        self,
        function: Callable[..., R],
        /,
        *args: object,
        account: Account | None = None,
        timeout_s: float = TIME_LIMIT_S,
        **kwargs: object,
    ) -> R: ...


def _require_readable(path: str) -> None:
    """Fail early where an account could not read this checkout or this Python."""
    while True:
        if os.stat(path).st_mode & 0o005 != 0o005:
            pytest.exit(f"{path} is closed to other users: tests run as a regular account", 4)
        if path == "/":
            return
        path = os.path.dirname(path)


@contextlib.contextmanager
def _account(*, subordinate: bool) -> Iterator[Account]:
    if os.getuid() != 0:
        yield from _own(subordinate=subordinate)
        return
    _require_readable(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    _require_readable(os.path.dirname(os.path.abspath(sys.executable)))
    made = accounts.create_account(f"rpt{secrets.token_hex(4)}", subordinate=subordinate)
    try:
        yield made
        left = leaks.wait_until_gone(lambda: leaks.own_processes(made), leaks.SETTLE_S)
        assert left == [], "processes left behind by the tests"
    finally:
        accounts.delete_account(made)


def _own(*, subordinate: bool) -> Iterator[Account]:
    own = accounts.own_account()
    try:
        if subordinate and not own.subordinate:
            pytest.skip(f"{own.name} has no subordinate ids in /etc/subuid")
        if not subordinate and own.subordinate:
            pytest.skip(f"{own.name} has subordinate ids; only root can make an account without")
        yield own
    finally:
        accounts.remove_tree(own.home)
        accounts.remove_tree(own.runtime_dir)


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """A regular user with subordinate ids."""
    with _account(subordinate=True) as made:
        yield made


@pytest.fixture(scope="session")
def account_without_ids() -> Iterator[Account]:
    """A regular user that /etc/subuid does not know."""
    with _account(subordinate=False) as made:
        yield made


@pytest.fixture
def account_dir(account: Account) -> Iterator[str]:
    """An empty directory that the account owns, on a disk."""
    with accounts.temporary_directory(account) as path:
        yield path


@pytest.fixture
def in_account(request: pytest.FixtureRequest) -> InAccount:
    """Run a function as the account: `in_account(function, *args, account=..., timeout_s=...)`."""

    def run(
        function: Callable[..., R],
        /,
        *args: object,
        account: Account | None = None,
        timeout_s: float = TIME_LIMIT_S,
        **kwargs: object,
    ) -> R:
        chosen: Account = account or request.getfixturevalue("account")
        return accounts.run_as(chosen, timeout_s, function, *args, **kwargs)

    return run


@pytest.fixture(scope="session")
def shared_dir() -> Iterator[str]:
    """A directory that every account can read, for archives made once."""
    path = tempfile.mkdtemp(prefix="rpt-shared-", dir="/tmp")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def _written(path: str, data: bytes) -> str:
    with open(path, "wb") as out:
        out.write(data)
    os.chmod(path, 0o644)
    return path


@pytest.fixture(scope="session")
def busybox_tar(shared_dir: str) -> str:
    """Path of the plain root file system of the test image."""
    return _written(f"{shared_dir}/rootfs.tar", images.tar(images.busybox_files()))


@pytest.fixture(scope="session")
def docker_archive(shared_dir: str) -> str:
    """Path of the test image as a docker-archive."""
    return _written(f"{shared_dir}/image.tar", images.busybox_archive())


@pytest.fixture(scope="session")
def registry() -> Iterator[registries.Registry]:
    """Debian's docker-registry on loopback."""
    absent = registries.missing()
    if absent:
        pytest.skip(f"not installed: {absent}")
    with registries.running() as running:
        yield running
