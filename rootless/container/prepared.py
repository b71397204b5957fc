"""The start of a prepared container: its monitor is told to let the command run."""

import _socket  # not `socket`: its enums cost 5 ms of every start
import time

from rootless.container import frames
from rootless.container.attach import connect, revive
from rootless.errors import ContainerStateError, HostError, RootlessError
from storage import lightjson as json
from storage.containers import ContainerView, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_POLL_S = 0.01


def let_run(found: ContainerView, *, attach: bool) -> _socket.socket:
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
    while True:
        try:
            _run(found)
        except RootlessError:
            # Where several starts come at once, one of them lets it run.
            status = view(host.layout, found.record).status
            if status == "running":
                return
            if status != "initialized":
                raise
            time.sleep(_POLL_S)
        else:
            return


def _run(found: ContainerView) -> None:
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
