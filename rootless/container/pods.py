"""Pods as they are now, and what is done to all containers of one: stop, kill, pause."""

from rootless.container import ending
from rootless.container.limits import parse_signal
from rootless.errors import ContainerStateError, RootlessError
from storage import event_log
from storage.containers import ContainerView, view
from storage.errors import ContainerNotFound, InvalidDocument, StorageError
from storage.pods import PodRecord, find_pod, list_pods, member_views
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

CREATED, RUNNING, PAUSED, EXITED = "Created", "Running", "Paused", "Exited"
STOPPED, DEGRADED = "Stopped", "Degraded"
STATES = (CREATED, RUNNING, PAUSED, EXITED, STOPPED, DEGRADED, "Dead", "Error")
ALIVE = ("running", "paused", "stopping")


class PodView(NamedTuple):
    """A pod with its containers, in the order in which they were made."""

    record: PodRecord
    members: list[ContainerView]

    @property
    def state(self) -> str:
        # An init container that has ended is as it should be.
        return pod_state([one.status for one in self.members if not one.record.init_kind])

    @property
    def ordinary(self) -> list[ContainerView]:
        """The containers but the infra container."""
        return [found for found in self.members if not found.record.is_infra]


def pod_state(statuses: list[str]) -> str:
    """Return podman's word for what the containers' states are together."""
    count = len(statuses)
    running, paused = statuses.count("running"), statuses.count("paused")
    exited = statuses.count("exited")
    if count and running == count:
        return RUNNING
    if count and paused == count:
        return PAUSED
    if count and exited == count:
        return EXITED
    if running or paused:
        return DEGRADED
    return STOPPED if exited else CREATED


def view_pod(host: "Host", record: PodRecord) -> PodView:
    """Return a pod as it is at this moment."""
    return PodView(record, member_views(host.layout, record.id))


def find_view(host: "Host", text: str) -> PodView:
    """Return one pod by name, id or id prefix. Raises PodNotFound, Ambiguous, InvalidDocument."""
    return view_pod(host, find_pod(host.layout, text))


def list_views(host: "Host") -> list[PodView]:
    """Return all pods, the newest first; damaged ones are noted."""
    from rootless.container.query import remove_abandoned

    remove_abandoned(host)
    damaged: list[InvalidDocument] = []
    records = list_pods(host.layout, damaged)
    for error in damaged:
        host.note(f"{error.message}; {error.remedy}")
    return [view_pod(host, record) for record in records]


def is_running(host: "Host", pod: PodRecord) -> bool:
    """Whether anything of the pod runs."""
    return any(found.status in ALIVE for found in member_views(host.layout, pod.id))


def together(what: str, errors: "list[RootlessError | StorageError]") -> None:
    """Raise what has failed for some of a pod's containers as one error."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    texts = "".join(f"\n\t* {error.message}" for error in errors)
    raise RootlessError(f"{what}: {len(errors)} errors occurred:{texts}")


# --- the end


def stop(host: "Host", text: str, timeout_s: int | None = None) -> PodRecord:
    """Ask all containers to end, at the same time; kill what is left after the grace time.

    The infra container goes last. Raises PodNotFound.
    """
    found = find_view(host, text)
    stop_members(host, found.ordinary, timeout_s)
    stop_members(host, [one for one in found.members if one.record.is_infra], timeout_s)
    event_log.pod_event(host.layout.run_root, "stop", found.record)
    return found.record


def stop_members(host: "Host", members: list[ContainerView], timeout_s: int | None = None) -> None:
    """Stop several containers side by side: each has its own grace time from now on."""
    asked = [ending.Stopping(one, timeout_s) for one in members]
    for one in sorted(asked, key=lambda one: one.deadline_s):
        one.finish(host)


def kill(host: "Host", text: str, signal_text: str = "KILL") -> PodRecord:
    """Send a signal to every container that runs. Raises PodNotFound, UsageError."""
    number = parse_signal(signal_text)
    found = find_view(host, text)
    # The infra container last: with it a shared pid namespace ends.
    for one in sorted(found.members, key=lambda one: one.record.is_infra):
        if view(host.layout, one.record).status in ALIVE:
            try:
                ending.kill(host, one.record.id, str(int(number)))
            except (ContainerStateError, ContainerNotFound):
                continue  # it has just ended
    event_log.pod_event(host.layout.run_root, "kill", found.record)
    return found.record


def pause(host: "Host", text: str) -> PodRecord:
    """Freeze all containers that run. Raises PodNotFound and what `pause` raises."""
    return _freeze(host, text, frozen=True)


def unpause(host: "Host", text: str) -> PodRecord:
    """Let all paused containers go on. Raises PodNotFound and what `unpause` raises."""
    return _freeze(host, text, frozen=False)


def _freeze(host: "Host", text: str, *, frozen: bool) -> PodRecord:
    from rootless.container import freezer

    found = find_view(host, text)
    wanted = "running" if frozen else "paused"
    errors: list[RootlessError | StorageError] = []
    for one in found.members:
        if one.status != wanted:
            continue
        try:
            (freezer.pause if frozen else freezer.unpause)(host, one.record.id)
        except (RootlessError, StorageError) as error:
            errors.append(error)
    together(f"{'pause' if frozen else 'unpause'} pod {found.record.name}", errors)
    event_log.pod_event(host.layout.run_root, "pause" if frozen else "unpause", found.record)
    return found.record


def member_ended(host: "Host", pod_id: str) -> None:
    """Do what the exit policy says after a container of the pod has ended.

    Called by the monitor of that container: nobody else watches.
    """
    try:
        found = find_view(host, pod_id)
    except StorageError:
        return  # the pod is being removed
    if found.record.exit_policy != "stop" or any(one.status in ALIVE for one in found.ordinary):
        return
    if any(one.status == "created" and not one.record.init_kind for one in found.ordinary):
        return  # it is still being started
    stop_members(host, [one for one in found.members if one.record.is_infra])
    if found.members:
        event_log.pod_event(host.layout.run_root, "stop", found.record)
