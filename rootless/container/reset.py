"""`system reset`: stop and remove everything of one store, then the store itself."""

import os
import time

from rootless.container import ending
from rootless.container.pods_remove import remove_pod
from rootless.errors import ContainerStateError, HostError, RootlessError
from rootless.host.paths import Host, home_directory
from rootless.linux.userns import run_in_userns
from storage.containers import container_ids
from storage.errors import NotFound, StorageError
from storage.names import listdir
from storage.remove import remove_tree
from storage.reset import check_is_own, clear, clear_rest, is_at_work

_PASSES = 5
_WAIT_S = 2.0
_POLL_S = 0.05
# Of the run root, beside what belongs to containers and networks.
_RUN_FILES = ("host.json", "events", "exits", "image-mounts")


def check(host: Host) -> None:
    """Refuse to reset what is not, or not only, a store of this user. Raises StoreUnusable."""
    check_is_own(host.layout, uid=host.uid, home=home_directory(host.uid, host.environ))


def reset(host: Host) -> None:
    """Remove containers, running or not, pods, images, volumes, networks, secrets and the store.

    Raises ContainerStateError when another command works in it, HostError for what cannot be
    removed; what has gone has gone, and a second run goes on.
    """
    check(host)
    _end_containers(host)
    end_s = time.monotonic() + _WAIT_S
    while is_at_work(host.layout):
        if time.monotonic() > end_s:
            raise ContainerStateError(
                f"reset {host.layout.store}: another command works in it (a pull, a build, a"
                " start): images and volumes are left",
                remedy="wait for its end, then: rpod system reset",
            )
        time.sleep(_POLL_S)
    failed = run_in_userns(lambda _: clear(host.layout), host.id_maps())
    assert isinstance(failed, list)
    if failed:
        raise HostError(
            f"remove {failed[0]}" + (f" (and {len(failed) - 1} more)" if failed[1:] else ""),
            remedy=f"of an id that /etc/subuid gave you once? sudo rm -r {host.layout.store}",
        )
    _clear_run_root(host)
    clear_rest(host.layout)


def _end_containers(host: Host) -> None:
    """Remove pods and containers, those that appear meanwhile too. Raises what the last one did."""
    problem: Exception | None = None
    for _ in range(_PASSES):
        problem = None
        for pod_id in listdir(host.layout.pods_dir):
            try:
                remove_pod(host, pod_id, force=True, timeout_s=0)
            except NotFound:
                continue
            except (RootlessError, StorageError) as error:
                problem = error
        for container_id in container_ids(host.layout):
            try:
                ending.remove(host, container_id, force=True, volumes=True, of_pod=True)
            except NotFound:
                continue
            except (RootlessError, StorageError) as error:
                problem = error  # somebody shares its namespaces: that one goes first
        if problem is None and not container_ids(host.layout):
            return
    if problem is not None:
        raise problem


def _clear_run_root(host: Host) -> None:
    """Remove what the boot has of rpod, unless another store uses the same run root."""
    layout = host.layout
    for name in listdir(layout.networks_run_dir):
        path = layout.network_run_dir(name)
        if os.path.isdir(path) and not listdir(f"{path}/endpoints"):
            remove_tree(path)
    left = set(listdir(f"{layout.run_root}/containers")) | set(listdir(layout.networks_run_dir))
    if left - {"lock"}:
        return
    for name in (*_RUN_FILES, "containers", "networks"):
        remove_tree(f"{layout.run_root}/{name}")
