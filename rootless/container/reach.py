"""The way to a path of the host: path_resolution(7)."""

import errno
import os
import stat

from rootless.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.userns import IdMaps, IdRange


def first_blocked(path: str, uid: int) -> str:
    """Return the first directory on the way to `path` that the caller cannot search, or ""."""
    if uid == 0:
        return ""
    directory = "/"
    # A link's own directories have to be searched as well, but rarely are what blocks.
    for name in os.path.realpath(path).strip("/").split("/"):
        if not os.path.isdir(directory):
            return ""
        if not os.access(directory, os.X_OK, effective_ids=True):
            return directory
        directory = os.path.join(directory, name)
    return ""


def explain_closed(path: str, maps: "IdMaps", error: Exception) -> HostError | None:
    """Return an error that names the directory which root of other ids may not search.

    Root of a namespace has a right to what belongs to ids of it, user and group: what another group
    has (a project's scratch directory) is closed to it, unless it is open to all. Returns None
    where that is not the reason.
    """
    if not isinstance(error, PermissionError) and os.strerror(errno.EACCES) not in str(error):
        return None
    closed = first_closed(path, maps)
    if not closed:
        return None
    found = os.stat(closed)
    mode = stat.S_IMODE(found.st_mode)
    return HostError(
        f"make a container with other ids in {path}: {closed} is closed to others ({mode:04o}),"
        f" and its group {found.st_gid} is nobody in a container, so that root of one may not pass",
        remedy=f"chmod o+x {closed}; or chgrp {os.getegid()} {closed}; or keep containers"
        " elsewhere: --root DIR, RPOD_NODE_ROOT=DIR where the home is shared between machines",
    )


def first_closed(path: str, maps: "IdMaps") -> str:
    """Return the first directory on the way to `path` that root of a namespace cannot search."""
    directory = os.path.realpath(path)
    ways = [directory]
    while directory != "/":
        directory = os.path.dirname(directory)
        ways.append(directory)
    for way in reversed(ways):
        try:
            found = os.stat(way)
        except FileNotFoundError:
            return ""
        is_mapped = _has(maps.uids, found.st_uid) and _has(maps.gids, found.st_gid)
        if not found.st_mode & stat.S_IXOTH and not is_mapped:
            return way
    return ""


def _has(ranges: "tuple[IdRange, ...]", number: int) -> bool:
    return any(first <= number < first + count for _, first, count in ranges)
