"""The upper directory of a step: make directories through it, tidy it up, make it a layer.

Everything here runs as root of the build's user namespace.
"""

import errno
import os
import stat
from collections.abc import Iterator

from rootless.build.model import Tree
from rootless.linux import syscalls
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.root import Root
from storage.layout import Layout
from storage.pack import END, Packer
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


def make_directory(root: Root, path: str) -> None:
    """Make a directory and those above it, mode 0755; links lead to places in the root.

    Needs a mount namespace of its own. Raises OSError.
    """
    root.open()
    top = root.mount()
    try:
        done = ""
        parent = os.open(".", _PATH | os.O_DIRECTORY, dir_fd=top)
        for name in path.strip("/").split("/"):
            done += f"/{name}"
            try:
                fd = syscalls.openat2(top, done, _PATH | os.O_DIRECTORY, resolve=_RESOLVE)
            except FileNotFoundError:
                os.mkdir(name, 0o755, dir_fd=parent)
                fd = syscalls.openat2(top, done, _PATH | os.O_DIRECTORY, resolve=_RESOLVE)
            os.close(parent)
            parent = fd
        os.close(parent)
    finally:
        os.close(top)


def tidy(upper: str, lower: tuple[str, ...], targets: tuple[str, ...]) -> None:
    """Remove the empty places that mounts were made on, where the image had none. Raises OSError.

    `lower` are the layers below, the top one first.
    """
    for target in sorted(set(targets), key=len, reverse=True):
        parts = [part for part in target.split("/") if part]
        _remove_stub(upper, lower, parts)


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
        below = _find_below(lower, path)
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


def _find_below(lower: tuple[str, ...], path: str) -> os.stat_result | None:
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


def is_empty(upper: str) -> bool:
    """Tell whether a step has changed nothing."""
    return not os.listdir(upper)


def pack_tree(layout: Layout, tree: Tree, path: str, directory: str) -> Iterator[bytes]:
    """Yield what is at a path of a tree as an archive; `directory` is a place to mount it.

    Leaves the mount namespace of the caller. Raises OSError.
    """
    for name in ("rootfs", "upper", "work", "empty"):
        os.mkdir(f"{directory}/{name}", 0o711)
    lower = [layout.layer_diff(tree.map_key, chain) for chain in reversed(tree.chain_ids)]
    parts = (f"{directory}/{name}" for name in ("upper", "work"))
    root = Root(OVERLAY, f"{directory}/rootfs", lower or [f"{directory}/empty"], *parts)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    root.open()
    top = root.mount()
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY
        fd = syscalls.openat2(top, path, flags, resolve=_RESOLVE)
        try:
            yield from Packer().tree(fd, b"")
            yield END
        finally:
            os.close(fd)
    finally:
        os.close(top)
