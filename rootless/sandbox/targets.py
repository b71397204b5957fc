"""Open and make places in a root file system that an image has shaped.

The child works with the container's root as its root directory, so links lead nowhere else, except
for one kind: once /proc is mounted, `/proc/self/fd/N` jumps to whatever the child has open, the
host's root directory included. Every place that an image can choose is therefore opened without
such magic links, once, and used by its descriptor. Nothing here imports at run time.
"""

import errno
import os
import stat

from rootless.linux import syscalls as sc

# A link to a directory above would put them over the container's root, beside what masks them.
_NEVER_LINKS = ("/proc", "/sys", "/dev")


class StepError(Exception):
    """A step failed: what was being done, on which path, with which errno."""

    def __init__(self, step: str, path: str, number: int) -> None:
        super().__init__(step, path, number)
        self.step = step
        self.path = path
        self.number = number


def open_inside(path: str, flags: int = os.O_PATH) -> int:
    """Open what is there. Raises OSError, ELOOP for a way through a magic link."""
    return sc.openat2(sc.AT_FDCWD, path, flags, resolve=sc.RESOLVE_NO_MAGICLINKS)


def open_directory(fd: int) -> int:
    """Return a descriptor for reading of a directory that was opened as a place only."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)


def open_target(path: str, *, directory: bool) -> tuple[int, bool]:
    """Open a mount point, and make it if there is none; return it and whether it was made.

    Raises StepError when something of the other kind is there; OSError.
    """
    made = False
    try:
        fd = _open_real(path) if path in _NEVER_LINKS else open_inside(path)
    except FileNotFoundError:
        # A link may lead to what is not there yet: its target is made.
        fd = _make(os.path.realpath(path), directory=directory)
        made = True
    if stat.S_ISDIR(os.fstat(fd).st_mode) != directory:
        os.close(fd)
        raise StepError(
            "mount a directory over a file" if directory else "mount a file over a directory",
            path,
            errno.ENOTDIR if directory else errno.EISDIR,
        )
    return fd, made


def _open_real(path: str) -> int:
    try:
        return sc.openat2(sc.AT_FDCWD, path, os.O_PATH, resolve=sc.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise StepError("mount over a link in the image", path, errno.ELOOP) from error


def _make(path: str, *, directory: bool) -> int:
    """Make an absolute path without links, part by part, each opened before the next is made."""
    *parents, last = path.strip("/").split("/")
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in parents:
        fd = _step(fd, name, directory=True)
    return _step(fd, last, directory=directory)


def _step(parent: int, name: str, *, directory: bool) -> int:
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            # mknod, not open: a FIFO planted in the way must not make us wait.
            os.mknod(name, 0o644 | stat.S_IFREG, dir_fd=parent)
    except FileExistsError:
        pass  # opened below, if it is no link
    try:
        return sc.openat2(parent, name, os.O_PATH, resolve=sc.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(parent)
