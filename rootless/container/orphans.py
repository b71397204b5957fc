"""End what a container without a pid namespace leaves behind.

Where there is one, the kernel kills everything in it with its first process. With `--pid host` the
others would live on: they become children of the monitor, which is the subreaper of all it starts.
They are known by their mount namespace.
"""

import os

from rootless.linux import signals as signal


def mount_namespace(pid: int) -> int:
    """Return its inode number; 0 when the process has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return 0  # a zombie has none


def end_orphans(namespace: int) -> None:
    """Kill the children of this process in a mount namespace, and theirs, until there is none."""
    while found := [pid for pid in _children() if mount_namespace(pid) == namespace]:
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        for pid in found:
            os.waitpid(pid, 0)


def _children() -> list[int]:
    own = os.getpid()
    with open(f"/proc/{own}/task/{own}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
