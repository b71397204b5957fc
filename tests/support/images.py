"""Images for tests, made from the host's static busybox; nothing is downloaded."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from typing import NamedTuple

BUSYBOX = "/bin/busybox"
NAME = "localhost/rpod-test:latest"
_APPLETS = """
ash awk base64 basename cat chgrp chmod chown cp cut date dd df dirname du echo env expr false find
getopt grep gzip head hostname id ifconfig ip kill ln ls md5sum mkdir mkfifo mknod mktemp more
mount mv nc nslookup od ping printf ps pwd readlink realpath rm rmdir route sed seq
setsid sh sha256sum sleep sort stat stty su sync tail tar tee test time timeout top touch tr
true tty umount uname uniq unshare vi wc wget which whoami xargs yes
"""
APPLETS = tuple(_APPLETS.split())
PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = """root:x:0:
daemon:x:1:
audio:x:29:alice
alice:x:1000:
nogroup:x:65534:
"""


class File(NamedTuple):
    """One entry of a made tar: a regular file unless `kind` says otherwise."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    uid: int = 0
    gid: int = 0


def directory(name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> File:
    return File(name, mode=mode, kind=tarfile.DIRTYPE, uid=uid, gid=gid)


def symlink(name: str, target: str) -> File:
    return File(name, mode=0o777, kind=tarfile.SYMTYPE, link=target)


def tar(files: Iterable[File]) -> bytes:
    """Return a plain tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.type = file.kind
            entry.mode = file.mode
            entry.linkname = file.link
            entry.uid, entry.gid = file.uid, file.gid
            entry.mtime = 1_700_000_000
            entry.size = len(file.data)
            archive.addfile(entry, io.BytesIO(file.data))
    return out.getvalue()


def busybox_files() -> list[File]:
    """Return a small but ordinary root file system: busybox, accounts, the usual directories."""
    with open(BUSYBOX, "rb") as source:
        busybox = source.read()
    files = [directory(name) for name in ("bin", "etc", "home", "usr", "usr/bin", "var", "srv")]
    files += [directory("root", 0o700), directory("home/alice", 0o755, 1000, 1000)]
    files += [directory("tmp", 0o1777), directory("proc"), directory("sys"), directory("dev")]
    files.append(File("bin/busybox", busybox, 0o755))
    files += [symlink(f"bin/{name}", "busybox") for name in APPLETS]
    files.append(symlink("usr/bin/env", "/bin/busybox"))
    files += [File("etc/passwd", PASSWD.encode()), File("etc/group", GROUP.encode())]
    files.append(File("etc/not-executable", b"#!/bin/sh\necho no\n", 0o644))
    files.append(File("bin/bad-interpreter", b"#!/nowhere/sh\n", 0o755))
    files.append(File("home/alice/notes", b"of alice\n", 0o640, uid=1000, gid=1000))
    return files


def docker_archive(
    layers: Iterable[bytes],
    config: Mapping[str, object],
    name: str = NAME,
    *,
    compress: bool = False,
) -> bytes:
    """Return what `docker save` writes: layers, a config, manifest.json."""
    files: list[File] = []
    diff_ids: list[str] = []
    layer_names: list[str] = []
    for number, layer in enumerate(layers):
        diff_ids.append("sha256:" + hashlib.sha256(layer).hexdigest())
        layer_names.append(f"{number}/layer.tar")
        files.append(File(layer_names[-1], gzip.compress(layer, 1) if compress else layer))
    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(len(diff_ids))],
    }
    raw = json.dumps(document).encode()
    config_name = hashlib.sha256(raw).hexdigest() + ".json"
    files.append(File(config_name, raw))
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]
    files.append(File("manifest.json", json.dumps(manifest).encode()))
    return tar(files)


def busybox_archive() -> bytes:
    """Return the docker-archive of the image that the system tests run."""
    config = {
        "Cmd": ["sh"],
        "Env": ["PATH=/usr/bin:/bin", "FROM_IMAGE=yes"],
        "Labels": {"made.for": "tests"},
        "WorkingDir": "/",
    }
    return docker_archive([tar(busybox_files())], config)
