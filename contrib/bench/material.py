"""Images for measurements: made here once and kept in a cache directory, nothing is downloaded."""

import gzip
import hashlib
import json
import os
import random
import subprocess
import tempfile

from tests.support import images
from tests.support.images import File, directory

BIG_LAYERS = 10
BIG_FILES = 15_000
BIG_BYTES = 300_000_000
SMALL = "rpod-bench/small:1"
BIG = "rpod-bench/big:1"


def cache_directory() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(base, "rpod-bench")
    os.makedirs(path, exist_ok=True)
    return path


def _big_layer(number: int) -> list[File]:
    """One of ten layers: many small files, some large ones; half text, half incompressible."""
    random_source = random.Random(number)
    words = [random_source.randbytes(5).hex() for _ in range(2000)]
    count = BIG_FILES // BIG_LAYERS
    share = BIG_BYTES // BIG_LAYERS // count
    files = [directory(f"usr/share/l{number}")]
    for index in range(count):
        if index % 50 == 0:
            files.append(directory(f"usr/share/l{number}/d{index // 50}"))
        size = share // 4 if index % 8 else share * 25 // 4
        if index % 2:
            data = random_source.randbytes(size)
        else:
            text = " ".join(random_source.choices(words, k=min(size // 11 + 1, 4000)))
            data = (text.encode() * (size // len(text) + 1))[:size]
        name = f"usr/share/l{number}/d{index // 50}/file{index}"
        files.append(File(name, data, uid=number, gid=number))
    return files


def _blob(layout: str, data: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(layout, "blobs/sha256", digest), "wb") as out:
        out.write(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def big_layout() -> str:
    """Return an OCI layout with the large image, made on first use (about a minute)."""
    final = os.path.join(cache_directory(), f"big-{BIG_LAYERS}-{BIG_FILES}-{BIG_BYTES}")
    if os.path.isdir(final):
        return final
    print("making the 300 MB image (once) ...", flush=True)
    layout = tempfile.mkdtemp(dir=cache_directory())
    os.makedirs(os.path.join(layout, "blobs/sha256"))
    layers, diff_ids = [], []
    kind = "application/vnd.oci.image."
    for number in range(BIG_LAYERS):
        files = _big_layer(number)
        plain = images.tar((images.busybox_files() if number == 0 else []) + files)
        diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        packed = gzip.compress(plain, 4, mtime=0)
        layers.append(_blob(layout, packed, kind + "layer.v1.tar+gzip"))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind + "manifest.v1+json",
        "config": _blob(layout, json.dumps(config).encode(), kind + "config.v1+json"),
        "layers": layers,
    }
    entry = _blob(layout, json.dumps(manifest).encode(), kind + "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "big"}
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as out:
        out.write('{"imageLayoutVersion": "1.0.0"}')
    with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as out:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, out)
    os.rename(layout, final)
    return final


def push_big(host: str) -> None:
    """Copy the large image to a registry."""
    command = ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false"]
    source = f"oci:{big_layout()}:big"
    subprocess.run([*command, source, f"docker://{host}/{BIG}"], check=True)
