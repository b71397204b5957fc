"""`top` with options of ps(1): by the container's own ps, else by the host's."""

import os
import subprocess
import sys

from rootless.container.exec import exec_in
from rootless.container.request import ExecRequest
from rootless.container.top import pids_of
from rootless.errors import CommandNotFound, ContainerStateError, HostError, UsageError
from rootless.host.programs import find_program
from storage.containers import find_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def show(host: "Host", text: str, words: list[str]) -> int:
    """Print what `ps WORDS` says of a container; return its exit code, 125 for a failure.

    Raises ContainerNotFound, ContainerStateError, HostError, UsageError.
    """
    found = find_container(host.layout, text)
    if found.status != "running":
        raise ContainerStateError(
            f"top can only be used on running containers: {found.record.name} is {found.status}"
        )
    # podman takes one word with blanks for several.
    options = [part for word in words for part in word.split()]
    sys.stdout.flush()
    try:
        request = ExecRequest(container=found.record.id, command=("ps", *options), user="root")
        return 125 if exec_in(host, request) else 0
    except CommandNotFound:
        sys.stdout.write(_by_host(found.state.pid, options))
        return 0


def _by_host(init: int, options: list[str]) -> str:
    """Return the lines of the host's ps that are about the container's processes."""
    program = find_program("ps")
    if program is None:
        raise HostError(
            "top: neither the container nor this host has ps(1)",
            remedy="use descriptors, such as pid, user, args: rpod top CONTAINER pid args",
        )
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [program, *options], capture_output=True, check=False, timeout=30, env=environment
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise UsageError(f"top {' '.join(options)}: {said or 'ps failed'}")
    return pick(done.stdout.decode(errors="replace"), {str(pid) for pid in pids_of(init)})


def pick(output: str, pids: set[str]) -> str:
    """Return the heading and the lines of some processes. Raises UsageError without a PID."""
    heading, *lines = output.splitlines() or [""]
    columns = heading.split()
    if "PID" not in columns:
        raise UsageError("top: the options of ps must leave the column PID", remedy="add -o pid")
    at = columns.index("PID")
    own = [line for line in lines if len(line.split()) > at and line.split()[at] in pids]
    return "".join(f"{line}\n" for line in (heading, *own))
