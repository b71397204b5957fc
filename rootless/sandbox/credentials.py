"""Ids of an emulated process and the rules by which it may change them: credentials(7).

The kernel knows one id; these are what the emulation shows instead. The rules are the kernel's, so
that a program which has given up root cannot take it back, and finds that out.
"""

import errno
import os

from storage.record import NamedTuple

KEEP = -1


class Credentials(NamedTuple):
    """User and group ids; `groups` is None until the process has set them.

    `capable` stands for the capabilities over ids and owners, `keep` for PR_SET_KEEPCAPS.
    """

    ruid: int = 0
    euid: int = 0
    suid: int = 0
    fsuid: int = 0
    rgid: int = 0
    egid: int = 0
    sgid: int = 0
    fsgid: int = 0
    groups: tuple[int, ...] | None = None
    capable: bool = True
    keep: bool = False


ROOT = Credentials()


def _refuse() -> OSError:
    return OSError(errno.EPERM, os.strerror(errno.EPERM))


def set_resuid(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    """setresuid(2). Raises OSError: EPERM."""
    known = (old.ruid, old.euid, old.suid)
    if not old.capable and any(uid not in (KEEP, *known) for uid in (real, effective, saved)):
        raise _refuse()
    return _with_users(
        old,
        old.ruid if real == KEEP else real,
        old.euid if effective == KEEP else effective,
        old.suid if saved == KEEP else saved,
    )


def set_reuid(old: Credentials, real: int, effective: int) -> Credentials:
    """setreuid(2). Raises OSError: EPERM."""
    if not old.capable and (
        real not in (KEEP, old.ruid, old.euid)
        or effective not in (KEEP, old.ruid, old.euid, old.suid)
    ):
        raise _refuse()
    new_effective = old.euid if effective == KEEP else effective
    sets_saved = real != KEEP or (effective not in (KEEP, old.ruid))
    return _with_users(
        old,
        old.ruid if real == KEEP else real,
        new_effective,
        new_effective if sets_saved else old.suid,
    )


def set_uid(old: Credentials, uid: int) -> Credentials:
    """setuid(2). Raises OSError: EPERM."""
    if old.capable:
        return _with_users(old, uid, uid, uid)
    if uid not in (old.ruid, old.suid):
        raise _refuse()
    return _with_users(old, old.ruid, uid, old.suid)


def set_fsuid(old: Credentials, uid: int) -> Credentials:
    """setfsuid(2), which never fails."""
    if old.capable or uid in (old.ruid, old.euid, old.suid, old.fsuid):
        return old._replace(fsuid=uid)
    return old


def _with_users(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    """Change the ids and what follows from it: capabilities(7), "Effect of user ID changes"."""
    capable = old.capable
    if old.euid != 0 and effective == 0:
        capable = True
    elif old.euid == 0 and effective != 0:
        # The effective set is cleared; whoever keeps the permitted one raises it again.
        capable = old.keep
    return old._replace(ruid=real, euid=effective, suid=saved, fsuid=effective, capable=capable)


def set_resgid(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    """setresgid(2). Raises OSError: EPERM."""
    known = (old.rgid, old.egid, old.sgid)
    if not old.capable and any(gid not in (KEEP, *known) for gid in (real, effective, saved)):
        raise _refuse()
    return _with_groups(
        old,
        old.rgid if real == KEEP else real,
        old.egid if effective == KEEP else effective,
        old.sgid if saved == KEEP else saved,
    )


def set_regid(old: Credentials, real: int, effective: int) -> Credentials:
    """setregid(2). Raises OSError: EPERM."""
    if not old.capable and (
        real not in (KEEP, old.rgid, old.egid)
        or effective not in (KEEP, old.rgid, old.egid, old.sgid)
    ):
        raise _refuse()
    new_effective = old.egid if effective == KEEP else effective
    sets_saved = real != KEEP or (effective not in (KEEP, old.rgid))
    return _with_groups(
        old,
        old.rgid if real == KEEP else real,
        new_effective,
        new_effective if sets_saved else old.sgid,
    )


def set_gid(old: Credentials, gid: int) -> Credentials:
    """setgid(2). Raises OSError: EPERM."""
    if old.capable:
        return _with_groups(old, gid, gid, gid)
    if gid not in (old.rgid, old.sgid):
        raise _refuse()
    return _with_groups(old, old.rgid, gid, old.sgid)


def set_fsgid(old: Credentials, gid: int) -> Credentials:
    """setfsgid(2), which never fails."""
    if old.capable or gid in (old.rgid, old.egid, old.sgid, old.fsgid):
        return old._replace(fsgid=gid)
    return old


def _with_groups(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    return old._replace(rgid=real, egid=effective, sgid=saved, fsgid=effective)


def set_groups(old: Credentials, groups: tuple[int, ...]) -> Credentials:
    """setgroups(2). Raises OSError: EPERM."""
    if not old.capable:
        raise _refuse()
    return old._replace(groups=groups)


def may_chown(old: Credentials, owner: tuple[int, int], uid: int, gid: int) -> bool:
    """Whether chown(2) is allowed; KEEP leaves an id as it is."""
    if old.capable:
        return True
    if old.fsuid != owner[0] or uid not in (KEEP, owner[0]):
        return False
    return gid in (KEEP, owner[1], old.fsgid) or gid in (old.groups or ())
