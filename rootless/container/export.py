"""`export`: the root file system of a container as one archive, without what is mounted in it."""

import os

from rootless.container.inside import Inside
from rootless.errors import RootlessError
from rootless.linux import syscalls
from storage import event_log
from storage.pack import END, Packer
from storage.xattrs import read_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


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
    # A copy of the one mount: proc, sys, volumes are not below it.
    root = syscalls.open_tree(syscalls.AT_FDCWD, "/", syscalls.OPEN_TREE_CLONE)
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        for piece in packer.tree(top, b"", top=False):
            write_all(output, piece)
        write_all(output, END)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RootlessError(f"read the root of container {name}: {reason}") from error


def write_all(fd: int, data: bytes) -> None:
    """Write to a pipe or a file, however little it takes at once. Raises OSError."""
    while data:
        data = data[os.write(fd, data) :]
