"""What a dev shell has of its caller: variables, names of ids, places that the variables name.

Loaded for `rpod shell` only.
"""

import os

from rootless.container.users import User, parse_group, parse_passwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.container.merged import Accounts

# These describe the host's software or the host's shell; inside they would name what is not there.
_OF_THE_HOST = frozenset((
    "PATH", "MANPATH", "INFOPATH", "MODULEPATH", "MODULESHOME", "LOADEDMODULES", "_LMFILES_",
    "BASH_ENV", "ENV", "FPATH", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS", "GCONV_PATH", "LOCPATH",
    "NLSPATH", "TERMINFO", "TERMINFO_DIRS", "PKG_CONFIG_PATH", "CPATH", "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "GI_TYPELIB_PATH", "PERL5LIB", "PERLLIB", "VIRTUAL_ENV",
    "CONDA_PREFIX", "CONDA_EXE", "SSL_CERT_FILE", "SSL_CERT_DIR", "PWD", "OLDPWD", "_",
    "container",
))  # fmt: skip
_PREFIXES_OF_THE_HOST = ("LD_", "PYTHON", "BASH_FUNC_", "__", "LMOD_", "_ModuleTable")
# These are the person's, whatever the image has set; all else of the image goes first.
_PERSONAL = frozenset((
    "HOME", "USER", "LOGNAME", "SHELL", "MAIL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM",
    "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "EDITOR", "VISUAL", "PAGER", "TMPDIR", "NO_COLOR",
    "DBUS_SESSION_BUS_ADDRESS", "PULSE_SERVER", "HOSTNAME", "KRB5CCNAME",
))  # fmt: skip
_PERSONAL_PREFIXES = ("LC_", "SSH_", "XDG_", "GPG_", "SLURM", "PMI", "OMPI_", "PRTE_")
# Variables that name a file or directory which a program opens: it is shown inside as well.
_NAMES_A_PLACE = (
    "SSH_AUTH_SOCK", "XAUTHORITY", "TMPDIR", "XDG_RUNTIME_DIR", "SLURM_TMPDIR",
    "PMIX_SERVER_TMPDIR", "PRTE_SESSION_DIR", "KRB5CCNAME", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip


def is_passed(name: str) -> bool:
    """Tell whether a variable of the caller goes into a dev shell."""
    return name not in _OF_THE_HOST and not name.startswith(_PREFIXES_OF_THE_HOST)


def is_personal(name: str) -> bool:
    """Tell whether the caller's value goes before the image's."""
    return name in _PERSONAL or name.startswith(_PERSONAL_PREFIXES)


def add_variables(result: dict[str, str], caller: "Mapping[str, str]", home: str) -> None:
    """Add the caller's variables to those of the image."""
    for name, value in caller.items():
        if is_passed(name) and (is_personal(name) or name not in result):
            result[name] = value
    result["HOME"] = home


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
