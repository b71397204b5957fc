"""Where the host's resolver is configured, and how a process learns that it has changed.

dnotify (fcntl(2), F_NOTIFY) and not inotify: a user may have 128 inotify instances for everything,
and this is for each container.
"""

import fcntl
import os

RESOLV_CONF = "/etc/resolv.conf"
# systemd-resolved(8): the servers behind its stub, kept up to date by it.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_EVENTS = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MODIFY | fcntl.DN_MULTISHOT
_MOST_LINKS = 8
_MOUNTS = "/proc/self/mountinfo"


def signature(
    paths: tuple[str, ...] = (RESOLV_CONF, RESOLVED_CONF),
) -> tuple[tuple[int, ...], ...]:
    """Return what differs once one of the files has changed."""
    return tuple(_one(path) for path in paths)


def _one(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    # The time of the last change of the inode: it counts a rename, and nobody can set it.
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def directories(path: str) -> list[str]:
    """Return the directories in which something on the way to a file can be replaced.

    What is missing may appear in the last one. A name is looked up as the kernel does.
    """
    found: dict[str, None] = {}
    rest = path.split("/")
    at, links = "", 0
    while rest:
        name = rest.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        if at:  # nobody replaces what lies in the root directory
            found[at] = None
        try:
            target = os.readlink(f"{at}/{name}")
        except FileNotFoundError:
            break
        except OSError:
            at = f"{at}/{name}"  # EINVAL: no link
            continue
        links += 1
        if links > _MOST_LINKS:
            break
        if target.startswith("/"):
            at = ""
        rest = target.split("/") + rest
    return list(found)


class Watch:
    """SIGIO comes to this process when something happens beside one of the files.

    The signal must be handled or blocked before: its default ends the process. `mounts` becomes
    readable out of band (POLLPRI) when something is mounted or unmounted.
    """

    def __init__(self, paths: tuple[str, ...] = (RESOLV_CONF, RESOLVED_CONF)) -> None:
        self._paths = paths
        self._watched: dict[tuple[int, int], int] = {}
        self.mounts = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        self._arm()
        self._seen = signature(paths)

    def has_changed(self) -> bool:
        """Whether a file is another one than when this was asked before."""
        self._arm()  # a directory has come, a link leads elsewhere
        now = signature(self._paths)
        if now == self._seen:
            return False
        self._seen = now
        return True

    def newest_ns(self) -> int:
        """Return when the last of the files has changed, 0 without any."""
        return max((one[-1] for one in self._seen if one), default=0)

    def is_out_of_sight(self) -> bool:
        """Whether a file is mounted by itself: it may be written where nothing is watched."""
        found = {os.path.realpath(path).encode() for path in self._paths}
        with open(_MOUNTS, "rb") as mounts:
            # proc(5): id, parent, device, root, mount point
            return any(line.split(b" ", 5)[4] in found for line in mounts)

    def close(self) -> None:
        """Let no further signal come."""
        for fd in (self.mounts, *self._watched.values()):
            os.close(fd)
        self._watched.clear()

    def _arm(self) -> None:
        old, self._watched = self._watched, {}
        for name in dict.fromkeys(name for path in self._paths for name in directories(path)):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # a directory that only its owner may read
            status = os.fstat(fd)
            key = status.st_dev, status.st_ino
            if key in old or key in self._watched:
                os.close(fd)
                if key in old:
                    self._watched[key] = old.pop(key)
                continue
            self._watched[key] = fd
            try:
                fcntl.fcntl(fd, fcntl.F_NOTIFY, _EVENTS)
            except OSError:
                continue  # a kernel without CONFIG_DNOTIFY
        for fd in old.values():
            os.close(fd)
