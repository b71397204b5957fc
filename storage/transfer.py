"""An image from one store to another over a pair of pipes; what is there is not sent again.

The sender writes one line of JSON, {"version": 1, "blobs": [...], "names": [...]}; the receiver
answers with {"missing": [...]}, and the sender with an OCI image layout as a tar archive in which
only those blobs are. Manifests go as they are stored, so digests stay.
"""

import json
import os

from storage.archive import load_files
from storage.blobs import has_blob, open_blob
from storage.digest import is_digest
from storage.errors import InvalidArchive, InvalidDocument
from storage.events import BLOB_DONE, BLOB_EXISTS, Event, ignore
from storage.files import Lock, make_store
from storage.images import ImageRecord
from storage.layout import Layout
from storage.limits import layer_limits
from storage.oci.checks import as_object, get_strings, parse_json
from storage.oci.descriptor import OCI_INDEX, Descriptor
from storage.save_target import Part, write_tar
from storage.scratch import Scratch
from storage.spool import Member, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.events import Events

_VERSION = 1
_LINE_LIMIT_BYTES = 1 << 20
_NAME = "io.containerd.image.name"
_BLOBS = "blobs/sha256/"


def send_image(
    layout: Layout,
    record: ImageRecord,
    names: tuple[str, ...],
    source: int,
    target: int,
    events: "Events" = ignore,
) -> None:
    """Send an image: answers come from the descriptor `source`, all else goes to `target`.

    Raises BlobMissing, InvalidDocument, InvalidArchive, BrokenPipeError.
    """
    digests = (record.manifest_digest, record.config_digest, *record.layer_digests)
    parts: dict[str, Part] = {}
    try:
        with Lock(layout.lock("images"), shared=True):
            for digest in digests:
                if digest not in parts:
                    fd = open_blob(layout, digest)
                    name = f"{_BLOBS}{digest.removeprefix('sha256:')}"
                    parts[digest] = Part(name, os.fstat(fd).st_size, fd=fd, digest=digest)
        offer = {"version": _VERSION, "blobs": list(parts), "names": list(names)}
        _write(target, offer)
        missing = get_strings(_read(source, "the answer of the other side"), "missing", "answer")
        for digest in parts.keys() - set(missing or ()):
            events(Event(BLOB_EXISTS, digest, parts[digest].size, parts[digest].size))
        chosen = [parts[digest] for digest in parts if digest in (missing or ())]
        entry = Descriptor(record.media_type, record.manifest_digest, parts[digests[0]].size)
        entries = [entry._replace(annotations={_NAME: name}).to_json() for name in names]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX,
                 "manifests": entries or [entry.to_json()]}  # fmt: skip
        data = json.dumps(index).encode()

        def written(part: Part) -> None:
            if part.digest:
                events(Event(BLOB_DONE, part.digest, part.size, part.size, "sent"))

        write_tar(target, [*chosen, Part("index.json", len(data), data=data)], written)
    finally:
        for part in parts.values():
            os.close(part.fd)


def receive_images(
    layout: Layout,
    map_key: str,
    source: int,
    target: int,
    *,
    events: "Events" = ignore,
    environment: "Mapping[str, str] | None" = None,
) -> list[ImageRecord]:
    """Take what `send_image` sends. Raises what `storage.archive.load_archive` raises."""
    make_store(layout)
    offer = _read(source, "what the other side offers")
    if offer.get("version") != _VERSION:
        raise InvalidArchive(
            "receive an image: the other side is a newer rpod", remedy="use rpod save and rpod load"
        )
    blobs = get_strings(offer, "blobs", "offer") or ()
    if not all(map(is_digest, blobs)):
        raise InvalidDocument("receive an image: what is offered is no digest")
    _write(target, {"missing": [digest for digest in blobs if not has_blob(layout, digest)]})
    with Scratch(layout, "load") as scratch, open(os.dup(source), "rb", buffering=0) as file:
        spool = _Completed("the other side", layout, frozenset(blobs))
        spool.fill(file, scratch.path, layer_limits(layout))
        return load_files(layout, spool, None, map_key, events=events, environment=environment)


class _Completed(Spool):
    """An archive of which some blobs are in the store: those that were offered, and no others."""

    def __init__(self, where: str, layout: Layout, offered: frozenset[str]) -> None:
        super().__init__(where)
        self._layout = layout
        self._offered = offered

    def find(self, name: str) -> Member | None:
        found = super().find(name)
        digest = f"sha256:{name.removeprefix(_BLOBS)}"
        if found is not None or digest not in self._offered or not has_blob(self._layout, digest):
            return found
        path = self._layout.blob(digest)
        return Member(path, os.stat(path).st_size, digest)


def _write(fd: int, document: dict[str, object]) -> None:
    view = memoryview(json.dumps(document).encode() + b"\n")
    while view:
        view = view[os.write(fd, view) :]


def _read(fd: int, where: str) -> dict[str, object]:
    """Read one line and not a byte more: what follows is for somebody else."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte or len(line) >= _LINE_LIMIT_BYTES:
            raise InvalidArchive(
                f"read {where}: it is no rpod that speaks"
                if line
                else f"read {where}: it has ended"
            )
        line += byte
    return as_object(parse_json(line, where), where)
