"""Removing trees that somebody else may have shaped: no link is followed, no mode stops it."""

import os

_DEEPEST = 100


def remove_tree(path: str) -> None:
    """Remove a file or a tree; a path that is not there is fine.

    Raises OSError.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # unlink(2) of a directory: EISDIR on Linux, EPERM by POSIX.
        pass
    else:
        return
    parent = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_directory(parent, os.path.basename(path))
    finally:
        os.close(parent)


def _remove_directory(parent: int, name: str) -> None:
    """Remove with neither recursion nor one descriptor for each level, however deep the tree is.

    What lies too deep is moved up to the top, where its turn comes later.
    """
    try:
        stack = [(parent, name, _open_directory(parent, name))]
    except FileNotFoundError:
        return
    moved = 0
    try:
        while stack:
            parent, name, fd = stack[-1]
            below = _empty(fd)
            try:
                if below and len(stack) > _DEEPEST:
                    moved += 1
                    os.rename(below, f".deep-{moved}", src_dir_fd=fd, dst_dir_fd=stack[0][2])
                elif below:
                    stack.append((fd, below, _open_directory(fd, below)))
                else:
                    stack.pop()
                    os.close(fd)
                    os.rmdir(name, dir_fd=parent)
            except FileNotFoundError:
                continue  # somebody else was faster
    finally:
        for _, _, fd in stack:
            os.close(fd)


def _empty(directory: int) -> str:
    """Remove files and empty directories; return the name of a directory that is left, or ""."""
    below = ""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=directory)
                    continue
            except FileNotFoundError:
                continue  # somebody else removes it, too
            try:
                os.rmdir(entry.name, dir_fd=directory)
            except FileNotFoundError:
                continue
            except OSError:
                below = entry.name
    return below


def _open_directory(parent: int, name: str) -> int:
    """Open a directory and make it ours to empty, whatever mode an image gave it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=True)
        fd = os.open(name, flags, dir_fd=parent)
    if os.geteuid() != 0 and os.fstat(fd).st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)
    return fd
