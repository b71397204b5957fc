"""The rules by which emulated ids change: what a program may not take back, it does not get."""

from collections.abc import Callable

import pytest

from rootless.sandbox import credentials
from rootless.sandbox.credentials import KEEP, ROOT, Credentials


def dropped() -> Credentials:
    """Return what a daemon has after it has given up root."""
    own = credentials.set_groups(ROOT, (33,))
    own = credentials.set_resgid(own, 33, 33, 33)
    return credentials.set_resuid(own, 33, 33, 33)


@pytest.mark.parametrize(
    "change",
    [
        lambda own: credentials.set_uid(own, 0),
        lambda own: credentials.set_reuid(own, KEEP, 0),
        lambda own: credentials.set_resuid(own, 0, 0, 0),
        lambda own: credentials.set_gid(own, 0),
        lambda own: credentials.set_regid(own, 0, KEEP),
        lambda own: credentials.set_resgid(own, KEEP, KEEP, 0),
        lambda own: credentials.set_groups(own, ()),
    ],
    ids=["setuid", "setreuid", "setresuid", "setgid", "setregid", "setresgid", "setgroups"],
)
def test_root_that_was_given_up_stays_so(change: Callable[[Credentials], Credentials]) -> None:
    with pytest.raises(PermissionError):
        change(dropped())


def test_saved_root_can_be_taken_back() -> None:
    own = credentials.set_resuid(ROOT, KEEP, 33, KEEP)
    assert (own.euid, own.fsuid, own.suid, own.capable) == (33, 33, 0, False)
    assert credentials.set_resuid(own, KEEP, 0, KEEP) == ROOT


def test_setuid_without_rights_leaves_real_and_saved() -> None:
    own = credentials.set_resuid(ROOT, 33, 44, 33)
    assert credentials.set_uid(own, 33)[:4] == (33, 33, 33, 33)


def test_setfsuid_is_silent() -> None:
    assert credentials.set_fsuid(dropped(), 0) == dropped()
    assert credentials.set_fsuid(ROOT, 5).fsuid == 5


def test_keepcaps_keeps_the_rights_over_groups() -> None:
    own = credentials.set_resuid(ROOT._replace(keep=True), 33, 33, 33)
    assert credentials.set_resgid(own, 33, 33, 33).rgid == 33


@pytest.mark.parametrize(
    ("owner", "uid", "gid", "allowed"),
    [((33, 33), KEEP, 33, True), ((33, 33), 33, 44, False), ((0, 0), 33, 33, False),
     ((33, 33), 0, KEEP, False)],
    ids=["own-group", "other-group", "of-root", "give-away"],
)  # fmt: skip
def test_chown_without_rights(owner: tuple[int, int], uid: int, gid: int, allowed: bool) -> None:
    assert credentials.may_chown(dropped(), owner, uid, gid) is allowed
