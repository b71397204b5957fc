"""The cgroup of a container once it is there: entered by exec, removed at the end."""

import os

from rootless.container.cgroup_places import UNITS
from rootless.errors import LimitError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_EXEC = "rpod-exec"


def leave(directory: str) -> bool:
    """Remove the cgroup of an ended container; true when the kernel killed in it for memory."""
    events = cgroup.counters(f"{directory}/memory.events")
    if os.path.basename(directory) != "container":
        cgroup.kill(directory)
        cgroup.remove(directory)
    # A scope ends with the monitor, which is the last process in it; systemd removes it.
    return events.get("oom_kill", 0) > 0


def join(directory: str, pid: int, host: "Host") -> None:
    """Move a process that exec has made into the container's cgroup. Raises LimitError."""
    try:
        if cgroup.enabled(directory):
            # The container divides it (systemd does): processes may be in its leaves only (EBUSY).
            directory = f"{directory}/{_EXEC}"
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
