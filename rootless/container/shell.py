"""`rpod shell`: a container in which the caller is at home.

A dev shell is an ordinary container of a particular request: the caller's id, names, groups,
variables, home and working directory, and the host's network and host name. It is no boundary
between the caller and what runs in it. It has processes of its own, so that all end with it.
"""

import os

from rootless.container.caller import places
from rootless.container.request import ContainerRequest
from rootless.container.users import KEEP_GROUPS
from rootless.errors import UsageError
from rootless.host.paths import Host, home_directory
from storage.record import NamedTuple

# The image's own: the host's cannot be laid over them without breaking its programs.
_OF_THE_IMAGE = frozenset((
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin",
    "sys", "usr",
))  # fmt: skip
_TMP = "/tmp"  # noqa: S108 - the host's own, shared on purpose: sockets of displays and agents
# Looks for a shell where the image is, takes the caller's own where it is there.
_FIND_SHELL = (
    'for s in "$SHELL" bash /bin/sh; do p=$(command -v "$s" 2>/dev/null) || continue; '
    'SHELL=$p; export SHELL; exec "$s"; done; exec sh'
)
ANY_SHELL = ("/bin/sh", "-c", _FIND_SHELL)
# Devices that programs look for; the caller's rights decide what can be done with them.
_DEVICES = (
    "dri", "infiniband", "kfd", "nvidia", "fuse", "kvm", "knem", "xpmem", "hfi1", "snd",
)  # fmt: skip


class ShellRequest(NamedTuple):
    """What `rpod shell` is asked for; `options` are fields of a ContainerRequest.

    `project` is the directory that relative things count from, "" without a project.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    root: bool = False
    home: bool = True
    tty: bool = False
    project: str = ""
    rootfs: str = ""
    join: bool = False
    options: dict[str, object] = {}  # noqa: RUF012 - read only


def make_request(host: Host, asked: ShellRequest) -> ContainerRequest:
    """Return the request of the container. Raises UsageError."""
    options = dict(asked.options)
    home = home_directory(host.uid, host.environ)
    own = _own_volumes(host, asked, home)
    cwd = _working_directory(host)
    given = _texts(options.pop("volume", ()))
    volumes = _with_places(own, given, asked, cwd)
    workdir = options.pop("workdir", None)
    if workdir is None and asked.rootfs:
        workdir = cwd if is_below(cwd, asked.rootfs) else "/"
    if workdir is None:
        workdir = cwd if _is_covered(cwd, volumes) else home
        if workdir == home and asked.home and not os.path.isdir(home):
            workdir = "/"
        if workdir != cwd and cwd != "/":
            host.note(f"{cwd} is the image's own inside: the shell starts in {workdir}")
    ports = _texts(options.get("publish", ()))
    if asked.rootfs:
        from rootless.container.host_copy import check_directory

        asked = asked._replace(rootfs=check_directory(asked.rootfs, host, root=asked.root))
    tmpfs = _texts(options.pop("tmpfs", ()))
    if not asked.home and home not in ("", "/"):
        tmpfs = (home, *tmpfs)
    network = _texts(options.pop("network", ())) or (() if ports else ("host",))
    return ContainerRequest(
        image=asked.image or asked.rootfs,
        command=asked.command or ANY_SHELL,
        as_caller=True,
        rootfs=asked.rootfs,
        user="0:0" if asked.root else None,
        userns="host" if asked.root else "keep-id",
        group_add=(KEEP_GROUPS,),
        entrypoint="",
        workdir=str(workdir) or "/",
        umask=f"{_umask():04o}",
        tz="local" if os.path.exists("/etc/localtime") else None,
        interactive=True,
        tty=asked.tty,
        rm=True,
        log_driver="none",
        no_healthcheck=True,
        image_volume="ignore",
        volume=(*volumes, *_devices(), *given),
        tmpfs=tmpfs,
        network=network,
        ipc="host",
        uts="host",
        cgroupns="host",
        cgroups="disabled",
        **options,  # type: ignore[arg-type]  # fields of the request, by the table of options
    )


def is_below(path: str, directory: str) -> bool:
    """Tell whether a path has the same meaning in a copy of a directory: only where that is /."""
    return directory == "/" and path.startswith("/")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else ()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _working_directory(host: Host) -> str:
    """Return the directory under the name by which the caller knows it."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "the current directory has been removed", remedy="change to one that is there"
        ) from None
    named = host.environ.get("PWD", "")
    if named.startswith("/") and os.path.isdir(named) and os.path.samefile(named, cwd):
        return os.path.normpath(named)
    return cwd


def _own_volumes(host: Host, asked: ShellRequest, home: str) -> list[str]:
    if asked.rootfs:
        # Ranks of a job and their launcher meet in files there.
        return [_bind(_TMP)] if asked.join else []
    volumes = [_bind(_TMP)]
    if not asked.home:
        return volumes
    if home not in ("", "/") and os.path.isdir(home):
        volumes.append(_bind(home))
    else:
        host.note(f"the home directory {home or '(none)'} is not there: the shell has none")
    return volumes


def _with_places(
    volumes: list[str], given: tuple[str, ...], asked: ShellRequest, cwd: str
) -> list[str]:
    """Add what variables name and where the caller is, unless something shows it already."""
    wanted = [] if asked.rootfs else [cwd]
    if asked.project:
        wanted.append(asked.project)
    targets = {text.split(":")[1] for text in given if text.count(":")}
    # Directories first: what lies in one is shown by it.
    for path in sorted({*wanted, *places(os.environ)}, key=lambda one: one.count("/")):
        first = path.strip("/").partition("/")[0]
        is_system = first in _OF_THE_IMAGE and not path.startswith("/run/")
        if is_system or path == "/" or ":" in path or path in targets:
            continue
        if not _is_covered(path, volumes):
            volumes.append(_bind(path))
    return volumes


def _bind(path: str) -> str:
    return f"{path}:{path}:optional"


def _is_covered(path: str, volumes: list[str]) -> bool:
    """Tell whether one of the binds shows this path of the host."""
    for text in volumes:
        shown = text.split(":")[0]
        if path == shown or path.startswith(f"{shown}/"):
            return True
    return False


def _devices() -> list[str]:
    """Return binds of the devices of this host that programs in a shell look for."""
    try:
        names = sorted(os.listdir("/dev"))
    except OSError:
        return []
    paths = [f"/dev/{name}" for name in names if name.startswith(_DEVICES)]
    return [_bind(path) for path in paths if os.access(path, os.R_OK)]
