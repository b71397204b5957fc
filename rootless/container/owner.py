"""Whose network a container has that has joined another's (`--network container:`, a pod)."""

from rootless.host.paths import Host
from storage.containers import ContainerView, find_container
from storage.errors import StorageError

_MOST_JOINS = 8


def network_owner(host: Host, found: ContainerView) -> ContainerView:
    """Return the container whose network this one has: itself, or whom it joined."""
    for _ in range(_MOST_JOINS):
        kind, _, owner = found.record.joins.get("network", "").partition(":")
        if kind != "container":
            break
        try:
            found = find_container(host.layout, owner)
        except StorageError:
            break  # it has been removed by force
    return found
