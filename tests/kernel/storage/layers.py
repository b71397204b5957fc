"""Layers with everything that a layer may contain, and archives of them."""

import hashlib
import io
import json
import struct
import tarfile
from typing import NamedTuple

MTIME = 1_600_000_000
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""Revision 2: cap_net_bind_service, effective and permitted."""


class Member(NamedTuple):
    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    xattrs: dict[str, bytes] | None = None


def directory(name: str, mode: int = 0o755, gid: int = 0) -> Member:
    return Member(name, kind=tarfile.DIRTYPE, mode=mode, gid=gid)


def symlink(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)


def hard_link(name: str, target: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Member:
    return Member(name, kind=tarfile.LNKTYPE, mode=mode, uid=uid, gid=gid, link=target)


LOWER = [
    directory("a"),
    Member("a/x", b"x"),
    Member("a/y", b"y"),
    directory("a/sub", 0o2775, 50),
    Member("a/sub/z", b"z"),
    directory("b"),
    Member("b/f", b"f"),
    Member("hl1", b"hardlinked", mode=0o640, uid=5, gid=6),
    hard_link("hl2", "hl1", 0o640, 5, 6),
    directory("bin"),
    Member("bin/su", b"su", mode=0o4755),
    Member("bin/sg", b"sg", mode=0o2755, gid=42),
    Member("bin/cap", b"cap", mode=0o755, xattrs={"security.capability": CAPABILITY}),
    Member("bin/attribute", b"x", xattrs={"user.foo": b"bar", "user.overlay.opaque": b"y"}),
    directory("n" * 150),
    Member("n" * 150 + "/" + "m" * 200, b"long", uid=33, gid=33),
    directory("usr"),
    directory("usr/lib"),
    Member("usr/lib/x", b"x"),
    symlink("lib", "usr/lib"),
    Member("lib/via", b"via"),
    symlink("absolute", "/etc/passwd"),
    directory("tmp", 0o1777),
    Member("pipe", kind=tarfile.FIFOTYPE, mode=0o622),
    Member("last", b"m", uid=65535, gid=65535),
    Member("dev/null", kind=tarfile.CHRTYPE),
    directory("locked", 0o555),
    Member("locked/in", b"in", mode=0),
    directory("gone"),
    directory("gone/deep"),
    Member("gone/deep/f", b"1"),
    directory("again"),
    Member("again/old", b"1"),
    Member("file2dir", b"1"),
    directory("dir2file"),
    Member("dir2file/k", b"1"),
]
MIDDLE = [
    directory("a"),
    Member("a/.wh.x"),
    directory("a/sub", 0o2775, 50),
    Member("a/sub/.wh..wh..opq"),
    Member("a/sub/new", b"new"),
    Member(".wh.gone"),
    directory("again"),
    Member("again/.wh..wh..opq"),
    Member("again/new", b"n"),
    directory("file2dir"),
    Member("file2dir/in", b"i"),
    Member("dir2file", b"file"),
    directory("usr"),
    directory("usr/lib"),
    Member("usr/lib/y", b"y"),
    directory("implied"),
    directory("implied/parent"),
    Member("implied/parent/file", b"q"),
]
UPPER = [directory("a"), Member("a/x", b"again"), directory("bin"), Member("bin/.wh.sg")]
BEYOND = [
    # What the specification allows and other tools refuse: a whiteout beside its successor, even
    # one that is only implied, and a hard link into a lower layer.
    directory("b"),
    Member(".wh.b"),
    Member("b/only", b"1"),
    Member(".wh.usr"),
    Member("usr/lib/only", b"1"),
    hard_link("hl3", "hl1"),
]


def layer(members: list[Member]) -> bytes:
    """Return a plain layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.mode, info.linkname = member.kind, member.mode, member.link
            info.uid, info.gid, info.mtime = member.uid, member.gid, MTIME
            info.size = len(member.data)
            info.devmajor, info.devminor = 1, 3
            info.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("latin-1")
                for name, value in (member.xattrs or {}).items()
            }
            archive.addfile(info, io.BytesIO(member.data))
    return out.getvalue()


def docker_archive(
    layers: list[bytes], name: str = "localhost/hard:1", config: dict[str, object] | None = None
) -> bytes:
    """Return an archive as docker save writes it."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config or {"Cmd": ["/bin/sh"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers],
        },
        "history": [{"created_by": "test"} for _ in layers],
    }
    data = json.dumps(document).encode()
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    files["config.json"] = data
    files["manifest.json"] = json.dumps(
        [{"Config": "config.json", "RepoTags": [name], "Layers": list(files)[: len(layers)]}]
    ).encode()
    return files_tar(files)


def files_tar(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
