"""The upper directory of a step: tidy it up, find out who owns what is in it.

Everything here runs as root of the build's user namespace.
"""

import errno
import os
import stat

from rootless.linux import syscalls
from storage.owners import ROOT, Owner, known_links, record, recorded
from storage.pack import OwnerOf
from storage.tree import OPAQUE_FILE
from storage.xattrs import is_opaque

_PATH = os.O_PATH | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
# Where config.json mounts something in every container.
MOUNT_POINTS = (
    "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    "/run/.containerenv",
)  # fmt: skip


def tidy(upper: str, lower: tuple[str, ...], targets: tuple[str, ...]) -> None:
    """Remove the empty places that mounts were made on, where the image had none. Raises OSError.

    `lower` are the layers below, the top one first.
    """
    for parts in sorted({_place(lower, target) for target in targets}, key=len, reverse=True):
        _remove_stub(upper, lower, list(parts))


def _place(lower: tuple[str, ...], target: str) -> tuple[str, ...]:
    """Return where a target lies: the links on its way are those that were there at the start."""
    parts = tuple(part for part in target.split("/") if part)
    for length in range(1, len(parts) + 1):
        found = find_below(lower, "/".join(parts[:length]))
        if found is None:
            break
        if stat.S_ISLNK(found.st_mode):
            from storage.build.trees import resolve
            from storage.layer_tree import LayerTree

            place = resolve(LayerTree(lower), os.fsencode(target))
            path = b"/".join((place.node.path, *place.missing))
            return tuple(os.fsdecode(part) for part in path.split(b"/") if part)
    return parts


def _remove_stub(upper: str, lower: tuple[str, ...], parts: list[str]) -> None:
    """Remove an empty file or directory, and then the directories above that say nothing new."""
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        if not _has_plain_parents(upper, parts[: length - 1]):
            return
        try:
            found = os.lstat(f"{upper}/{path}")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        below = find_below(lower, path)
        if length == len(parts):
            is_stub = found.st_size == 0 or stat.S_ISDIR(found.st_mode)
            if below is not None or not is_stub:
                return
        elif below is not None and _kind(below) != _kind(found):
            return
        if not _remove_empty(f"{upper}/{path}", found):
            return


def _has_plain_parents(upper: str, parts: list[str]) -> bool:
    """Tell whether the directories above are directories: a link there would lead elsewhere."""
    path = upper
    for part in parts:
        path += f"/{part}"
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        except FileNotFoundError:
            return True
    return True


def _kind(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def find_below(lower: tuple[str, ...], path: str) -> os.stat_result | None:
    """Return what the topmost layer has at a path; None also for what is hidden there."""
    for layer in lower:
        try:
            found = os.lstat(f"{layer}/{path}")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            return None
        return found
    return None


def _remove_empty(path: str, found: os.stat_result) -> bool:
    """Remove a path if it is empty and hides nothing; tell whether it has gone."""
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(path)
        return True
    fd = os.open(path, _LIST)
    try:
        if is_opaque(fd) or OPAQUE_FILE in map(os.fsencode, os.listdir(fd)):
            return False
    finally:
        os.close(fd)
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return False
        raise
    return True


def owners(directory: str, lower: tuple[str, ...], user: Owner) -> OwnerOf:
    """Return who owns what a step has left where every file has the same owner on disk.

    It is whom the image or root emulation has recorded; what the layers below do not have belongs
    to the step's user, and that is recorded with it.
    """
    links: dict[int, Owner] = {}
    try:
        file = os.open(f"{directory}/links", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        pass
    else:
        links = known_links(file)
        os.close(file)

    def owner_of(name: bytes, fd: int, found: os.stat_result) -> Owner | None:
        known = recorded(fd) if fd >= 0 else links.get(found.st_ino)
        if known is not None or user == ROOT:
            return known
        if not name or find_below(lower, os.fsdecode(name)) is not None:
            return None
        if fd >= 0:
            record(fd, user, found.st_mode)
        return user

    return owner_of
