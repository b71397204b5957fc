"""Images that are one file: a squashfs, alone or as a partition of a SIF file.

squashfs 4.0: the superblock has the magic "hsqs", and at byte 40 how many bytes belong to it; what
follows them no reader looks at. There `rpod image squash` puts the image's configuration: the JSON,
its length in 8 bytes, and a magic. SIF (apptainer/sif, format version 01): a header of 128 bytes
behind a launch line of 32, and descriptors of 585 bytes for what the file has.
"""

import os

from storage.errors import InvalidArchive, from_os_error
from storage.record import NamedTuple

_MAGIC = b"hsqs"
_SUPERBLOCK_BYTES = 96
_TRAILER_MAGIC = b"rpod-config-1\n\0\0"
_TRAILER_BYTES = 8 + len(_TRAILER_MAGIC)
_CONFIG_LIMIT_BYTES = 4 << 20
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_HEADER_BYTES = 128
_SIF_DESCRIPTOR_BYTES = 585
_SIF_DESCRIPTORS_LIMIT = 4096
_SIF_PARTITION = 0x4004
_SIF_SQUASHFS = 1
_SIF_ENCRYPTED = 5
_SIF_SYSTEMS = (2, 1)  # the primary system partition before another one
_SIF_FILE_SYSTEMS = {2: "ext3", 3: "an archive", 4: "raw data", _SIF_ENCRYPTED: "encrypted"}
SUFFIXES = (".sqfs", ".sqsh", ".squashfs", ".sif", ".simg")


class SquashFile(NamedTuple):
    """A squashfs of `size_bytes` at `offset` of a file; `config` is empty where it has none.

    `identity` changes when the file is replaced or written to.
    """

    path: str
    offset: int
    size_bytes: int
    identity: str
    is_sif: bool
    config: bytes


def is_file_name(text: str) -> bool:
    """Tell whether the name of an image is that of a file: by its end, as no tag ends so."""
    return text.endswith(SUFFIXES) and ":" not in text.rpartition("/")[2]


def open_squash_file(path: str) -> tuple[int, SquashFile]:
    """Open and check a file; the descriptor is the caller's to close.

    Raises InvalidArchive when it is none, encrypted, or cut short; StoreUnusable.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(f"open the image {path}", error) from error
    try:
        return fd, _describe(fd, path)
    except OSError as error:
        os.close(fd)
        raise from_os_error(f"read the image {path}", error) from error
    except BaseException:
        os.close(fd)
        raise


def trailer(config: bytes) -> bytes:
    """Return what is written behind a squashfs so that it carries a configuration."""
    return config + len(config).to_bytes(8, "little") + _TRAILER_MAGIC


def _describe(fd: int, path: str) -> SquashFile:
    status = os.fstat(fd)
    head = os.pread(fd, _SIF_HEADER_BYTES, 0)
    is_sif = head[32:42] == _SIF_MAGIC
    offset = _sif_partition(fd, head, path) if is_sif else 0
    superblock = os.pread(fd, _SUPERBLOCK_BYTES, offset)
    if superblock[:4] != _MAGIC or len(superblock) < _SUPERBLOCK_BYTES:
        raise InvalidArchive(
            f"use {path} as an image: it is neither a squashfs nor a SIF file",
            remedy="rpod image squash IMAGE FILE.sqfs makes one; archives are for rpod load",
        )
    size = int.from_bytes(superblock[40:48], "little")
    if offset + size > status.st_size or size < _SUPERBLOCK_BYTES:
        raise InvalidArchive(
            f"use {path} as an image: it is cut short, {status.st_size} of {offset + size} bytes"
            " are there",
            remedy="copy or make it again",
        )
    identity = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{offset}"
    config = b"" if is_sif else _read_config(fd, size, status.st_size)
    return SquashFile(path, offset, size, identity, is_sif, config)


def _read_config(fd: int, used: int, size: int) -> bytes:
    end = os.pread(fd, _TRAILER_BYTES, max(size - _TRAILER_BYTES, 0))
    if not end.endswith(_TRAILER_MAGIC) or size < used + _TRAILER_BYTES:
        return b""
    length = int.from_bytes(end[:8], "little")
    start = size - _TRAILER_BYTES - length
    if length > _CONFIG_LIMIT_BYTES or start < used:
        return b""
    return os.pread(fd, length, start)


def _sif_partition(fd: int, head: bytes, path: str) -> int:
    """Return where the squashfs with the system lies. Raises InvalidArchive, OSError."""
    count, start = (int.from_bytes(head[at : at + 8], "little") for at in (88, 96))
    if len(head) < _SIF_HEADER_BYTES or not 0 <= count <= _SIF_DESCRIPTORS_LIMIT:
        raise InvalidArchive(f"use {path} as an image: its SIF header is damaged")
    table = os.pread(fd, count * _SIF_DESCRIPTOR_BYTES, min(start, (1 << 62) - 1))
    found: dict[int, tuple[int, int]] = {}
    for at in range(0, len(table) - _SIF_DESCRIPTOR_BYTES + 1, _SIF_DESCRIPTOR_BYTES):
        entry = table[at : at + _SIF_DESCRIPTOR_BYTES]
        if int.from_bytes(entry[:4], "little") == _SIF_PARTITION and entry[4]:
            kind, role = (int.from_bytes(entry[a : a + 4], "little") for a in (201, 205))
            found.setdefault(role, (kind, int.from_bytes(entry[17:25], "little")))
    for role in _SIF_SYSTEMS:
        if role in found:
            kind, offset = found[role]
            if kind == _SIF_SQUASHFS and offset < 1 << 62:
                return offset
            what = _SIF_FILE_SYSTEMS.get(kind, f"of kind {kind}")
            raise InvalidArchive(
                f"use {path} as an image: its system partition is {what}, not a squashfs",
                remedy="convert it with the program that made it",
            )
    raise InvalidArchive(f"use {path} as an image: the SIF file has no system partition")
