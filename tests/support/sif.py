"""SIF files, as apptainer writes them, around a squashfs."""

import struct

_DESCRIPTORS_AT = 4096
_COUNT = 48
_DATA_AT = 32768
_DEFINITION, _PARTITION = 0x4001, 0x4004


def sif_of(squashfs: bytes, *, file_system: int = 1, role: int = 2) -> bytes:
    """Return a file with a definition and one partition; 1 is squashfs, 2 the primary system."""
    entry = struct.Struct("<i?III7q128s384s")
    definition = b"bootstrap: x\n"
    start = _DATA_AT + 4096
    table = entry.pack(
        _DEFINITION, True, 1, 0xF0000001, 0, _DATA_AT, len(definition), 4096, 0, 0, 0, 0, b"", b""
    )
    partition = struct.pack("<ii3s", file_system, role, b"02")
    table += entry.pack(
        _PARTITION, True, 2, 0xF0000001, 0, start, len(squashfs), len(squashfs), 0, 0, 0, 0,
        b"", partition,
    )  # fmt: skip
    head = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + b"01\0" + b"02\0"
    head += bytes(16) + struct.pack(
        "<8q", 0, 0, _COUNT - 2, _COUNT, _DESCRIPTORS_AT, _COUNT * entry.size, _DATA_AT, 0
    )
    return (
        (head.ljust(_DESCRIPTORS_AT, b"\0") + table).ljust(_DATA_AT, b"\0")
        + definition.ljust(4096, b"\0")
        + squashfs
    )
