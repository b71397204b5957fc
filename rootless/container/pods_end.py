"""What the monitor of a pod's container does at its end, for nobody else watches the pod."""

import os

from rootless.container.restart import wants_restart
from storage.containers import ContainerView, read_state
from storage.errors import StorageError
from storage.layout import Layout
from storage.pods import read_pod


def after_member(view: ContainerView, code: int) -> None:
    """Let the exit policy of the pod be done, unless the container is about to be started again."""
    # <store>/containers/<id> and <run root>/containers/<id>
    store = os.path.dirname(os.path.dirname(view.paths.directory))
    run_root = os.path.dirname(os.path.dirname(view.paths.run_dir))
    try:
        pod = read_pod(Layout(store, run_root), view.record.pod)
    except StorageError:
        return  # it is being removed
    if pod.exit_policy != "stop":
        return
    if wants_restart(view.record.restart, read_state(view.paths), code) or os.fork():
        return
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _obey(store, run_root, pod.id)
    finally:
        os._exit(0)


def _obey(store: str, run_root: str, pod_id: str) -> None:
    from rootless.container.pods import member_ended
    from rootless.host.paths import open_host

    member_ended(open_host(store, run_root), pod_id)
