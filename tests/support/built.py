"""What a build has written, read back from an archive of its output."""

import json
import os
import tarfile


def layers_of(archive: str) -> list[dict[str, tuple[object, ...]]]:
    """Return what each layer of an archive has: names with kind, mode, owner, link and content."""
    found = []
    with tarfile.open(archive) as outer:

        def read(name: str) -> bytes:
            member = outer.extractfile(name)
            assert member is not None
            return member.read()

        def blob(digest: str) -> str:
            return "blobs/" + digest.replace(":", "/")

        index = json.loads(read("index.json"))
        manifest = json.loads(read(blob(index["manifests"][0]["digest"])))
        for layer in manifest["layers"]:
            member = outer.extractfile(blob(layer["digest"]))
            entries: dict[str, tuple[object, ...]] = {}
            with tarfile.open(fileobj=member, mode="r:*") as inner:
                for one in inner:
                    data = inner.extractfile(one) if one.isreg() else None
                    name = one.name.removeprefix("./") or "."
                    content = data.read() if data is not None else b""
                    white = os.path.basename(name).startswith(".wh.")
                    mode = 0 if white else one.mode
                    owner = (0, 0) if white else (one.uid, one.gid)
                    assert name not in entries
                    entries[name] = (one.type, mode, *owner, one.linkname, content)
            found.append(entries)
    return found
