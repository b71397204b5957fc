"""What has happened: one line of JSON for each event, in a file of limited size.

The file belongs to the run root: like podman's it tells about this boot. A line is one write to a
file opened for appending, so that writers need no lock; when the file is full it becomes the old
one, and the older one goes. A host that cannot take the line (a full disk) keeps working.
"""

import os
import time

from storage import lightjson as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.containers import ContainerRecord
    from storage.pods import PodRecord

LIMIT_BYTES = 1 << 20
_MODE = 0o600


def path(run_root: str) -> str:
    return f"{run_root}/events/events.log"


def container_event(
    run_root: str, *statuses: str, record: "ContainerRecord", **details: object
) -> None:
    """Write down what happened to a container, one thing after the other in one write.

    Its labels, those of the image among them, go with it as podman's do. `details` are further
    members of the line: ContainerExitCode, health_status.
    """
    append(
        run_root,
        "container",
        *statuses,
        ID=record.id,
        Image=record.image_name,
        Name=record.name,
        PodID=record.pod,
        Attributes=record.labels,
        **details,
    )


def pod_event(run_root: str, status: str, record: "PodRecord") -> None:
    """Write down what happened to a pod."""
    append(
        run_root,
        "pod",
        status,
        ID=record.id,
        Name=record.name,
        Attributes=record.labels,
    )


def image_event(run_root: str, status: str, *, image_id: str = "", name: str = "") -> None:
    """Write down what happened to an image; `name` is a name of it, or where it went to."""
    append(run_root, "image", status, ID=image_id, Name=name)


def volume_event(run_root: str, status: str, name: str) -> None:
    """Write down what happened to a volume."""
    append(run_root, "volume", status, Name=name)


def append(run_root: str, kind: str, *statuses: str, **members: object) -> None:
    """Write down events; `kind` is container, image, volume, network or pod.

    `members` have podman's names (podman-events(1)); what is empty is left out.
    """
    members = {key: value for key, value in members.items() if value}
    data = b""
    for status in statuses:
        line = {"Type": kind, "Status": status, "time_ns": time.time_ns(), **members}
        data += json.dumps(line).encode() + b"\n"
    file = path(run_root)
    try:
        try:
            fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            os.write(fd, data)
            is_full = os.fstat(fd).st_size > LIMIT_BYTES
        finally:
            os.close(fd)
        if is_full:
            os.rename(file, f"{file}.old")
    except OSError:
        return
