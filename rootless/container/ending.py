"""Stop, kill, remove, wait: how a container ends.

The state is the kernel's (the monitor's lock, the first process): these functions look, signal,
and wait on a pidfd; nobody is asked to agree.
"""

import math
import os
import select
import time

from rootless.container.limits import parse_signal, signal_name
from rootless.container.remove import remove_container, remove_damaged
from rootless.errors import ContainerStateError, UsageError
from rootless.host.paths import Host, boot_id
from rootless.linux import signals as signal
from rootless.linux.procfs import is_same_process
from storage import event_log
from storage.containers import ContainerView, MonitorLock, find_container, find_id, read_state, view
from storage.errors import InUse, InvalidDocument

_POLL_S = 0.005
_ALIVE = ("running", "paused", "stopping", "initialized")
_ENDS = ("stopped", "exited")
# What `wait --condition` takes: podman's words; in some of them no container of ours ever is.
CONDITIONS = (
    "configured", "created", "exited", "healthy", "initialized", "paused", "removing", "running",
    "stopped", "stopping", "unhealthy",
)  # fmt: skip


# Signals after which a container is meant to be over, whatever its restart policy says.
_FINAL = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def mark_stopped(found: ContainerView) -> None:
    """Note that the user wants the container to end: no restart policy starts it again."""
    try:
        os.close(os.open(found.paths.stopped, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileNotFoundError:
        return  # it never ran since the host was started


def kill_left_over(found: ContainerView) -> None:
    """End a first process whose monitor was killed after the process had changed its user."""
    state = found.state
    if found.status in _ALIVE or not state.pid or state.boot_id != boot_id():
        return
    if is_same_process(state.pid, state.pid_start_time):
        try:
            os.kill(state.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class Stopping:
    """A container that was asked to end, and how long it has for that."""

    __slots__ = ("deadline_s", "found", "grace_s")

    def __init__(self, found: ContainerView, timeout_s: int | None = None) -> None:
        """Send the stop signal; the grace time (-1: for ever, 0: none) runs from now."""
        self.found = found
        self.grace_s = found.record.stop_timeout_s if timeout_s is None else timeout_s
        self.deadline_s = math.inf if self.grace_s < 0 else time.monotonic() + self.grace_s
        mark_stopped(found)
        if found.status not in _ALIVE:
            kill_left_over(found)
            return
        # The command of one that is only prepared does not run: nothing there could obey.
        obeys = self.grace_s and found.status != "initialized"
        signal_container(found, found.record.stop_signal if obeys else signal.SIGKILL)
        if found.status == "paused":
            from rootless.linux.cgroup import freeze

            freeze(found.state.cgroup, frozen=False)  # it has to run to obey

    def finish(self, host: Host) -> None:
        """Wait for the end, and kill the container at the end of its grace time."""
        found = self.found
        if found.status not in _ALIVE:
            return
        if self.grace_s and not _wait_ended(found, self._left_s()):
            host.note(
                f"{signal_name(found.record.stop_signal)} did not end container"
                f" {found.record.name} in {self.grace_s} seconds: killing it"
            )
            signal_container(found, signal.SIGKILL)
        _wait_ended(found, -1)
        event_log.container_event(host.layout.run_root, "stop", record=found.record)

    def _left_s(self) -> float:
        return -1 if self.grace_s < 0 else max(0.0, self.deadline_s - time.monotonic())


def stop(host: Host, text: str, timeout_s: int | None = None) -> str:
    """Ask a container to end, and kill it after the grace time; -1 waits for ever.

    Returns its name. Raises ContainerNotFound. A container that does not run is left alone.
    """
    found = find_container(host.layout, text)
    Stopping(found, timeout_s).finish(host)
    return found.record.name


def kill(host: Host, text: str, signal_text: str = "KILL") -> str:
    """Send a signal to a running container. Raises ContainerNotFound, ContainerStateError."""
    number = parse_signal(signal_text)
    found = find_container(host.layout, text)
    if found.status not in _ALIVE or found.status == "initialized":
        raise ContainerStateError(
            f"can only kill running containers: {found.record.id} is {found.status}"
        )
    if number in _FINAL or number == found.record.stop_signal:
        mark_stopped(found)
    signal_container(found, number)
    event_log.container_event(host.layout.run_root, "kill", record=found.record)
    if number == signal.SIGKILL:
        _wait_ended(found, -1)
    return found.record.name


def signal_container(found: ContainerView, number: int) -> None:
    """Signal the first process. The caller owns its user namespace, so every id may be reached."""
    if not is_same_process(found.state.pid, found.state.pid_start_time):
        return
    if number == signal.SIGKILL and found.state.cgroup:
        # Also what shares the host's pid namespace, and what a fork bomb makes meanwhile.
        _kill_group(found.state.cgroup)
    try:
        os.kill(found.state.pid, number)
    except ProcessLookupError:
        return


def _kill_group(directory: str) -> None:
    """Write cgroup.kill; cgroups(7), and Linux 5.14 for the file."""
    try:
        fd = os.open(f"{directory}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # an older kernel, or a cgroup that has gone: the signal does it
    try:
        os.write(fd, b"1")
    finally:
        os.close(fd)


def _wait_ended(found: ContainerView, timeout_s: float) -> bool:
    """Wait until the container has ended and its monitor has written so."""
    deadline_s = time.monotonic() + timeout_s
    if is_same_process(found.state.pid, found.state.pid_start_time):
        try:
            pidfd = os.pidfd_open(found.state.pid)
        except ProcessLookupError:
            pidfd = -1
        if pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            try:
                if not poll.poll(None if timeout_s < 0 else timeout_s * 1000):
                    return False
            finally:
                os.close(pidfd)
    while MonitorLock.is_held(found.paths.lock) and not _is_started_again(found):
        if 0 <= timeout_s < time.monotonic() - deadline_s + timeout_s - 5:
            return False
        time.sleep(_POLL_S)
    return True


def _is_started_again(found: ContainerView) -> bool:
    """Whether the monitor that holds the lock is another one, of a later start.

    Whoever waits for the end of one run would wait for that of the next.
    """
    state = read_state(found.paths)
    return bool(state.started_at) and state.started_at != found.state.started_at


def remove(
    host: Host,
    text: str,
    *,
    force: bool = False,
    volumes: bool = False,
    timeout_s: int | None = None,
    of_pod: bool = False,
) -> str:
    """Remove a container; a running one only with `force`, which stops it first.

    Its anonymous volumes stay unless `volumes` is set. The infra container of a pod goes only with
    the pod (`of_pod`).

    Returns its name. Raises ContainerNotFound, InUse.
    """
    try:
        found = find_container(host.layout, text)
    except InvalidDocument:
        if not force:
            raise
        return remove_damaged(host, find_id(host.layout, text))
    if found.record.is_infra and not of_pod:
        raise UsageError(
            f"container {found.record.id} is the infra container of pod {found.record.pod} and"
            " cannot be removed without removing the pod",
            remedy=f"rpod pod rm {found.record.pod[:12]}",
        )
    if os.path.exists(found.paths.dependents):
        from rootless.container.depending import check_no_dependents

        check_no_dependents(host, found)
    while found.status in _ALIVE:
        if not force and found.status != "initialized":
            raise InUse(
                f"cannot remove container {found.record.id} as it is running - running or paused"
                " containers cannot be removed without force",
                remedy=f"stop it first, or use rpod rm --force {found.record.name}",
            )
        _end_now(host, found, timeout_s)
        found = view(host.layout, found.record)  # somebody may have started it again
    mark_stopped(found)
    kill_left_over(found)
    remove_container(host, found.record, volumes=volumes)
    return found.record.name


def _end_now(host: Host, found: ContainerView, timeout_s: int | None) -> None:
    if timeout_s:
        stop(host, found.record.id, timeout_s)
        return
    mark_stopped(found)
    signal_container(found, signal.SIGKILL)
    _wait_ended(found, -1)


def wait(
    host: Host,
    text: str,
    condition: "str | tuple[str, ...]" = "stopped",
    interval_s: float = 0.25,
) -> int:
    """Wait until a container is in one of the states; return its exit code, -1 when it has none.

    The end is waited for on the process, the other states are looked for every `interval_s`.
    Raises ContainerNotFound, UsageError.
    """
    wanted = (condition,) if isinstance(condition, str) else condition
    for word in wanted:
        if word not in CONDITIONS:
            raise UsageError(f'unknown condition "{word}"', remedy="use " + ", ".join(CONDITIONS))
    found = find_container(host.layout, text)
    only_end = all(word in _ENDS for word in wanted)
    while (code := _code_in(found, wanted)) is None:
        if only_end and found.status in _ALIVE:
            _wait_ended(found, -1)
        else:
            time.sleep(interval_s)
        if not os.path.exists(found.paths.record):
            return code_of_removed(host, found)
        found = view(host.layout, found.record)
    return code


def wait_for_any(
    host: Host, names: list[str], wanted: tuple[str, ...], interval_s: float = 0.25
) -> int:
    """Return what `wait` returns for the first of several containers to be in such a state.

    Raises ContainerNotFound.
    """
    found = [find_container(host.layout, name) for name in names]
    while True:
        for one in found:
            if not os.path.exists(one.paths.record):
                return code_of_removed(host, one)
            code = _code_in(view(host.layout, one.record), wanted)
            if code is not None:
                return code
        time.sleep(interval_s)


def _code_in(found: ContainerView, wanted: tuple[str, ...]) -> int | None:
    """Return what `wait` prints when the container is in one of the states, else None."""
    status = found.status
    if status == "exited":
        return found.exit_code if any(word in _ENDS for word in wanted) else None
    if status in wanted or ("configured" in wanted and status == "created"):
        return -1
    if found.record.health is not None and {"healthy", "unhealthy"} & set(wanted):
        from rootless.container.health_state import health_status

        return -1 if health_status(found) in wanted else None
    return None


def code_of_removed(host: Host, found: ContainerView) -> int:
    """Return how a container with --rm has ended: its monitor has left the exit code behind."""
    try:
        with open(f"{host.layout.exits_dir}/{found.record.id}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return found.exit_code
