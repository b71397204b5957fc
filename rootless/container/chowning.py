"""`:U`: the files of a mount become those of the container's user, on the host."""

import os

from rootless.container.users import User
from rootless.errors import UsageError
from rootless.linux.userns import IdMaps, run_in_userns

# Changing the owners of these would break the host, or the user's own account.
_NEVER = ("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
          "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var")  # fmt: skip  # noqa: S108


def give_to_user(path: str, user: User, maps: IdMaps, home: str) -> None:
    """Change the owner of everything below a directory, links not followed.

    What has the right owner already is left alone. Raises UsageError.
    """
    real = os.path.realpath(path)
    if real in _NEVER or real == os.path.realpath(home):
        raise UsageError(
            f"mount {path} with option U: its files would change their owner",
            remedy="use U with a directory made for the container",
        )
    failed = run_in_userns(lambda _: _chown_tree(real, user.uid, user.gid), maps)
    if isinstance(failed, str) and failed:
        raise UsageError(
            f"mount {path} with option U: change the owner of {failed}: not permitted",
            remedy="it belongs to somebody else on the host; take it out of the directory",
        )


def _chown_tree(path: str, uid: int, gid: int) -> str:
    """Return the first path whose owner cannot be changed, "" when all went well."""
    if not os.path.isdir(path):
        return "" if _chown(path, None, uid, gid) else path
    for directory, _, files, fd in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in files:
            if not _chown(name, fd, uid, gid):
                return f"{directory}/{name}"
        found = os.fstat(fd)
        if (found.st_uid, found.st_gid) != (uid, gid):
            try:
                os.fchown(fd, uid, gid)
            except PermissionError:
                return directory
    return ""


def _chown(name: str, fd: int | None, uid: int, gid: int) -> bool:
    try:
        found = os.lstat(name, dir_fd=fd)
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
    except PermissionError:
        return False
    return True
