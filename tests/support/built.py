"""What a build has written, read back from an archive of its output."""

import io
import json
import os
import tarfile
from typing import NamedTuple


class Image(NamedTuple):
    """An image of an OCI archive: its layers, the lowest first, and its configuration document.

    A layer's entries are (kind, mode, uid, gid, link, content) by name.
    """

    layers: list[dict[str, "Entry"]]
    document: dict[str, object]


Entry = tuple[bytes, int, int, int, str, bytes]


def layers_of(archive: str) -> list[dict[str, Entry]]:
    """Return what each layer of an archive has, the lowest first."""
    return image_of(archive).layers


def image_of(archive: str) -> Image:
    """Read the one image of an OCI or a docker archive."""
    with tarfile.open(archive) as outer:

        def read(name: str) -> bytes:
            member = outer.extractfile(name)
            assert member is not None
            return member.read()

        def blob(digest: str) -> bytes:
            return read("blobs/" + digest.replace(":", "/"))

        if "manifest.json" in outer.getnames() and "index.json" not in outer.getnames():
            (listed,) = json.loads(read("manifest.json"))
            layers = [_entries(read(name)) for name in listed["Layers"]]
            return Image(layers, json.loads(read(listed["Config"])))
        index = json.loads(read("index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        layers = [_entries(blob(layer["digest"])) for layer in manifest["layers"]]
        return Image(layers, json.loads(blob(manifest["config"]["digest"])))


def _entries(data: bytes) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as inner:
        for one in inner:
            file = inner.extractfile(one) if one.isreg() else None
            name = one.name.removeprefix("./").rstrip("/") or "."
            content = file.read() if file is not None else b""
            white = os.path.basename(name).startswith(".wh.")
            # buildah writes the kind of a file into its mode as well
            mode = 0 if white else one.mode & 0o7777
            owner = (0, 0) if white else (one.uid, one.gid)
            assert name not in entries
            entries[name] = (one.type, mode, *owner, one.linkname, content)
    return entries


def merged(layers: list[dict[str, Entry]]) -> dict[str, Entry]:
    """Return what a container would see of layers (OCI image-spec, layer: whiteouts)."""
    tree: dict[str, Entry] = {}
    for layer in layers:
        for name in layer:
            directory, _, base = name.rpartition("/")
            if base == ".wh..wh..opq":
                _remove(tree, directory, itself=False)
            elif base.startswith(".wh."):
                hidden = base.removeprefix(".wh.")
                _remove(tree, f"{directory}/{hidden}" if directory else hidden, itself=True)
        for name, entry in layer.items():
            if not os.path.basename(name).startswith(".wh."):
                if entry[0] != tarfile.DIRTYPE:
                    _remove(tree, name, itself=False)
                tree[name] = entry
    return tree


def _remove(tree: dict[str, Entry], path: str, *, itself: bool) -> None:
    for name in list(tree):
        if name.startswith(f"{path}/") or (itself and name == path):
            del tree[name]
