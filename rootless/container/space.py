"""What the store takes up, and what of it nothing needs."""

from rootless.container.query import list_views
from rootless.host.paths import Host
from rootless.linux.userns import run_in_userns
from storage.containers import ContainerView
from storage.usage import Part, Space, StoreUsage, measure, sort_out
from storage.volumes import volume_users

_RUNNING = ("running", "paused", "stopping")


def usage(host: Host) -> tuple[StoreUsage, list[ContainerView]]:
    """Measure the store; also return the containers, whose states were looked at.

    Raises StoreUnusable.
    """
    views = list_views(host, all_states=True)
    parts = _parts(host)
    found = sort_out(
        host.layout,
        parts,
        running=frozenset(view.record.id for view in views if view.status in _RUNNING),
        used_volumes=frozenset(volume_users(host.layout)),
    )
    return found, views


def total(host: Host) -> Space:
    """Return what the whole store takes up."""
    found = Space()
    for part in _parts(host):
        found = found.plus(part.space)
    return found


def prune_build_cache(host: Host, unused_since_s: float | None) -> list[str]:
    """Remove what builds keep, or what of it nothing has used since a moment; return the keys.

    Raises StoreUnusable.
    """
    from storage.build_prune import prune_build_cache as prune
    from storage.gc import collect

    def work(_: object) -> object:
        gone = prune(host.layout, unused_since_s=unused_since_s)
        collect(host.layout)
        return [step.key for step in gone.steps]

    keys = run_in_userns(work, host.id_maps())
    assert isinstance(keys, list)
    return [str(key) for key in keys]


def prune_loose_steps(host: Host) -> list[str]:
    """Remove what builds keep and no image has; return the keys. Raises StoreUnusable."""
    from storage.build_cache import list_steps
    from storage.build_prune import prune_loose_steps as prune
    from storage.gc import collect

    if not list_steps(host.layout):
        return []

    def work(_: object) -> object:
        gone = prune(host.layout)
        collect(host.layout)
        return [step.key for step in gone]

    keys = run_in_userns(work, host.id_maps())
    assert isinstance(keys, list)
    return [str(key) for key in keys]


def _parts(host: Host) -> list[Part]:
    """Walk the store as root of the user namespace: not every directory is open to its user."""
    raw = run_in_userns(lambda _: [list(part) for part in measure(host.layout)], host.id_maps())
    assert isinstance(raw, list)
    return [
        Part(str(kind), str(name), Space(*space), float(changed_s))
        for kind, name, space, changed_s in raw
    ]
