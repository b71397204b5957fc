"""A container that is prepared and waits: the monitor's half of `init`.

Namespaces, mounts, network and limits are there; the process that becomes the command waits for a
client that says GO. When it ends before (stop, rm, kill), so does the container.
"""

import select

from rootless.container import frames
from rootless.container.client import Client
from rootless.container.frames import StartOptions
from rootless.container.running import Container
from rootless.container.starting import state_of
from rootless.errors import ContainerStateError, RootlessError
from rootless.linux.procfs import start_time
from storage import event_log
from storage import lightjson as json
from storage.containers import ContainerView, write_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


_TAKEN = "start the container: it is already starting or running"


class EndedBeforeStart(RootlessError):
    """The container was stopped, or its process killed, before its command ran."""

    exit_code = 137


class Held:
    """Called with the prepared container; returns when its command may run.

    `first` then has the connection of who has said so, and `attach` whether it wants the streams.
    Raises EndedBeforeStart.
    """

    def __init__(self, host: "Host", view: ContainerView, first: Client) -> None:
        self._host = host
        self._view = view
        self._first = first
        self.attach = False

    def __call__(self, container: Container) -> None:
        container.start_time = start_time(container.pid)
        write_state(
            self._view.paths, state_of(container, StartOptions(attach=False), ""), sync=False
        )
        event_log.container_event(self._host.layout.run_root, "init", record=self._view.record)
        ready = {"pid": container.pid, "notes": container.notes}
        self._first.queue(frames.frame_json(frames.STARTED, ready))
        self._first.finish()
        self._first.close()
        self._wait(container)

    def _wait(self, container: Container) -> None:
        poll = select.poll()
        poll.register(container.pidfd, select.POLLIN)
        poll.register(container.listener.fileno(), select.POLLIN)
        clients: dict[int, Client] = {}
        while True:
            for fd, _ in poll.poll():
                if fd == container.pidfd:
                    self._tell_end()
                    raise EndedBeforeStart("it was ended before its command ran")
                if fd == container.listener.fileno():
                    client = _accept(container)
                    if client is not None:
                        clients[client.fileno()] = client
                        poll.register(client.fileno(), select.POLLIN)
                    continue
                client = clients[fd]
                is_there = client.ready()
                if self._is_told(client):
                    del clients[fd]
                    for other in clients.values():
                        _refuse(other)
                    return
                if not is_there:
                    poll.unregister(fd)
                    clients.pop(fd).close()

    def _tell_end(self) -> None:
        run_root, record = self._host.layout.run_root, self._view.record
        code = EndedBeforeStart.exit_code
        event_log.container_event(run_root, "died", record=record, ContainerExitCode=code)
        event_log.container_event(run_root, "cleanup", record=record)

    def _is_told(self, client: Client) -> bool:
        """Whether this client has said GO; then it is the first one."""
        come = client.received()
        for position, (kind, payload) in enumerate(come):
            if kind == frames.GO:
                # What it has typed already is for the command.
                self._first.become(client, come[position + 1 :])
                self.attach = bool(json.loads(payload))
                return True
        return False


def _refuse(client: Client) -> None:
    words = [ContainerStateError.__module__, ContainerStateError.__name__, _TAKEN, ""]
    client.queue(frames.frame_json(frames.FAILED, words))
    client.finish()
    client.close()


def _accept(container: Container) -> Client | None:
    try:
        return Client.accept(container.listener)
    except OSError:
        return None
