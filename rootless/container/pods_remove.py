"""`pod rm`, `pod prune`: the containers of a pod, its infra container, then the pod itself."""

from rootless.container import ending
from rootless.container.pods import stop_members, view_pod
from rootless.container.remove import remove_volume_data
from rootless.host.paths import Host
from storage import event_log
from storage.errors import ContainerNotFound, InUse, InvalidDocument
from storage.pods import (
    PodRecord,
    find_pod_id,
    member_ids,
    member_views,
    pod_lock,
    read_pod,
    remove_pod_record,
)

_ALIVE = ("running", "paused", "stopping")


def remove_pod(host: Host, text: str, *, force: bool = False, timeout_s: int | None = None) -> str:
    """Remove a pod with its containers, running ones only with `force`; return its id.

    A command that is killed on the way leaves a pod with fewer containers, for the next one.
    Raises PodNotFound, InUse, InvalidDocument.
    """
    pod_id = find_pod_id(host.layout, text)
    try:
        pod = read_pod(host.layout, pod_id)
    except InvalidDocument:
        if not force:
            raise
        pod = PodRecord(pod_id, "", "")
    _end_members(host, pod, force=force, timeout_s=timeout_s)
    with pod_lock(host.layout, pod_id):
        # Again: another command may have started one meanwhile.
        _end_members(host, pod, force=force, timeout_s=0)
        _remove_members(host, pod_id)
        for name in pod.volumes:
            _remove_volume(host, name)
        remove_pod_record(host.layout, pod_id, pod.name)
    event_log.pod_event(host.layout.run_root, "remove", pod)
    return pod_id


def _end_members(host: Host, pod: PodRecord, *, force: bool, timeout_s: int | None) -> None:
    """Raises InUse when a container runs that may not be stopped."""
    found = view_pod(host, pod)
    running = [one for one in found.ordinary if one.status in _ALIVE]
    if running and not force:
        names = ", ".join(one.record.id for one in running)
        raise InUse(
            f"cannot remove pod {pod.name}: its containers {names} are running - running or paused"
            " containers cannot be removed without force",
            remedy=f"stop it first, or use rpod pod rm --force {pod.name}",
        )
    infra = [one for one in found.members if one.record.is_infra]
    stop_members(host, running, timeout_s)
    stop_members(host, infra, 0 if running and timeout_s == 0 else timeout_s)


def _remove_volume(host: Host, name: str) -> None:
    try:
        remove_volume_data(host, name)
    except InUse as error:
        host.note(f"{error.message}: it stays")


def _remove_members(host: Host, pod_id: str) -> None:
    views = member_views(host.layout, pod_id)
    # Whoever shares namespaces goes before their owner.
    ordered = sorted(views, key=lambda one: (one.record.is_infra, not one.record.joins))
    known = [one.record.id for one in ordered]
    for container_id in [*known, *(i for i in member_ids(host.layout, pod_id) if i not in known)]:
        try:
            ending.remove(host, container_id, force=True, volumes=True, of_pod=True)
        except ContainerNotFound:
            continue
