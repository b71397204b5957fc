"""Show a part of another root file system, or of a directory that is not trusted, in a container.

The part is looked up with openat2(RESOLVE_IN_ROOT): a link in it leads to no place outside of it.
"""

import os
import stat

from rootless.linux import syscalls as sc
from rootless.sandbox.mounts import BindMount
from rootless.sandbox.operations import Operation
from rootless.sandbox.root import Root
from rootless.sandbox.targets import open_inside, open_target

_RESOLVE = sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS
_CLONE = sc.OPEN_TREE_CLONE | sc.AT_EMPTY_PATH | sc.AT_RECURSIVE


class TreeMount(BindMount):
    """Bind a path of a directory, or of the root file system that is mounted over it first.

    What is written goes into that root's upper directory; a plain directory is for reading.
    """

    __slots__ = ("_directory_path", "_path", "_tree")

    def __init__(self, tree: Root | str, path: str, target: str, options: list[str]) -> None:
        super().__init__(path or "/", target, options)
        self._tree = tree if isinstance(tree, Root) else None
        self._directory_path = tree if isinstance(tree, str) else ""
        self._path = path or "/"

    def open(self) -> None:
        if self._tree is not None:
            self._tree.open()
            top = self._tree.mount()
        else:
            top = os.open(self._directory_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = sc.openat2(top, self._path, os.O_PATH, resolve=_RESOLVE)
        os.close(top)
        self._fd = sc.open_tree(found, "", _CLONE)
        self._directory = stat.S_ISDIR(os.fstat(found).st_mode)
        os.close(found)


class SecretFile(Operation):
    """A file that exists in the container's memory only; it is on no disk and in no layer."""

    __slots__ = ("_data", "_ids", "_mode", "_number", "target")

    def __init__(
        self, target: str, data: bytes, mode: int, ids: tuple[int, int], number: int
    ) -> None:
        self.target = target
        self._data = data
        self._mode = mode
        self._ids = ids
        self._number = number

    def describe(self) -> str:
        return f"put a secret on {self.target}"

    def execute(self) -> None:
        # /dev is a file system in memory; the name there goes at once, the mount keeps the file.
        directory = open_inside("/dev", os.O_RDONLY | os.O_DIRECTORY)
        name = f".secret-{self._number}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        data = self._data
        while data:
            data = data[os.write(fd, data) :]
        os.fchown(fd, *self._ids)
        os.fchmod(fd, self._mode)
        clone = sc.open_tree(fd, "", sc.OPEN_TREE_CLONE | sc.AT_EMPTY_PATH)
        target, _ = open_target(self.target, directory=False)
        sc.mount_setattr(clone, "", flags=sc.AT_EMPTY_PATH, set_attributes=sc.MOUNT_ATTR_RDONLY)
        sc.move_mount(clone, target)
        os.unlink(name, dir_fd=directory)
        for one in (clone, target, fd, directory):
            os.close(one)
