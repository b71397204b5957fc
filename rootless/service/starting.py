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
        fd = lifecycle.start_connected(host, container_id, _take_size(host, container_id))
        try:
            if fd >= 0:
                for text in _wait_started(fd):
                    host.note(text)
            meeting.tell(attached, fd)
        finally:
            if fd >= 0:
                os.close(fd)
    meeting.tell(meeting.call(host, container_id, meeting.WAIT))


def remember_size(host: "Host", container_id: str, size: list[int]) -> None:
    """Keep the size of the client's terminal from `create` to `start`: no record has it."""
    directory = f"{host.layout.run_root}/service/sizes"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for name in os.listdir(directory):
        if not os.path.exists(host.layout.container(name).record):
            _remove(f"{directory}/{name}")  # it was never started
    with open(f"{directory}/{container_id}", "w", encoding="ascii") as file:
        file.write(f"{size[0]} {size[1]}")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _take_size(host: "Host", container_id: str) -> tuple[int, int]:
    path = f"{host.layout.run_root}/service/sizes/{container_id}"
    try:
        with open(path, encoding="ascii") as file:
            rows, columns = file.read(32).split()
        _remove(path)
        return int(rows), int(columns)
    except (OSError, ValueError):
        return 0, 0  # none was told


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
