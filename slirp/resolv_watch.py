"""Where the host's resolver is configured, and how a process learns that it has changed.

dnotify (fcntl(2), F_NOTIFY) and not inotify: a user may have 128 inotify instances for everything,
and this is for each container.
"""

import fcntl
import os
import stat

RESOLV_CONF = "/etc/resolv.conf"
# systemd-resolved(8): the servers behind its stub, kept up to date by it.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_EVENTS = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MODIFY | fcntl.DN_MULTISHOT
_MOST_LINKS = 8


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
    """Return the directories in which a file, or a link on the way to it, can be replaced."""
    found = []
    for _ in range(_MOST_LINKS):
        found.append(os.path.dirname(path))
        try:
            if not stat.S_ISLNK(os.lstat(path).st_mode):
                break
            path = os.path.join(found[-1], os.readlink(path))
        except OSError:
            break
    return found


class Watch:
    """SIGIO comes to this process when something happens beside one of the files.

    The signal must be handled or blocked before: its default ends the process.
    """

    def __init__(self, paths: tuple[str, ...] = (RESOLV_CONF, RESOLVED_CONF)) -> None:
        self._paths = paths
        self._fds: list[int] = []
        self._seen = signature(paths)
        self._arm()

    def has_changed(self) -> bool:
        """Whether a file is another one than when this was asked before."""
        now = signature(self._paths)
        if now == self._seen:
            return False
        self._seen = now
        self._arm()  # a link may lead elsewhere
        return True

    def newest_ns(self) -> int:
        """Return when the last of the files has changed, 0 without any."""
        return max((one[-1] for one in self._seen if one), default=0)

    def _arm(self) -> None:
        old, self._fds = self._fds, []
        wanted = dict.fromkeys(name for path in self._paths for name in directories(path))
        for name in wanted:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # there is no systemd-resolved
            self._fds.append(fd)
            try:
                fcntl.fcntl(fd, fcntl.F_NOTIFY, _EVENTS)
            except OSError:
                continue  # a kernel without CONFIG_DNOTIFY
        for fd in old:
            os.close(fd)
