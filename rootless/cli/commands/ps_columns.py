"""What only some calls of ps show: sizes, namespaces, pods; and the list that renews itself."""

import os
import sys
import time

from rootless.human import size_text
from rootless.linux.procfs import entrance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.output import Row
    from rootless.container.sizes import ContainerSize
    from storage.containers import ContainerView

NAMESPACE_COLUMNS = (
    "CONTAINER ID", "NAMES", "PID", "CGROUPNS", "IPC", "MNT", "NET", "PIDNS", "USERNS", "UTS",
)  # fmt: skip
# The fields of the templates, and of podman's objects, beside the kernel's names (namespaces(7)).
_NAMESPACES = (
    ("CGROUPNS", "Cgroup", "cgroup"),
    ("IPC", "Ipc", "ipc"),
    ("MNT", "Mnt", "mnt"),
    ("NET", "Net", "net"),
    ("PIDNS", "Pidns", "pid"),
    ("USERNS", "User", "user"),
    ("UTS", "Uts", "uts"),
)


def namespaces(view: "ContainerView") -> dict[str, str]:
    """Return the numbers of the namespaces that a running container is in, by template field."""
    pid = entrance(view.pid) if view.pid else 0
    return {field: _number(pid, name) for field, _, name in _NAMESPACES}


def extend(row: "Row", view: "ContainerView", size: "ContainerSize | None", *, ns: bool) -> None:
    """Put what --size and --ns ask for into the fields and the object of a container."""
    document = row.document
    assert isinstance(document, dict)
    if size is not None:
        row["Size"] = size_cell(size)
        document["Size"] = {"rootFsSize": size.image, "rwSize": size.written}
    if ns:
        numbers = namespaces(view)
        shown = {key: numbers[field] for field, key, _ in _NAMESPACES if numbers[field]}
        row.update(numbers)
        row["Namespaces"] = document["Namespaces"] = shown


def _number(pid: int, name: str) -> str:
    if not pid:
        return ""
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}").partition("[")[2].rstrip("]")
    except OSError:
        return ""  # it has just ended


def size_cell(size: "ContainerSize | None") -> str:
    """Return podman's words: 18B (virtual 1.98MB)."""
    if size is None:
        return ""
    written, image = (size_text(value).replace(" ", "") for value in size)
    return f"{written} (virtual {image})"


def watch(show: "Callable[[], None]", interval_s: int) -> int:
    """Show the list again and again, until the user has seen enough."""
    while True:
        if sys.stdout.isatty():
            sys.stdout.write("\033[H\033[2J")
        show()
        sys.stdout.flush()
        time.sleep(interval_s)
