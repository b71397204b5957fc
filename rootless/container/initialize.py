"""`init`: prepare a container, all but its command."""

from rootless.container.frames import StartOptions
from rootless.container.launch import MonitorProcess
from rootless.container.lifecycle import start_required
from rootless.errors import ContainerStateError
from storage.containers import ContainerView, find_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_READY = ("created", "exited")


def initialize(host: "Host", text: str) -> None:
    """Prepare a container that was made or has ended.

    Raises ContainerNotFound, ContainerStateError and what a start raises.
    """
    with MonitorProcess(host, attach=False) as monitor:
        found = find_container(host.layout, text)
        if found.status not in _READY:
            raise _already(found)
        if found.state.pid:
            from rootless.container.ending import kill_left_over

            kill_left_over(found)
        start_required(host, found.record)
        if monitor.launch(host, found, StartOptions(attach=False, hold=True)) is None:
            raise _already(find_container(host.layout, found.record.id))
        for note in monitor.wait_started():
            host.note(note)


def _already(found: ContainerView) -> ContainerStateError:
    return ContainerStateError(
        f"container {found.record.id} has already been created in runtime: it is {found.status}",
        remedy=f"start it: rpod start {found.record.name}" if found.status == "initialized" else "",
    )
