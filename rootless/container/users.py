"""Who a container's process is: `--user` against the image's /etc/passwd and /etc/group."""

from rootless.errors import UnknownUser, UsageError
from rootless.linux.userns import IdMaps, to_host
from storage.record import NamedTuple

# `--group-add keep-groups`: the process keeps the caller's supplementary groups.
KEEP_GROUPS = "keep-groups"
_MAX_ID = 2**31 - 1
_MAX_DIGITS = 20


class Account(NamedTuple):
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


class User(NamedTuple):
    """The ids of a process; `name` is empty when no passwd line has the uid."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


def parse_passwd(data: bytes) -> list[Account]:
    """Read passwd(5); lines that break the format are passed over, as getpwnam does."""
    accounts = []
    for fields in _lines(data):
        if len(fields) >= 6 and _is_number(fields[2]) and _is_number(fields[3]):
            accounts.append(Account(fields[0], int(fields[2]), int(fields[3]), fields[5]))
    return accounts


def parse_group(data: bytes) -> list[tuple[str, int, list[str]]]:
    """Read group(5) as (name, gid, members)."""
    groups = []
    for fields in _lines(data):
        if len(fields) >= 4 and _is_number(fields[2]):
            groups.append((fields[0], int(fields[2]), [m for m in fields[3].split(",") if m]))
    return groups


def _lines(data: bytes) -> list[list[str]]:
    # Not splitlines(): form feeds and the like end no line for the C library. A NUL fits in no
    # argument and no variable.
    text = data.decode(errors="surrogateescape")
    return [line.split(":") for line in text.split("\n") if "\0" not in line]


def _is_number(text: str) -> bool:
    """Tell whether it is digits, and not more than int() takes of somebody else's file."""
    return text.isdecimal() and len(text) <= _MAX_DIGITS


def check_mapped(user: User, maps: IdMaps) -> User:
    """Return the user without groups that the user namespace lacks.

    Raises UnknownUser when it lacks the ids themselves.
    """
    for kind, ranges, value in (("user", maps.uids, user.uid), ("group", maps.gids, user.gid)):
        if to_host(ranges, value) is None:
            raise UnknownUser(
                f"run as {kind} id {value}: it is not mapped in the container's user namespace",
                remedy="a larger range in /etc/subuid and /etc/subgid maps more ids; see"
                " `rpod doctor`",
            )
    groups = tuple(group for group in user.groups if to_host(maps.gids, group) is not None)
    return user._replace(groups=groups)


def resolve_user(text: str, passwd: bytes, group: bytes, group_add: tuple[str, ...] = ()) -> User:
    """Resolve NAME|UID[:GROUP|GID] in the container's own files.

    Raises UnknownUser, UsageError.
    """
    user_text, separator, group_text = text.partition(":")
    accounts = parse_passwd(passwd)
    account = _find_account(user_text or "0", accounts)
    groups = parse_group(group)
    gid = _find_group(group_text, groups) if group_text else account.gid
    if separator and not group_text:
        raise UsageError(f'user "{text}" has an empty group after the colon')
    further = []
    if not group_text and account.name:
        further = [number for name, number, members in groups if account.name in members]
    further += [_find_group(entry, groups) for entry in group_add if entry != KEEP_GROUPS]
    home = account.home or "/"
    return User(account.uid, gid, tuple(dict.fromkeys(further)), account.name, home)


def _number(text: str) -> int | None:
    if not text.isdecimal():
        return None
    if not _is_number(text) or int(text) > _MAX_ID:
        raise UsageError(f"user or group id {text[:_MAX_DIGITS]} is out of range")
    return int(text)


def _find_account(text: str, accounts: list[Account]) -> Account:
    for account in accounts:
        if account.name == text:
            return account
    uid = _number(text)
    if uid is None:
        raise UnknownUser(
            f"unable to find user {text}: no matching entries in passwd file",
            remedy="give a user id, or a user that the image's /etc/passwd has",
        )
    for account in accounts:
        if account.uid == uid:
            return account
    return Account("", uid, 0, "/root" if uid == 0 else "/")


def _find_group(text: str, groups: list[tuple[str, int, list[str]]]) -> int:
    for name, gid, _ in groups:
        if name == text:
            return gid
    number = _number(text)
    if number is None:
        raise UnknownUser(
            f"unable to find group {text}: no matching entries in group file",
            remedy="give a group id, or a group that the image's /etc/group has",
        )
    return number
