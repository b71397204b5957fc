"""The fixtures themselves: what they promise to kernel tests."""

import os
import signal

import pytest

from tests.conftest import InAccount
from tests.support.accounts import Account


def test_in_account_drops_every_id(in_account: InAccount, account: Account) -> None:
    def body() -> tuple[tuple[int, int, int], list[int], str]:
        return os.getresuid(), os.getgroups(), os.environ["HOME"]

    uid = account.uid
    expected_groups = [account.gid] if os.getuid() == 0 else os.getgroups()
    assert in_account(body) == ((uid, uid, uid), expected_groups, account.home)


def test_in_account_child_owns_its_proc_files(in_account: InAccount, account: Account) -> None:
    def body() -> int:
        return os.stat(f"/proc/{os.getpid()}/uid_map").st_uid

    assert in_account(body) == account.uid


def test_in_account_raises_what_the_child_raised(in_account: InAccount) -> None:
    def body() -> None:
        raise LookupError("from the child")

    with pytest.raises(LookupError, match="from the child"):
        in_account(body)


def test_in_account_ends_a_child_that_hangs(in_account: InAccount) -> None:
    def body() -> None:
        signal.pause()

    with pytest.raises(AssertionError, match="not done after"):
        in_account(body, timeout_s=0.2)


def test_account_has_subordinate_ids(account: Account) -> None:
    assert sum(count for _, count in account.subordinate) >= 65_536


def test_account_without_ids_has_none(account_without_ids: Account) -> None:
    assert account_without_ids.subordinate == ()


def test_account_dir_is_private(account: Account, account_dir: str) -> None:
    found = os.stat(account_dir)
    assert (found.st_uid, found.st_mode & 0o777) == (account.uid, 0o700)
