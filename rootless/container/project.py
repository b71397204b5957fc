"""A project's dev shell: `rpod.toml`, found from the working directory upwards.

The file decides what is run with the caller's home inside, so it is read only when the caller has
written it: file and directory must belong to the caller and to nobody else (`docs/security.md`).
"""

import errno
import os
import stat

from rootless.config import parse_toml
from rootless.errors import UsageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "rpod.toml"
_LIMIT_BYTES = 1 << 20
_TEXT, _TEXTS, _TABLE, _FLAG = (
    "a string",
    "a list of strings",
    "a table of strings",
    "true or false",
)
_KEYS = {
    "image": _TEXT, "containerfile": _TEXT, "context": _TEXT, "target": _TEXT,
    "build-args": _TABLE, "command": _TEXTS, "mounts": _TEXTS, "env": _TABLE, "ports": _TEXTS,
    "devices": _TEXTS, "workdir": _TEXT, "keep": _TEXT, "as-root": _FLAG,
}  # fmt: skip
_OF_BUILDS = ("context", "target", "build-args")


class Project(NamedTuple):
    """What a file says; `directory` is where it lies, absolute. Paths are absolute."""

    directory: str
    image: str = ""
    containerfile: str = ""
    context: str = ""
    target: str = ""
    build_args: dict[str, str] = {}  # noqa: RUF012 - never changed
    command: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    env: dict[str, str] = {}  # noqa: RUF012 - never changed
    ports: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    workdir: str = ""
    keep: str = ""
    as_root: bool = False


def find_project(start: str, not_this: "tuple[str, ...]" = ()) -> str:
    """Return the path of the first rpod.toml in `start` or above it, "" when there is none.

    `not_this` are the files of settings that have the same name.
    """
    directory = os.path.abspath(start)
    while True:
        path = os.path.join(directory, FILE)
        if os.path.lexists(path) and path not in not_this:
            return path
        if directory == "/":
            return ""
        directory = os.path.dirname(directory)


def read_project(path: str, uid: int, gid: int, *, trusted: bool = False) -> Project:
    """Read a file; unless it is `trusted` it has to be the caller's own.

    Raises UsageError with the file and the key.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        # Not following a FIFO into waiting for ever; what is opened is what is checked.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"read {path}: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"read {path}: not a regular file")
        if not trusted:
            _check_owner(path, found, uid, gid)
            _check_owner(directory, os.stat(directory), uid, gid, file=path)
        data = os.read(fd, _LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"read {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > _LIMIT_BYTES:
        raise UsageError(f"read {path}: more than {_LIMIT_BYTES >> 20} MiB: this is no rpod.toml")
    project = _make(parse_toml(data, path), path, directory)
    from rootless.container.project_values import check_values

    check_values(project, path)
    return project


def _check_owner(path: str, found: os.stat_result, uid: int, gid: int, file: str = "") -> None:
    """Raises UsageError when somebody else may have written what the file says."""
    file = file or path
    remedy = f"read it, then: rpod shell --project {file}; or name an image: rpod shell IMAGE"
    if found.st_uid != uid:
        from rootless.host.paths import user_name

        who = user_name(found.st_uid)
        raise UsageError(f"{file} is not used: {path} belongs to {who}", remedy=remedy)
    if found.st_mode & stat.S_IWOTH:
        raise UsageError(
            f"{file} is not used: everybody may write to {path}",
            remedy=f"chmod o-w {path}; or {remedy}",
        )
    if found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid, uid, gid):
        raise UsageError(
            f"{file} is not used: its group may write to {path}",
            remedy=f"chmod g-w {path}; or {remedy}",
        )


def _is_private_group(group: int, uid: int, gid: int) -> bool:
    """Tell whether a group is one that only the caller is in: a umask of 002 writes for it."""
    import grp
    import pwd

    if group != gid:
        return False
    try:
        entry, name = grp.getgrgid(group), pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return entry.gr_name == name and all(member == name for member in entry.gr_mem)


def _make(table: dict[str, object], path: str, directory: str) -> Project:
    values: dict[str, object] = {"directory": directory}
    for key, value in table.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise UsageError(f"{path}: unknown key {key!r}", remedy=f"known: {', '.join(_KEYS)}")
        values[key.replace("-", "_")] = _checked(value, kind, f"{path}: {key}")
    if ("image" in table) == ("containerfile" in table):
        raise UsageError(
            f"{path}: one of image and containerfile is needed, and only one",
            remedy='for example: image = "docker.io/library/debian:12"',
        )
    for key in _OF_BUILDS:
        if key in table and "image" in table:
            raise UsageError(f"{path}: {key}: it belongs to containerfile, and there is an image")
    project = Project(**values)  # type: ignore[arg-type]  # checked by their kinds
    return project._replace(
        containerfile=_inside(directory, project.containerfile),
        context=_inside(directory, project.context or ".") if project.containerfile else "",
        mounts=tuple(_mount(text, directory, path) for text in project.mounts),
    )


def _checked(value: object, kind: str, where: str) -> object:
    if kind == _TEXTS:
        good = isinstance(value, list) and all(isinstance(one, str) for one in value)
    elif kind == _TABLE:
        good = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    elif kind == _FLAG:
        good = isinstance(value, bool)
    else:
        good = isinstance(value, str) and value != ""
    if not good:
        raise UsageError(f"{where}: must be {kind}, not {value!r:.60}")
    if "\\x00" in repr(value):
        raise UsageError(f"{where}: has a NUL in it")
    return tuple(value) if isinstance(value, list) else value


def _inside(directory: str, path: str) -> str:
    return os.path.normpath(os.path.join(directory, os.path.expanduser(path))) if path else ""


def _mount(text: str, directory: str, path: str) -> str:
    """Return `SOURCE:TARGET[:OPTIONS]` with the source counted from the project's directory."""
    source, colon, rest = text.partition(":")
    if not source or (colon and not rest.startswith("/")):
        raise UsageError(f"{path}: mounts: {text!r}", remedy="use SOURCE:TARGET[:OPTIONS]")
    if source.startswith((".", "~", "/")) and colon:
        full = _inside(directory, source)
        if not os.path.exists(full):
            why = os.strerror(errno.ENOENT)
            raise UsageError(f"{path}: mounts: {source}: {why}", remedy=f"mkdir -p {full}")
        return f"{full}:{rest}"
    return text


def image_name(directory: str) -> str:
    """Return the name of the image that is built for the project in a directory."""
    import hashlib

    base = os.path.basename(directory).lower()
    plain = "".join(letter for letter in base if letter.isascii() and letter.isalnum())
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()
    return f"localhost/shell-{plain or 'project'}:{digest[:12]}"


def settings_files(environ: "Mapping[str, str]", home: str) -> "tuple[str, ...]":
    """Return the files of settings (rpod.toml(5)), which are no projects."""
    from rootless.config import config_files

    return config_files(environ, home)
