"""Whether a container's root is mounted by `mount`, in a session of `rpod unshare`.

The mark in the run directory only says that it was once. The kernel says whether it is: a process
of the user sees the mount, or has its root directory in it.
"""

import os

from rootless.errors import ContainerStateError
from rootless.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.containers import ContainerView
    from storage.layout import ContainerPaths


def set_mark(paths: "ContainerPaths") -> None:
    """Say that the root may be mounted; before it is. Raises OSError."""
    os.makedirs(paths.run_dir, mode=0o700, exist_ok=True)
    os.close(os.open(paths.mounted, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def check_free(found: "ContainerView") -> None:
    """Raise ContainerStateError when the root is mounted; with the monitor's lock held.

    An overlay that is mounted a second time for writing is undefined (overlayfs.rst).
    """
    refuse_mounted(found)
    try:
        os.unlink(found.paths.mounted)
    except FileNotFoundError:
        return  # somebody else has looked, too


def refuse_mounted(found: "ContainerView") -> None:
    """Raise ContainerStateError when the root is mounted, and change nothing."""
    pid = find_user(found.paths)
    if pid:
        name = found.record.name
        raise ContainerStateError(
            f"the root of container {name} is mounted in a session of `rpod unshare`"
            f" (process {pid})",
            remedy=f"work on it there, then: rpod unmount {name}; or end that session",
        )


def find_user(paths: "ContainerPaths", *, proc: str = "/proc") -> int:
    """Return a process that sees the mounted root, 0 when there is none."""
    target = mount_point(paths)
    seen: set[str] = set()
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        base = f"{proc}/{name}"
        try:
            if is_below(os.readlink(f"{base}/root"), target):
                return int(name)
            namespace = os.readlink(f"{base}/ns/mnt")
            if namespace in seen:
                continue
            if target in mount_points(f"{base}/mountinfo"):
                return int(name)
            seen.add(namespace)
        except OSError:
            continue  # it has gone, or is somebody else's, who cannot see our mounts
    return 0


def is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def mount_points(mountinfo: str = "/proc/self/mountinfo") -> list[str]:
    """Return where something is mounted. Raises OSError."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        return [_unescape(line.split(" ")[4]) for line in file]


def _unescape(word: str) -> str:
    """Read what proc(5) writes with octal digits: blanks, tabs, ends of lines, backslashes."""
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        word = word.replace(f"\\{code}", character)
    return word


def mount_point(paths: "ContainerPaths") -> str:
    """Return the place of the bundle that the root is mounted on, as the kernel names it."""
    return os.path.realpath(paths.rootfs)


def let_go(paths: "ContainerPaths") -> None:
    """Unmount the root where the caller itself sees it: the container is about to be removed.

    In other namespaces the mount goes with the directory that it is on (rmdir(2), Linux 3.18).
    """
    target = mount_point(paths)
    if target in mount_points():
        syscalls.umount2(target, syscalls.MNT_DETACH)
