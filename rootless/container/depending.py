"""Containers that share a namespace of another one: it cannot be removed before them."""

import os

from rootless.host.paths import Host
from storage.containers import ContainerView, find_container
from storage.errors import InUse


def dependents(host: Host, found: ContainerView) -> list[str]:
    """Return the ids of the containers that need this one."""
    try:
        names = os.listdir(found.paths.dependents)
    except FileNotFoundError:
        return []
    # A name may be left of a container that is gone, or that never came to be.
    return sorted(name for name in names if os.path.exists(host.layout.container(name).record))


def dependents_of(host: Host, text: str) -> list[str]:
    """Return the ids of the containers that need one. Raises ContainerNotFound, Ambiguous."""
    return dependents(host, find_container(host.layout, text))


def check_no_dependents(host: Host, found: ContainerView) -> None:
    """Raises InUse, naming the containers that would lose their namespaces."""
    ids = dependents(host, found)
    if ids:
        raise InUse(
            f"container {found.record.id} has dependent containers which must be removed before"
            f" it: {', '.join(ids)}",
            remedy="remove those first, or use rpod rm --depend",
        )
