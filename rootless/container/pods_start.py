"""`pod start`, `pod restart`: the infra container, init containers in turn, then the others."""

from rootless.container import ending, lifecycle
from rootless.container.pods import ALIVE, PodView, stop, together, view_pod
from rootless.container.pods_create import find_or_make_infra
from rootless.errors import ContainerStateError, RootlessError
from storage import event_log
from storage.errors import ContainerNotFound, StorageError
from storage.pods import PodRecord, find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def start(host: "Host", text: str) -> PodRecord:
    """Start all containers of a pod: the infra container, init containers in turn, the others.

    Raises PodNotFound and what a start raises.
    """
    pod = find_pod(host.layout, text)
    find_or_make_infra(host, pod)
    found = view_pod(host, pod)
    if not found.members:
        raise ContainerNotFound(
            f"no containers in pod {pod.id} have no dependencies, cannot start pod",
            remedy=f"add one: rpod create --pod {pod.name} IMAGE",
        )
    if pod.infra_id:
        lifecycle.start(host, pod.infra_id)
    is_new = not any(one.status in ALIVE for one in found.ordinary)
    if is_new:
        _run_init_containers(host, found)
    errors: list[RootlessError | StorageError] = []
    for one in found.ordinary:
        if one.record.init_kind:
            continue
        try:
            lifecycle.start(host, one.record.id)
        except (RootlessError, StorageError) as error:
            errors.append(error)
    together(f"start pod {pod.name}", errors)
    event_log.pod_event(host.layout.run_root, "start", pod)
    return pod


def _run_init_containers(host: "Host", found: PodView) -> None:
    """Run each to its end before the next one. Raises ContainerStateError when one fails."""
    for one in found.ordinary:
        kind, name = one.record.init_kind, one.record.name
        if not kind:
            continue
        lifecycle.start(host, one.record.id)
        code = ending.wait(host, one.record.id)
        if code != 0:
            raise ContainerStateError(
                f"init container {name} of pod {found.record.name} exited with code {code}",
                remedy=f"see what it wrote: rpod logs {name}",
            )
        if kind == "once":
            ending.remove(host, one.record.id, volumes=True)


def restart(host: "Host", text: str) -> PodRecord:
    """Stop a pod and start it again."""
    stop(host, text)
    return start(host, text)
