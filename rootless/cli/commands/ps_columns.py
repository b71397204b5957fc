"""What only some calls of ps show: sizes, namespaces, pods; and the list that renews itself."""

import os
import sys
import time

from rootless.cli.human import size_text
from rootless.linux.procfs import entrance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
NAMESPACE_FIELDS = tuple(field for field, _, _ in _NAMESPACES)


def namespaces(view: "ContainerView") -> dict[str, str]:
    """Return the numbers of the namespaces that a running container is in, by template field."""
    pid = entrance(view.pid) if view.pid else 0
    return {field: _number(pid, name) for field, _, name in _NAMESPACES}


def namespaces_document(view: "ContainerView") -> dict[str, str]:
    """Return podman's object of them; empty for a container that does not run."""
    pid = entrance(view.pid) if view.pid else 0
    numbers = {key: _number(pid, name) for _, key, name in _NAMESPACES}
    return {key: number for key, number in numbers.items() if number}


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
