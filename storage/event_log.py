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
    run_root: str, status: str, record: "ContainerRecord", **attributes: object
) -> None:
    """Write down what happened to a container; its labels go with it as podman's do."""
    append(
        run_root,
        "container",
        status,
        ident=record.id,
        name=record.name,
        image=record.image_name,
        attributes={**record.labels, **attributes},
    )


def pod_event(run_root: str, status: str, record: "PodRecord") -> None:
    """Write down what happened to a pod."""
    append(
        run_root,
        "pod",
        status,
        ident=record.id,
        name=record.name,
        attributes=dict(record.labels),
    )


def append(
    run_root: str,
    kind: str,
    status: str,
    *,
    ident: str = "",
    name: str = "",
    image: str = "",
    attributes: dict[str, object] | None = None,
) -> None:
    """Write down one event; `kind` is container, image, volume, network, pod or system."""
    line = {
        "Type": kind,
        "Status": status,
        "time_ns": time.time_ns(),
        "ID": ident,
        "Name": name,
        "Image": image,
        "Attributes": attributes or {},
    }
    data = json.dumps(line).encode() + b"\n"
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
