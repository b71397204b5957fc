"""Images in the store of podman, buildah and skopeo (containers/storage), to be taken over.

Its layers are unpacked trees; beside each lies what tar-split kept of the archive: headers and
padding as they were, and the names of the files whose bytes lie in the tree. Put together again
they give the layer byte for byte, so diff ids, and with the stored configuration the image's id,
stay.
Runs as root of the user namespace in which the tree was unpacked: its files have many owners.
"""

import base64
import json
import os
from collections.abc import Iterator

from storage.digest import is_digest
from storage.errors import ImageNotFound, InvalidArchive, from_os_error
from storage.inflate import inflate
from storage.oci.checks import as_object, get_strings, get_text, parse_json
from storage.record import NamedTuple
from storage.spool import Files, keep_member
from storage.tree import Tree

_CHUNK_BYTES = 1 << 20
_FILE, _SEGMENT = 1, 2
_LINE_LIMIT_BYTES = 4 << 20
_FILE_LIMIT_BYTES = 256 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIFFS = {"overlay": "overlay/{}/diff", "vfs": "vfs/dir/{}"}


class _Image(NamedTuple):
    image_id: str
    names: tuple[str, ...]
    layer: str


class PodmanStore(Files):
    """One image of such a store in the form of a docker archive; `wanted` is a name or an id."""

    def __init__(self, root: str, driver: str, names: tuple[str, ...], scratch: str) -> None:
        """`names` are what the image may be called, the best first. Raises ImageNotFound."""
        super().__init__(f"containers-storage of {root}")
        if driver not in _DIFFS:
            raise InvalidArchive(
                f"read {root}: the storage driver {driver} is not known",
                remedy="podman save IMAGE | rpod load",
            )
        self._root = root
        self._driver = driver
        image = self._find(names)
        layers = self._chain(image.layer)
        config = self._config(image.image_id)
        listed = []
        for number, layer in enumerate(layers):
            name = f"{number}.tar"
            self._members[name] = keep_member(self._archive(layer), f"{scratch}/{name}")
            listed.append(name)
        self._members["config.json"] = keep_member(iter([memoryview(config)]), f"{scratch}/config")
        tags = [name for name in image.names if "@" not in name]
        manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": listed}]
        data = memoryview(json.dumps(manifest).encode())
        self._members["manifest.json"] = keep_member(iter([data]), f"{scratch}/manifest")

    def _document(self, path: str) -> object:
        try:
            with open(path, "rb") as file:
                data = file.read(_FILE_LIMIT_BYTES)
            return json.loads(data)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise InvalidArchive(f"read {path}: {error}") from error

    def _find(self, names: tuple[str, ...]) -> _Image:
        path = f"{self._root}/{self._driver}-images/images.json"
        found = self._document(path)
        images = []
        for raw in found if isinstance(found, list) else ():
            fields = as_object(raw, path)
            image_id = get_text(fields, "id", path)
            if not is_digest(f"sha256:{image_id}"):
                raise InvalidArchive(f"{path}: {image_id[:80]!r} is no id")
            tags = get_strings(fields, "names", path) or ()
            images.append(_Image(image_id, tags, get_text(fields, "layer", path)))
        for name in names:
            for image in images:
                if name in image.names:
                    return image._replace(names=(name,))
        by_id = [
            one for one in images if len(names[-1]) >= 4 and one.image_id.startswith(names[-1])
        ]
        if len(by_id) == 1:
            return by_id[0]
        known = ", ".join(name for image in images for name in image.names) or "nothing"
        raise ImageNotFound(f"{self.where}: no image {names[-1]!r}; there is: {known[:500]}")

    def _chain(self, top: str) -> list[str]:
        """Return the ids of an image's layers, the lowest first."""
        path = f"{self._root}/{self._driver}-layers/layers.json"
        found = self._document(path)
        parents = {}
        for raw in found if isinstance(found, list) else ():
            fields = as_object(raw, path)
            parents[get_text(fields, "id", path)] = get_text(fields, "parent", path)
        chain: list[str] = []
        while top:
            if top not in parents or top in chain or "/" in top:
                raise InvalidArchive(f"{path}: the layer {top[:80]!r} is missing")
            chain.append(top)
            top = parents[top]
        return chain[::-1]

    def _config(self, image_id: str) -> bytes:
        name = base64.b64encode(f"sha256:{image_id}".encode()).decode()
        path = f"{self._root}/{self._driver}-images/{image_id}/={name}"
        try:
            with open(path, "rb") as file:
                return file.read(_LINE_LIMIT_BYTES)
        except OSError as error:
            raise from_os_error(f"read {path}", error) from error

    def _archive(self, layer: str) -> Iterator[memoryview]:
        """Yield the archive that a layer was unpacked from. Raises InvalidArchive."""
        path = f"{self._root}/{self._driver}-layers/{layer}.tar-split.gz"
        tree = Tree(f"{self._root}/{_DIFFS[self._driver].format(layer)}")
        try:
            with open(path, "rb", buffering=0) as source:
                for line in _lines(inflate(source, "gzip"), path):
                    yield from self._piece(tree, line, path)
        except OSError as error:
            raise from_os_error(f"read the layer {layer} of {self._root}", error) from error
        finally:
            tree.close()

    def _piece(self, tree: Tree, line: bytes, path: str) -> Iterator[memoryview]:
        fields = as_object(parse_json(line, path), path)
        kind, payload = fields.get("type"), fields.get("payload")
        if kind == _SEGMENT:
            yield memoryview(base64.b64decode(payload if isinstance(payload, str) else ""))
        elif kind == _FILE:
            size = fields.get("size", 0)
            if isinstance(size, int) and size:
                yield from _content(tree, _raw_name(fields, path), size)
        else:
            raise InvalidArchive(f"{path}: an entry of the kind {kind!r} is not known")


def _raw_name(fields: dict[str, object], path: str) -> bytes:
    raw = fields.get("name_raw")
    if isinstance(raw, str):
        return base64.b64decode(raw)
    return os.fsencode(get_text(fields, "name", path))


def _content(tree: Tree, name: bytes, size: int) -> Iterator[memoryview]:
    """Yield the bytes of a file; no link on the way is followed out of the tree."""
    parent, base = tree.split(name)
    with open(
        os.open(base, _OPEN, dir_fd=tree.directory(parent, make=False)), "rb", buffering=0
    ) as file:
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise InvalidArchive(f"the file {os.fsdecode(name)[:200]} of a layer is too short")
            left -= len(chunk)
            yield memoryview(chunk)


def _lines(chunks: Iterator[bytes], path: str) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        yield from (line for line in whole if line)
        if len(pending) > _LINE_LIMIT_BYTES:
            raise InvalidArchive(f"{path}: a line is too long")
    if pending:
        yield pending
