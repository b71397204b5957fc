"""Copy a tree inside the container's root, between directory descriptors: no link is followed."""

import errno
import os
import stat

_CHUNK_BYTES = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_tree(source: int, target: int, *, top: bool = True) -> None:
    """Copy what is in the directory `source` into the directory `target`, owners and modes too.

    With `top` the target directory itself gets the owner and mode of the source. Sockets and
    devices are left out. Raises OSError.
    """
    for name in os.listdir(source):
        found = os.lstat(name, dir_fd=source)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            inner_source = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=source)
            inner_target = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=target)
            copy_tree(inner_source, inner_target)
            os.close(inner_source)
            os.close(inner_target)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            made = os.lstat(name, dir_fd=target)
            if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
                os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, target, name)
    if top:
        _copy_attributes(source, target)


def _copy_file(source: int, target: int, name: str) -> None:
    reader = os.open(name, _OPEN, dir_fd=source)
    writer = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target
    )
    try:
        while os.sendfile(writer, reader, None, _CHUNK_BYTES):
            pass
        _copy_attributes(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)


def _copy_attributes(source: int, target: int) -> None:
    found = os.fstat(source)
    give(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        if name.startswith(("user.", "security.capability")) and ".overlay." not in name:
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                # A volume's file system may know no attributes of this kind.
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def give(fd: int, uid: int, gid: int) -> None:
    """Change the owner of a file that has another; some file systems refuse even the same one."""
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(fd, uid, gid)
