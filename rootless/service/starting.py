"""Start a container for clients that are attached to it already."""

import os
import socket

from rootless.container import frames, lifecycle
from rootless.container.attach import revive
from rootless.errors import HostError
from rootless.service import meeting
from storage import lightjson as json
from storage.containers import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def start_for_clients(host: "Host", found: ContainerView) -> None:
    """Start it, and hand its first connection to whoever has attached. Raises as a start does."""
    container_id = found.record.id
    attached = meeting.call(host, container_id, meeting.ATTACH)
    if not attached:
        lifecycle.start(host, container_id)
    else:
        fd = lifecycle.start_connected(host, container_id)
        try:
            if fd >= 0:
                for text in _wait_started(fd):
                    host.note(text)
            meeting.tell(attached, fd)
        finally:
            if fd >= 0:
                os.close(fd)
    meeting.tell(meeting.call(host, container_id, meeting.WAIT))


def _wait_started(fd: int) -> list[str]:
    """Read the first frame of a monitor, and nothing of what follows it."""
    with socket.socket(fileno=os.dup(fd)) as end:
        data = end.recv(frames.HEADER.size, socket.MSG_WAITALL)
        if len(data) < frames.HEADER.size:
            raise HostError("start the container: its monitor was killed")
        kind, length = frames.HEADER.unpack(data)
        payload = end.recv(length, socket.MSG_WAITALL) if length else b""
    if kind == frames.FAILED:
        raise revive(json.loads(payload))
    notes: list[str] = json.loads(payload).get("notes", []) if kind == frames.STARTED else []
    return notes
