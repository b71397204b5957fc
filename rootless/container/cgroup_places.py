"""Where cgroups can be made: with the user's systemd, or below a delegated one of the caller."""

import os

from rootless.errors import LimitError, UsageError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, has_manager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.host.paths import Host

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
UNITS = (".scope", ".service", ".slice")
# Annotations of config.json.
PARENT = "dev.rpod.cgroup-parent"
MODE = "dev.rpod.cgroups"
MANAGER = "dev.rpod.cgroup-manager"
GET_ONE = (
    "log in as this user (loginctl enable-linger makes a manager that stays), or"
    " start from a delegated cgroup, or add --limits=best-effort"
)
DROP_IN = (
    "as root: mkdir -p /etc/systemd/system/user@.service.d && "
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
    ">/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload && "
    "systemctl restart user@{uid}.service; or add --limits=best-effort"
)


class Place(str):
    """Where cgroups can be made: the directory; `manager` is systemd or cgroupfs."""

    manager = ""
    controllers: tuple[str, ...] = ()


def find_place(
    uid: int, environ: "Mapping[str, str]", manager: str = "", wanted: tuple[str, ...] = CONTROLLERS
) -> "Place | None":
    """Return where a container's cgroup would be made, None where nothing is delegated."""
    mount = cgroup.mount_point()
    if not mount:
        return None
    runtime = runtime_directory(uid, environ)
    if manager != "cgroupfs" and has_manager(runtime):
        directory = f"{mount}/user.slice/user-{uid}.slice/user@{uid}.service"
        if not os.path.isdir(directory):
            directory = mount + _ask_control_group(runtime)
        place = Place(directory)
        place.manager, place.controllers = "systemd", cgroup.controllers(directory)
        return place
    return None if manager == "systemd" else _delegated(mount, wanted)


def _ask_control_group(runtime: str) -> str:
    from rootless.linux.dbus import DBusError

    try:
        manager = UserManager(runtime)
        try:
            return manager.control_group()
        finally:
            manager.close()
    except (OSError, DBusError):
        return ""


def _delegated(mount: str, wanted: tuple[str, ...]) -> "Place | None":
    """Return the nearest of the caller's own cgroup and those above it that gives most.

    What lies above a unit of systemd's belongs to systemd, whoever owns the directory.
    """
    best: Place | None = None
    directory = mount + cgroup.own_path()
    while directory.startswith(mount) and cgroup.is_ours(directory):
        place = Place(directory)
        place.manager = "cgroupfs"
        place.controllers = cgroup.enabled(directory)
        if not cgroup.read_or_empty(f"{directory}/cgroup.procs"):
            place.controllers = cgroup.controllers(directory)  # nobody in it: all can be enabled
        gain = set(place.controllers) & set(wanted)
        if best is None or len(gain) > len(set(best.controllers) & set(wanted)):
            best = place
        if directory.endswith(UNITS):
            break
        directory = os.path.dirname(directory)
    return best


def own_place() -> "Place | None":
    """Return the caller's own cgroup, which `split` divides; None when it is not delegated."""
    mount = cgroup.mount_point()
    directory = mount + cgroup.own_path()
    if not mount or not cgroup.is_ours(directory):
        return None
    place = Place(directory)
    place.manager, place.controllers = "cgroupfs", cgroup.controllers(directory)
    return place


def missing_error(option: str, controller: str, place: "Place | None", uid: int) -> LimitError:
    """Return what a limit without its controller is told."""
    if place is None:
        return LimitError(
            f"{option}: no cgroup here is delegated to you, so it cannot be enforced"
            f" (missing controller: {controller})",
            remedy=GET_ONE,
        )
    if place.manager == "systemd":
        return LimitError(
            f"{option}: the controller {controller} is not delegated to you",
            remedy=DROP_IN.format(uid=uid),
        )
    return LimitError(
        f"{option}: the controller {controller} cannot be used below {place}",
        remedy="it has to be enabled in cgroup.subtree_control of a cgroup of yours that has no"
        " processes of its own; or add --limits=best-effort",
    )


def place_for(
    host: "Host", annotations: dict[str, object], needed: tuple[str, ...]
) -> "Place | None":
    """Return where the cgroup of a configuration's annotations would be made. Raises UsageError."""
    mode, parent = annotations.get(MODE), str(annotations.get(PARENT, ""))
    if mode == "disabled":
        return None
    if mode == "split":
        return own_place()
    place = find_place(host.uid, host.environ, str(annotations.get(MANAGER, "")), needed)
    if parent and place is not None and place.manager == "systemd" and parent[-6:] != ".slice":
        raise UsageError(
            f"--cgroup-parent {parent}: systemd makes scopes below slices",
            remedy="use the name of a slice such as batch.slice, or --cgroup-manager=cgroupfs",
        )
    return place
