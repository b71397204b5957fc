"""Copy the merged tree of an image's layers, for hosts that can mount no overlay.

Runs as root of the user namespace of the layers' id map. The layers were unpacked by
`storage.unpack`, so only whiteouts and opaque marks that it made count as such.
"""

import os
import stat
from collections.abc import Iterable

from storage.errors import from_os_error
from storage.layout import Layout
from storage.links import copy_content
from storage.remove import remove_tree
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX
from storage.xattrs import copy_all, is_opaque

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def flatten(layout: Layout, map_key: str, chain_ids: tuple[str, ...], target: str) -> None:
    """Copy layers, the lowest first, into the empty directory `target`.

    Raises StoreUnusable, DiskFull.
    """
    flatten_directories((layout.layer_diff(map_key, one) for one in chain_ids), target)


def flatten_directories(layers: Iterable[str], target: str) -> None:
    """Copy unpacked layers, the lowest first. Raises StoreUnusable, DiskFull."""
    try:
        for layer in layers:
            _Copy(layer, target).run()
    except OSError as error:
        raise from_os_error(f"copy the image's layers to {target}", error) from error


class _Copy:
    """Lays one layer over the tree so far."""

    def __init__(self, layer: str, target: str) -> None:
        self._layer = layer
        self._target = target
        self._links: dict[int, bytes] = {}

    def run(self) -> None:
        """Copy everything. Raises OSError."""
        todo = [b""]
        directories: list[bytes] = []
        while todo:
            directory = todo.pop()
            directories.append(directory)
            source = self._open(self._layer, directory)
            there = self._open(self._target, directory)
            try:
                names = [os.fsencode(name) for name in os.listdir(source)]
                if is_opaque(source) or OPAQUE_FILE in names:
                    for old in os.listdir(there):
                        remove_tree(f"/proc/self/fd/{there}/{old}")
                for name in names:
                    if name != OPAQUE_FILE and self._one(source, there, name, directory):
                        todo.append(directory + name + b"/")
            finally:
                os.close(source)
                os.close(there)
        for directory in reversed(directories):
            self._dress_directory(directory)

    def _open(self, root: str, directory: bytes) -> int:
        return os.open(os.path.join(os.fsencode(root), directory), _OPEN_DIRECTORY)

    def _one(self, source: int, there: int, name: bytes, directory: bytes) -> bool:
        """Copy one entry; True for a directory, whose content is to be copied, too."""
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if name.startswith(WHITEOUT_PREFIX) or (kind == stat.S_IFCHR and found.st_rdev == 0):
            remove_tree(f"/proc/self/fd/{there}/{os.fsdecode(name.removeprefix(WHITEOUT_PREFIX))}")
            return False
        if kind == stat.S_IFDIR:
            self._make_directory(there, name)
            return True
        remove_tree(f"/proc/self/fd/{there}/{os.fsdecode(name)}")
        if found.st_nlink > 1 and kind == stat.S_IFREG:
            first = self._links.setdefault(found.st_ino, directory + name)
            if first != directory + name:
                path = os.path.join(os.fsencode(self._target), first)
                os.link(path, name, dst_dir_fd=there, follow_symlinks=False)
                return False
        self._copy(source, there, name, found)
        return False

    def _make_directory(self, there: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=there)
        except FileExistsError:
            mode = os.stat(name, dir_fd=there, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=there)
                os.mkdir(name, 0o700, dir_fd=there)

    def _copy(self, source: int, there: int, name: bytes, found: os.stat_result) -> None:
        kind = stat.S_IFMT(found.st_mode)
        text = os.fsdecode(name)
        if kind == stat.S_IFREG:
            old = os.open(name, _OPEN_FILE, dir_fd=source)
            try:
                new = os.open(name, _CREATE, 0o600, dir_fd=there)
                try:
                    copy_content(old, new, found)
                finally:
                    os.close(new)
            finally:
                os.close(old)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=there)
        elif kind == stat.S_IFIFO:
            os.mkfifo(name, 0o600, dir_fd=there)
        else:
            return
        os.chown(name, found.st_uid, found.st_gid, dir_fd=there, follow_symlinks=False)
        if kind == stat.S_IFIFO:
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=there)
        copy_all(f"/proc/self/fd/{source}/{text}", f"/proc/self/fd/{there}/{text}")
        times = (found.st_atime_ns, found.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=there, follow_symlinks=False)

    def _dress_directory(self, directory: bytes) -> None:
        source = self._open(self._layer, directory)
        there = self._open(self._target, directory)
        try:
            found = os.fstat(source)
            os.chown(there, found.st_uid, found.st_gid)
            os.chmod(there, stat.S_IMODE(found.st_mode))
            copy_all(source, there)
            os.utime(there, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(source)
            os.close(there)
