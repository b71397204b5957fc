"""The marks in an upper directory: one form of them, and only those that say something.

Kernels mark new directories opaque where nothing lies below them; fuse-overlayfs has marks of its
own, which the kernel's overlay does not know. Runs as root of the build's user namespace, when
nothing writes there.
"""

import errno
import os
import stat

from rootless.build.upper import find_below
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX, Tree
from storage.xattrs import OPAQUE, is_opaque

_FUSE_OPAQUE = "user.fuseoverlayfs.opaque"
# Beside its mark for an opaque directory fuse-overlayfs leaves a whiteout of this name.
_FUSE_STRAY = b".wh..opq"
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ATTRIBUTE = (errno.ENODATA, errno.ENOTSUP)


def normalize(upper: str, lower: tuple[str, ...], *, by_fuse: bool) -> None:
    """Leave the marks that the kernel's overlay needs to show the same; `lower` has the top first.

    Raises OSError.
    """
    tree = Tree(upper)
    try:
        todo = [(b"", True)]
        while todo:
            path, has_below = todo.pop()
            todo += _one(tree, os.fsencode(upper), path, lower if has_below else (), by_fuse)
    finally:
        tree.close()


def _one(
    tree: Tree, upper: bytes, path: bytes, lower: tuple[str, ...], by_fuse: bool
) -> list[tuple[bytes, bool]]:
    """Put one directory in order; return those in it, and whether something may lie below them."""
    fd = os.open(upper + b"/" + path, _LIST)
    try:
        below = bool(lower) and _is_directory(find_below(lower, os.fsdecode(path)))
        if path and by_fuse:
            _translate(tree, fd, below=below)
        if path and is_opaque(fd):
            if not below:
                os.removexattr(fd, OPAQUE)
            below = False
        directories = []
        for entry in os.scandir(fd):
            name = os.fsencode(entry.name)
            full = path + b"/" + name if path else name
            if entry.is_dir(follow_symlinks=False):
                directories.append((full, below))
            elif by_fuse:
                _drop_idle(tree, fd, full, lower if below else ())
        return directories
    finally:
        os.close(fd)


def _is_directory(found: os.stat_result | None) -> bool:
    return found is not None and stat.S_ISDIR(found.st_mode)


def _translate(tree: Tree, fd: int, *, below: bool) -> None:
    """Put the kernel's mark in the place of fuse-overlayfs' own."""
    names = {os.fsencode(name) for name in os.listdir(fd)}
    found = os.fstat(fd)
    marked = OPAQUE_FILE in names
    for name in (OPAQUE_FILE, _FUSE_STRAY):
        if name in names:
            os.unlink(name, dir_fd=fd)
    try:
        os.removexattr(fd, _FUSE_OPAQUE)
        marked = True
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTE:
            raise
    if marked and below:
        tree.hide_lower(fd)
    if marked:
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))


def _drop_idle(tree: Tree, fd: int, path: bytes, lower: tuple[str, ...]) -> None:
    """Remove a whiteout that hides nothing; make one of a file that stands for one."""
    name = path.rpartition(b"/")[2]
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    directory = os.fstat(fd)
    if name.startswith(WHITEOUT_PREFIX) and stat.S_ISREG(found.st_mode):
        os.unlink(name, dir_fd=fd)
        name = name.removeprefix(WHITEOUT_PREFIX)
        tree.white_out(fd, name)
    elif not stat.S_ISCHR(found.st_mode) or found.st_rdev:
        return
    where = path.rpartition(b"/")[0]
    hidden = where + b"/" + name if where else name
    if not lower or find_below(lower, os.fsdecode(hidden)) is None:
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            # A file system without device nodes keeps the other form.
            return
    os.utime(fd, ns=(directory.st_atime_ns, directory.st_mtime_ns))
