"""`pod clone`, and `container clone --pod`: pods and containers with the settings of others."""

import time

from rootless.container.clone import clone
from rootless.container.logfile import timestamp
from rootless.container.names import check_name
from rootless.container.pods import view_pod
from rootless.container.pods_create import SHORT_ID, find_or_make_infra
from rootless.container.pods_remove import remove_pod
from rootless.errors import UsageError
from storage import event_log
from storage.containers import new_id
from storage.errors import NameTaken
from storage.pods import PodRecord, find_pod, pod_name_owner, write_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from rootless.images import OnEvent


class PodChanges:
    """What of a pod's copy is to be another: fields of requests, as `pod create` has them."""

    __slots__ = ("hostname", "infra", "infra_command", "infra_name", "labels", "members")

    def __init__(
        self,
        *,
        hostname: str = "",
        infra_name: str = "",
        infra_command: str = "",
        labels: "dict[str, str] | None" = None,
        infra: "dict[str, object] | None" = None,
        members: "dict[str, tuple[str, ...]] | None" = None,
    ) -> None:
        self.hostname = hostname
        self.infra_name = infra_name
        self.infra_command = infra_command
        self.labels = labels or {}
        self.infra = infra or {}
        self.members = members or {}


def clone_pod(
    host: "Host",
    text: str,
    *,
    name: str = "",
    changes: PodChanges | None = None,
    on_event: "OnEvent | None" = None,
) -> PodRecord:
    """Make a pod like another, with containers like its containers; nothing is started.

    Without a name it is called NAME-clone. Raises PodNotFound, NameTaken, UsageError, and what
    making a container raises.
    """
    pod = find_pod(host.layout, text)
    copy = _copy(host, pod, name, changes or PodChanges())
    write_pod(host.layout, copy)
    try:
        find_or_make_infra(host, copy, on_event)
        for member in sorted(view_pod(host, pod).ordinary, key=lambda one: one.record.created_at):
            clone(host, member.record.id, pod=copy.id, on_event=on_event)
    except BaseException:
        remove_pod(host, copy.id, force=True, timeout_s=0)
        raise
    event_log.pod_event(host.layout.run_root, "create", copy)
    return copy


def _copy(host: "Host", pod: PodRecord, name: str, changes: PodChanges) -> PodRecord:
    if name:
        check_name(name)
        if pod_name_owner(host.layout, name) is not None:
            raise NameTaken(
                f'adding pod to state: name "{name}" is in use: pod already exists',
                remedy=f"use another name, or remove it: rpod pod rm {name}",
            )
    if not pod.infra_id and (changes.infra or changes.hostname or changes.infra_name):
        raise UsageError(f"pod {pod.name} has no infra container that this could be set for")
    pod_id = new_id()
    name = name or _free_name(host, f"{pod.name}-clone")
    infra = {**pod.infra, **changes.infra}
    if pod.infra_id:
        own = check_name(changes.infra_name) if changes.infra_name else ""
        infra["name"] = own or f"{pod_id[:SHORT_ID]}-infra"
        if "hostname" in infra:
            infra["hostname"] = changes.hostname or pod.hostname or name
    if changes.infra_command:
        infra["command"] = _command(pod, changes.infra_command)
    members = dict(pod.members)
    for field, value in changes.members.items():
        known = members.get(field, ())
        members[field] = (*known, *value) if isinstance(known, tuple) else value
    return pod._replace(
        id=pod_id,
        name=name,
        created_at=timestamp(time.time_ns()),
        infra_id=new_id() if pod.infra_id else "",
        infra=infra,
        hostname=changes.hostname or pod.hostname,
        labels={**pod.labels, **changes.labels},
        members=members,
        create_command=(),
        volumes=(),
    )


def _command(pod: PodRecord, text: str) -> tuple[str, ...]:
    import shlex

    if not pod.infra.get("image"):
        raise UsageError(
            "--infra-command needs an infra image: the infra container has no other program"
        )
    return tuple(shlex.split(text))


def _free_name(host: "Host", base: str) -> str:
    name, number = base, 0
    while pod_name_owner(host.layout, name) is not None:
        number += 1
        name = f"{base}{number}"
    return name
