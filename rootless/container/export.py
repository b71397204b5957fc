"""The root file system of a container as one archive, without what is mounted in it.

`export` writes all of it, `commit` only what has changed where no overlay keeps that apart.
"""

import os

from rootless.container.inside import Inside
from rootless.errors import RootlessError
from rootless.linux import syscalls
from storage import event_log
from storage.layer_diff import DELETED
from storage.pack import END, Packer
from storage.xattrs import read_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless.host.paths import Host

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def export_root(host: "Host", text: str, output: int) -> None:
    """Write the archive to a descriptor. Raises ContainerNotFound, RootlessError."""
    # xattr is loaded by its first use, which must not be inside.
    read_allowed("/")
    with Inside(host, text) as inside:
        name = inside.found.record.name
        inside.start(lambda: write_root(name, output, Packer())).result()
    event_log.container_event(host.layout.run_root, "export", record=inside.found.record)


def write_root(name: str, output: int, packer: Packer) -> None:
    """Pack the root directory, without what is mounted below it; runs inside.

    Raises RootlessError.
    """
    _write(name, output, packer.tree(_open_top(), b"", top=False))


def write_changes(
    name: str, output: int, packer: Packer, changes: "Sequence[tuple[str, bytes]]"
) -> None:
    """Pack a layer of what has changed: pairs of A, C or D and an absolute path; runs inside.

    Raises RootlessError.
    """
    _write(name, output, _changed(_open_top(), packer, changes))


def _open_top() -> int:
    # A copy of the one mount: proc, sys, volumes are not below it.
    root = syscalls.open_tree(syscalls.AT_FDCWD, "/", syscalls.OPEN_TREE_CLONE)
    return os.open(".", _DIRECTORY, dir_fd=root)


def _changed(top: int, packer: Packer, changes: "Sequence[tuple[str, bytes]]") -> "Iterator[bytes]":
    for kind, path in changes:
        name = path.lstrip(b"/")
        directory, _, base = name.rpartition(b"/")
        try:
            parent = os.open(directory or b".", _DIRECTORY, dir_fd=top)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone meanwhile; or with the directory that it was in
        try:
            if kind == DELETED:
                yield from packer.removed(parent, name)
            else:
                yield from packer.entry(parent, base, name)
        finally:
            os.close(parent)


def _write(name: str, output: int, pieces: "Iterator[bytes]") -> None:
    try:
        for piece in pieces:
            write_all(output, piece)
        write_all(output, END)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RootlessError(f"read the root of container {name}: {reason}") from error


def write_all(fd: int, data: bytes) -> None:
    """Write to a pipe or a file, however little it takes at once. Raises OSError."""
    while data:
        data = data[os.write(fd, data) :]
