"""`volume export` and `volume import`: what is in a volume as an archive, and back.

Files in a volume belong to any id of a container, so both work as root of the default user
namespace, in a forked child.
"""

import os

from rootless.errors import UsageError
from rootless.linux.userns import run_in_userns
from storage.volumes import VolumeRecord, mountpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless.host.paths import Host

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def export_volume(host: "Host", record: VolumeRecord, output: int) -> None:
    """Write the archive to a descriptor. Raises UsageError, HostError."""
    from storage.pack import END, Packer
    from storage.xattrs import read_allowed

    path = _place(host, record)
    read_allowed(path)  # xattr is loaded by its first use

    def pack(_: object) -> str:
        top = os.open(path, _DIRECTORY)
        try:
            for piece in Packer().tree(top, b"", top=False):
                _write_all(output, piece)
            _write_all(output, END)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    problem = run_in_userns(pack, host.id_maps())
    if problem:
        raise UsageError(f"export volume {record.name}: {problem}")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def import_volume(host: "Host", record: VolumeRecord, source: int) -> None:
    """Put the members of an archive, compressed or not, into a volume.

    No link in the volume is followed, and none of the archive leads out. Raises UsageError,
    InvalidLayer, StorageError, HostError.
    """
    from rootless.linux import syscalls
    from storage.inflate import inflate, peek
    from storage.place import Placer, Rules

    path = _place(host, record)
    resolve = (
        syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_BENEATH
    )

    def open_directory(top: int, name: bytes) -> int:
        return syscalls.openat2(top, os.fsdecode(name), _DIRECTORY, resolve=resolve)

    def place(_: object) -> str:
        with open(source, "rb", buffering=0, closefd=False) as file:
            compression, start = peek(file)
            chunks = inflate(start, compression)
            first = next(chunks, b"")
            if not first:
                return "the input is empty, not an archive"
            rules = Rules(keep_owners=True, overwrite=True)
            top = os.open(path, _DIRECTORY)
            Placer(top, rules, open_directory).place(_after(first, chunks))
        return ""

    problem = run_in_userns(place, host.id_maps())
    if problem:
        raise UsageError(f"import into volume {record.name}: {problem}")


def _after(first: bytes, rest: "Iterator[bytes]") -> "Iterator[bytes]":
    yield first
    yield from rest


def _place(host: "Host", record: VolumeRecord) -> str:
    if record.options.get("type") == "tmpfs":
        raise UsageError(
            f"volume {record.name} is a tmpfs: it has files only while a container runs",
            remedy="copy them with `rpod cp`",
        )
    return mountpoint(host.layout, record)
