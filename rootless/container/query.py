"""Look at containers: lists, filters, what a dead monitor has left."""

from rootless.container.lifecycle import kill_left_over
from rootless.host.paths import Host
from storage.containers import ContainerView, find_container, iter_views


def list_views(host: Host, *, all_states: bool = False) -> list[ContainerView]:
    """Return the running containers, or all; the newest first."""
    views = []
    for found in iter_views(host.layout):
        if _is_left_over(found):
            _sweep(host, found)
            continue
        if found.status == "exited" and found.state.error:
            kill_left_over(found)
        if all_states or found.status in ("running", "paused", "stopping"):
            views.append(found)
    return views


def find_view(host: Host, text: str) -> ContainerView:
    """Return one container by name, id or id prefix. Raises ContainerNotFound, Ambiguous."""
    return find_container(host.layout, text)


def _is_left_over(found: ContainerView) -> bool:
    """Whether this is a container with --rm whose monitor was killed before it could remove it."""
    return found.record.auto_remove and found.status == "exited"


def _sweep(host: Host, found: ContainerView) -> None:
    from rootless.container.remove import remove_container

    kill_left_over(found)
    remove_container(host, found.record)


def sweep_dead(host: Host, container_id: str) -> None:
    """Remove one container if it is such a left-over."""
    found = find_container(host.layout, container_id)
    if _is_left_over(found):
        _sweep(host, found)
