"""What a dev shell has of its caller: names of ids, places that the caller's variables name.

Loaded for `rpod shell` only.
"""

import os

from rootless.container.users import User, parse_group, parse_passwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.container.merged import Accounts

# Variables that name a file or directory which a program opens: it is shown inside as well.
_NAMES_A_PLACE = (
    "SSH_AUTH_SOCK", "XAUTHORITY", "TMPDIR", "XDG_RUNTIME_DIR", "SLURM_TMPDIR",
    "PMIX_SERVER_TMPDIR", "PRTE_SESSION_DIR", "KRB5CCNAME", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip


def places(caller: "Mapping[str, str]") -> list[str]:
    """Return the existing files and directories that the caller's variables name."""
    found = []
    for name in _NAMES_A_PLACE:
        value = caller.get(name, "").partition(",")[0]
        for prefix in ("unix:path=", "FILE:", "DIR:"):
            value = value.removeprefix(prefix)
        if value.startswith("/") and os.path.exists(value):
            found.append(os.path.normpath(value))
    return found


def account_files(user: User, accounts: "Accounts", home: str) -> dict[str, bytes]:
    """Return passwd(5) and group(5) in which the ids of the process have the caller's names.

    Lines of the image for the same user id or name make way: many images have somebody at 1000.
    """
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
        name, comment, shell = entry.pw_name, entry.pw_gecos, entry.pw_shell
    except KeyError:
        name, comment, shell = str(os.getuid()), "", ""
    try:
        group = grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        group = name
    if user.uid == 0:
        name, comment, group = "root", "root", "root"
    line = f"{name}:x:{user.uid}:{user.gid}:{comment}:{home}:{shell or '/bin/sh'}"
    passwd = _replace(accounts.passwd, line, name, user.uid)
    files = {"passwd": passwd}
    if all(gid != user.gid for _, gid, _ in parse_group(accounts.group)) or user.uid:
        files["group"] = _replace(accounts.group, f"{group}:x:{user.gid}:", group, user.gid)
    assert any(account.uid == user.uid for account in parse_passwd(passwd))
    return files


def _replace(data: bytes, line: str, name: str, number: int) -> bytes:
    """Return the lines without those of this name or number, and with the new one."""
    kept = []
    for old in data.split(b"\n"):
        fields = old.split(b":")
        if fields[0] == os.fsencode(name):
            continue
        if len(fields) > 2 and fields[2] == str(number).encode():
            continue
        if old:
            kept.append(old)
    kept.append(os.fsencode(line.replace("\n", " ")))
    return b"\n".join(kept) + b"\n"
