"""passwd(5) and group(5) of a container: the image's, with lines for ids that it does not know."""

import os

from rootless.container.users import User, parse_group, parse_passwd
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.container.spec import Surroundings

_PASSWD_ENTRY = "$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh"  # noqa: S105 - a line of passwd(5)
_GROUP_ENTRY = "$GROUPNAME:x:$GID:$USERLIST"


def account_files(
    user: User, around: "Surroundings", caller: str, request: "ContainerRequest"
) -> dict[str, bytes]:
    """Return the files that have to differ from the image's.

    With keep-id the caller's own id has the name that it has on the host. Raises UsageError.
    """
    if request.as_caller:
        from rootless.container import caller as person

        return person.account_files(user, around.accounts, user.home)
    if not request.passwd:
        return {}
    _check_entry("--passwd-entry", request.passwd_entry, _PASSWD_ENTRY)
    _check_entry("--group-entry", request.group_entry, _GROUP_ENTRY)
    files = {}
    is_caller = around.namespace.mode == "keep-id" and user.uid == around.namespace.own_uid
    name = caller if is_caller else ""
    passwd, group = around.accounts
    if not user.name and user.uid != 0:
        files["passwd"] = passwd = _with_line(passwd, _passwd_line(user, name, request))
    if user.gid != 0 and all(gid != user.gid for _, gid, _ in parse_group(group)):
        files["group"] = group = _with_line(group, _group_line(user, name, request))
    for text in request.hostuser:
        passwd, group = _with_host_user(text, passwd, group)
        files |= {"passwd": passwd, "group": group}
    return files


def _passwd_line(user: User, name: str, request: "ContainerRequest") -> str:
    template = request.passwd_entry
    if template is None:
        return f"{name or user.uid}:*:{user.uid}:{user.gid}:container user:{user.home}:/bin/sh"
    return _fill(
        template,
        {
            "$USERNAME": name or str(user.uid),
            "$UID": str(user.uid),
            "$GID": str(user.gid),
            "$NAME": "container user",
            "$HOME": user.home,
        },
    )


def _group_line(user: User, name: str, request: "ContainerRequest") -> str:
    template = request.group_entry
    if template is None:
        return f"{name or user.gid}:x:{user.gid}:"
    values = {"$GROUPNAME": name or str(user.gid), "$GID": str(user.gid), "$USERLIST": ""}
    return _fill(template, values)


def _check_entry(option: str, template: str | None, example: str) -> None:
    """Raise UsageError for what is no one line of passwd(5) or group(5)."""
    if template is not None and (
        "\n" in template or "\0" in template or template.count(":") != example.count(":")
    ):
        raise UsageError(
            f"{option} {template!r}: not a line of {example.count(':') + 1} fields",
            remedy=f"{option} '{example}', with other words where they are to be others",
        )


def _fill(template: str, values: dict[str, str]) -> str:
    for word, value in values.items():
        template = template.replace(word, value)
    return template


def _with_host_user(text: str, passwd: bytes, group: bytes) -> tuple[bytes, bytes]:
    """Add the lines of a user of the host, given by name or id. Raises UsageError."""
    import pwd

    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise UsageError(
            f"--hostuser {text}: there is no such user on this host",
            remedy="give a name or id that `getent passwd` shows",
        ) from None
    name, uid, gid = entry.pw_name, entry.pw_uid, entry.pw_gid
    if all(account.name != name for account in parse_passwd(passwd)):
        line = f"{name}:*:{uid}:{gid}:{entry.pw_gecos}:{entry.pw_dir}:/bin/sh"
        passwd = _with_line(passwd, line)
    if all(known != name for known, _, _ in parse_group(group)):
        group = _with_line(group, f"{name}:x:{gid}:{name}")
    return passwd, group


def _with_line(data: bytes, line: str) -> bytes:
    if data and not data.endswith(b"\n"):
        data += b"\n"
    return data + os.fsencode(line.rstrip("\n") + "\n")
