"""The cgroup of a container once it is there: entered by exec, removed at the end."""

import os

from rootless.container.cgroup_places import UNITS
from rootless.errors import LimitError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, runtime_directory
from rootless.linux.userns import IdMaps, run_in_userns
from rootless.sandbox.own_cgroup import EXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from storage.containers import ContainerRecord


def leave(directory: str, record: "ContainerRecord | None" = None) -> bool:
    """Remove the cgroup of an ended container; true when the kernel killed in it for memory.

    `record` is that of a container that may have divided it: what its root has made is removed.
    """
    events = cgroup.counters(f"{directory}/memory.events")
    if record is not None:
        clear(directory, record)
    if os.path.basename(directory) != "container":
        cgroup.kill(directory)
        cgroup.remove(directory)
    # A scope ends with the monitor, which is the last process in it; systemd removes it.
    return events.get("oom_kill", 0) > 0


def _is_anothers(directory: str) -> bool:
    try:
        return os.stat(directory).st_uid != os.geteuid()
    except OSError:
        return False


def clear(directory: str, record: "ContainerRecord") -> None:
    """Remove what the root of a container has made below its cgroup, where that is not the caller.

    What the caller's root makes is removed by systemd with the scope.
    """

    def remove_below(_: object) -> None:
        try:
            found = [entry.path for entry in os.scandir(directory) if entry.is_dir()]
        except FileNotFoundError:
            return  # systemd, or the monitor, was first
        for path in found:
            cgroup.remove(path)

    if _is_anothers(directory):
        cgroup.kill(directory)
        run_in_userns(remove_below, IdMaps(record.uid_map, record.gid_map))


def join(directory: str, pid: int, host: "Host") -> None:
    """Move a process that exec has made into the container's cgroup. Raises LimitError."""
    try:
        if cgroup.enabled(directory) or _is_anothers(directory):
            # The container divides it (systemd does): processes may be in its leaves only (EBUSY).
            directory = f"{directory}/{EXEC}"
            os.makedirs(directory, exist_ok=True)
        cgroup.move(directory, pid)
    except PermissionError:
        _join_by_manager(directory, pid, host)  # the cgroup above both is root's
    except OSError as error:
        raise LimitError(
            f"enter the cgroup {directory}: {error.strerror}",
            remedy="somebody else may have removed it: start the container again",
        ) from error


def _join_by_manager(directory: str, pid: int, host: "Host") -> None:
    from rootless.linux.dbus import DBusError

    unit, below = _unit_and_rest(directory)
    try:
        manager = UserManager(runtime_directory(host.uid, host.environ))
        try:
            manager.attach(unit, f"/{below}", pid)
        finally:
            manager.close()
    except (OSError, DBusError) as error:
        text = getattr(error, "text", "") or str(error)
        raise LimitError(f"enter the cgroup of the container by {unit}: {text}") from error


def _unit_and_rest(directory: str) -> tuple[str, str]:
    """Return the innermost unit that a cgroup is in, and the path below it."""
    parts = directory.split("/")
    index = next(
        (index for index in range(len(parts) - 2, 0, -1) if parts[index].endswith(UNITS)),
        len(parts) - 2,
    )
    return parts[index], "/".join(parts[index + 1 :])
