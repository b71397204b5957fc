"""Hard links of a layer whose target lies in a lower layer: the file is copied up, then linked."""

import errno
import os
import stat

from storage.errors import InvalidLayer, from_os_error
from storage.tree import Tree, shown
from storage.xattrs import copy_all

_CHUNK_BYTES = 1 << 30
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def link_across(diff: str, lower: list[str], missing_links: tuple[tuple[str, str], ...]) -> int:
    """Make the hard links (path, target) of a layer at `diff`; `lower` begins with the lowest.

    The copy takes the target's place in this layer, as overlayfs does when it copies up. Returns
    the number of bytes copied. Raises InvalidLayer, StoreUnusable, DiskFull.
    """
    tree = Tree(diff)
    copied = 0
    try:
        for name, target in missing_links:
            copied += _link(tree, lower, os.fsencode(name), os.fsencode(target))
        tree.finish_new()
    except OSError as error:
        raise from_os_error(f"copy hard links into {diff}", error) from error
    finally:
        tree.close()
    return copied


def _link(tree: Tree, lower: list[str], name: bytes, target: bytes) -> int:
    target_parent, target_base = tree.split(target)
    parent, base = tree.split(name)
    source = _find(lower, target_parent, target_base)
    if source < 0:
        raise InvalidLayer(
            f"hard link {shown(name)}: its target {shown(target)} is in no lower layer"
        )
    try:
        here = os.dup(tree.directory(target_parent))
        try:
            copied = _copy(source, here, target_base)
            os.link(
                target_base,
                base,
                src_dir_fd=here,
                dst_dir_fd=tree.directory(parent),
                follow_symlinks=False,
            )
        finally:
            os.close(here)
    finally:
        os.close(source)
    return copied


def _find(lower: list[str], parent: bytes, base: bytes) -> int:
    """Open the file in the highest layer that has it; -1 when none has, or it was removed."""
    for path in reversed(lower):
        layer = Tree(path)
        try:
            directory = layer.directory(parent, make=False)
            found = os.stat(base, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                return os.open(base, _READ, dir_fd=directory)
        except (FileNotFoundError, InvalidLayer):
            continue
        finally:
            layer.close()
        return -1
    return -1


def _copy(source: int, directory: int, base: bytes) -> int:
    """Copy a file with its metadata; one that this layer has already made is kept."""
    found = os.fstat(source)
    try:
        fd = os.open(base, _CREATE, 0o600, dir_fd=directory)
    except FileExistsError:
        return 0
    try:
        copy_content(source, fd, found)
    finally:
        os.close(fd)
    return found.st_size


def copy_content(source: int, target: int, found: os.stat_result) -> None:
    """Copy the bytes of a file and what `found` and its attributes say of it. Raises OSError."""
    offset = 0
    while offset < found.st_size:
        count = _copy_range(source, target, offset, found.st_size - offset)
        if not count:
            break
        offset += count
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, stat.S_IMODE(found.st_mode))
    copy_all(source, target)
    os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _copy_range(source: int, target: int, offset: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, min(count, _CHUNK_BYTES), offset, offset)
    except OSError as error:
        # EXDEV, EINVAL, ENOSYS, ENOTSUP: file systems and kernels without it.
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    return os.pwrite(target, os.pread(source, min(count, 1 << 20), offset), offset)
