"""`init`: prepare a container, all but its command; and the start that lets the command run."""

import _socket  # not `socket`: its enums cost 5 ms of every start

from rootless.container import frames
from rootless.container.attach import connect, revive
from rootless.container.frames import StartOptions
from rootless.container.launch import MonitorProcess
from rootless.container.lifecycle import start_required
from rootless.errors import ContainerStateError, HostError
from storage import lightjson as json
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


def let_run(found: ContainerView, *, attach: bool) -> "_socket.socket":
    """Let the command of a prepared container run; return the connection of the client.

    Raises ContainerStateError.
    """
    connection = connect(found)
    try:
        connection.sendall(frames.frame_json(frames.GO, attach))
    except OSError as error:
        connection.close()
        raise ContainerStateError(
            f"start container {found.record.name}: it has just ended"
        ) from error
    return connection


def run_prepared(host: "Host", found: ContainerView) -> None:
    """Let the command run and wait until it does. Raises what kept it from running."""
    connection = let_run(found, attach=False)
    reader = frames.Reader()
    try:
        while data := connection.recv(1 << 16):
            for kind, payload in reader.feed(data):
                if kind == frames.STARTED:
                    return
                if kind == frames.FAILED:
                    raise revive(json.loads(payload))
    except ConnectionResetError:
        pass
    finally:
        connection.close()
    raise HostError(f"start container {found.record.name}: it was ended, or its monitor killed")
