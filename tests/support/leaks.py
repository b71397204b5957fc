"""What a test must not leave behind: processes, mounts, unfinished store entries."""

import os
import time
from collections.abc import Callable

from tests.support.accounts import Account, Process, processes

# podman keeps one pause process for each user; it ends with the account.
_ALLOWED = ("podman pause", "catatonit -P")
_HELPERS = ("rpod", "slirp4netns", "pasta", "pasta.avx2", "passt", "fuse-overlayfs", "squashfuse")
SETTLE_S = 5.0


def own_processes(account: Account) -> list[Process]:
    """List what runs as the account; for an account that a person uses, helpers of the tests."""
    mine = {os.getpid(), os.getppid()}
    found = [process for process in processes(account.owns) if process.pid not in mine]
    if account.uid == os.getuid():
        begin = _start_of(os.getpid())
        found = [one for one in found if _is_helper(one) and int(one.start) >= begin]
    return [process for process in found if not _is_pause(process)]


def _is_helper(process: Process) -> bool:
    return process.name in _HELPERS or "rootless.container" in process.command


def _start_of(pid: int) -> int:
    """Return when a process began, in clock ticks after boot (proc(5), stat)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def _is_pause(process: Process) -> bool:
    return process.command.endswith(_ALLOWED) or process.name == "podman pause"


def wait_until_gone(list_left: Callable[[], list[Process]], timeout_s: float) -> list[Process]:
    """Return what is still there after the time that a container's end may take."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = list_left()
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def mounts(account: Account) -> set[str]:
    """Return the mounts of this mount namespace that a container could have made."""
    places = (account.home, account.runtime_dir, f"/run/user/{account.uid}", "/dev/shm/rpod")
    found = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            point = line.split()[4]
            kind = line.rpartition(" - ")[2].strip()
            if point.startswith(places) or kind.startswith(("overlay ", "fuse.", "nsfs ")):
                found.add(f"{point} {kind}")
    return found


def unfinished(home: str) -> list[str]:
    """List entries of tmp/ and partial/ in every rpod store below `home`."""
    found: list[str] = []
    for directory, names, _ in os.walk(home):
        if "oci-layout" in os.listdir(directory) and "locks" in names:
            for part in ("tmp", "partial"):
                path = os.path.join(directory, part)
                if os.path.isdir(path):
                    found += [os.path.join(path, entry) for entry in os.listdir(path)]
        names[:] = [name for name in names if name not in ("layers", "blobs", "containers", "diff")]
    return found
