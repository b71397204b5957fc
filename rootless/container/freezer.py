"""pause and unpause: the freezer of cgroup v2. The state is the kernel's, not written down."""

from rootless.errors import ContainerStateError, LimitError
from rootless.host.paths import Host
from rootless.linux import cgroup
from storage import event_log
from storage.containers import ContainerView, find_container


def pause(host: Host, text: str) -> str:
    """Stop all processes of a running container; return its name.

    Raises ContainerNotFound, ContainerStateError, LimitError.
    """
    found = find_container(host.layout, text)
    if found.status != "running":
        raise ContainerStateError(
            f'"{found.record.name}" is {found.status}, can\'t pause: container state improper'
        )
    if not found.state.cgroup:
        raise LimitError(
            f"pause {found.record.name}: it has no cgroup of its own, and only its freezer stops"
            " processes unnoticed",
            remedy="start it where a cgroup is delegated to you: see rpod doctor",
        )
    _freeze(found, frozen=True)
    event_log.container_event(host.layout.run_root, "pause", record=found.record)
    return found.record.name


def unpause(host: Host, text: str) -> str:
    """Let a paused container go on; return its name.

    Raises ContainerNotFound, ContainerStateError, LimitError.
    """
    found = find_container(host.layout, text)
    if found.status != "paused":
        raise ContainerStateError(
            f'"{found.record.name}" is not paused, can\'t unpause: container state improper'
        )
    _freeze(found, frozen=False)
    event_log.container_event(host.layout.run_root, "unpause", record=found.record)
    return found.record.name


def _freeze(found: ContainerView, *, frozen: bool) -> None:
    what = "pause" if frozen else "unpause"
    try:
        done = cgroup.freeze(found.state.cgroup, frozen=frozen)
    except OSError as error:
        raise LimitError(f"{what} {found.record.name}: {error.strerror}") from error
    if not done and frozen:
        # A process in uninterruptible sleep, on a dead network file system for one.
        cgroup.freeze(found.state.cgroup, frozen=False, timeout_s=0)
        raise LimitError(f"pause {found.record.name}: its processes did not stop in 10 seconds")
