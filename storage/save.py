"""Images into files: archives of docker, OCI archives, OCI image layouts, `dir:` directories.

Blobs leave the store byte for byte, so digests stay. Where docker cannot read a layer's
compression the layer is inflated. All blobs are opened before the first byte is written: an image
that is removed meanwhile is still saved, and no lock is held while a pipe is slow.
"""

import json
import os

from storage.blobs import open_blob
from storage.digest import digest_of
from storage.errors import InvalidArchive, from_os_error
from storage.events import BLOB_DONE, Event, ignore
from storage.files import Lock
from storage.images import ImageRecord
from storage.inflate import inflate
from storage.layout import Layout
from storage.oci.checks import parse_json
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    layer_compression,
)
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.record import NamedTuple
from storage.reference import is_reference, parse_reference
from storage.save_target import Part, check_directory, open_target, write_directory, write_tar
from storage.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.events import Events

DOCKER_ARCHIVE = "docker-archive"
OCI_ARCHIVE = "oci-archive"
OCI_DIR = "oci-dir"
DOCKER_DIR = "docker-dir"
PLAIN_DIR = "dir"
FORMATS = (DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIR, DOCKER_DIR, PLAIN_DIR)
DIRECTORY_FORMATS = (OCI_DIR, DOCKER_DIR, PLAIN_DIR)
_SINGLE = (DOCKER_DIR, PLAIN_DIR)

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_DIRECTORY_VERSION = b"Directory Transport Version: 1.1\n"
_DOCKER_LAYERS = {"none": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP}


class SavedImage(NamedTuple):
    """An image to save, and the names, in full, that it has in the archive."""

    record: ImageRecord
    names: tuple[str, ...]


def save_images(
    layout: Layout,
    images: "Sequence[SavedImage]",
    form: str,
    target: "str | int",
    events: "Events | None" = None,
) -> None:
    """Write images in one of FORMATS to a path, or to a descriptor (archives only).

    A file appears whole or not at all; a directory in OCI form keeps what is in it. Raises
    InvalidArchive, BlobMissing, StoreUnusable, DiskFull, BrokenPipeError.
    """
    if form in DIRECTORY_FORMATS:
        if form in _SINGLE and len(images) != 1:
            raise InvalidArchive(f"save {len(images)} images: a {form} holds exactly one")
        check_directory(str(target), "index.json" if form == OCI_DIR else "version")
    with Scratch(layout, "save") as scratch, _Blobs(layout, scratch.path) as blobs:
        with Lock(layout.lock("images"), shared=True):
            for image in images:
                blobs.hold(image.record)
        parts = _PARTS[form](blobs, images)
        _write(parts, form, target, events or ignore)


def _write(parts: list[Part], form: str, target: "str | int", events: "Events") -> None:
    def written(part: Part) -> None:
        if part.digest:
            events(Event(BLOB_DONE, part.digest, part.size, part.size))

    if form in DIRECTORY_FORMATS:
        write_directory(str(target), parts, written)
        return
    with open_target(target) as fd:
        write_tar(fd, parts, written)


class _Blobs:
    """Blobs of the store as parts of an archive; each is opened once, and closed at the end."""

    def __init__(self, layout: Layout, scratch: str) -> None:
        self._layout = layout
        self._scratch = scratch
        self._open: dict[str, Part] = {}

    def __enter__(self) -> "_Blobs":
        _allow_many_files()
        return self

    def __exit__(self, *failure: object) -> None:
        for part in self._open.values():
            os.close(part.fd)

    def hold(self, record: ImageRecord) -> None:
        """Open everything that an image needs. Raises BlobMissing, StoreUnusable."""
        documents = (record.manifest_digest, record.view_digest, record.config_digest)
        for digest in (*documents, *record.layer_digests):
            self.open(digest)

    def read(self, digest: str) -> bytes:
        """Return the bytes of a document."""
        part = self.open(digest)
        return os.pread(part.fd, part.size, 0)

    def open(self, digest: str) -> Part:
        """Return a blob, without a name yet. Raises BlobMissing."""
        if digest not in self._open:
            fd = open_blob(self._layout, digest)
            self._open[digest] = Part("", os.fstat(fd).st_size, fd=fd, digest=digest)
        return self._open[digest]

    def inflated(self, digest: str, media_type: str, diff_id: str) -> Part:
        """Return a layer's plain tar, which has its diff id as digest. Raises DiskFull."""
        if diff_id not in self._open:
            path = f"{self._scratch}/{diff_id.removeprefix('sha256:')}"
            try:
                with open(os.dup(self.open(digest).fd), "rb") as source, open(path, "xb") as plain:
                    for chunk in inflate(source, layer_compression(media_type)):
                        plain.write(chunk)
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise from_os_error(f"inflate layer {digest} to {path}", error) from error
            self._open[diff_id] = Part("", os.fstat(fd).st_size, fd=fd, digest=diff_id)
        return self._open[diff_id]

    def docker_layers(self, record: ImageRecord) -> list[tuple[Part, str]]:
        """Return each layer in a form that docker reads, with its media type."""
        found = []
        for digest, media_type, diff_id in zip(
            record.layer_digests, record.layer_media_types, record.diff_ids, strict=True
        ):
            compression = layer_compression(media_type)
            if compression in _DOCKER_LAYERS:
                found.append((self.open(digest), _DOCKER_LAYERS[compression]))
            else:
                found.append((self.inflated(digest, media_type, diff_id), DOCKER_LAYER))
        return found


def _allow_many_files() -> None:
    """Raise the soft limit of open files: every layer of every image is open at once."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _document(name: str, document: object) -> Part:
    data = json.dumps(document, separators=(",", ":")).encode()
    return Part(name, len(data), data=data)


def _docker_archive(blobs: _Blobs, images: "Sequence[SavedImage]") -> list[Part]:
    """Docker's image tarball, version 1.2; its list of contents comes first."""
    entries = []
    files: dict[str, Part] = {}
    for image in images:
        config = f"{image.record.image_id}.json"
        files[config] = blobs.open(image.record.config_digest)._replace(name=config)
        layers = []
        for part, media_type in blobs.docker_layers(image.record):
            suffix = "tar.gz" if media_type == DOCKER_LAYER_GZIP else "tar"
            layers.append(f"{part.digest.removeprefix('sha256:')}.{suffix}")
            files[layers[-1]] = part._replace(name=layers[-1])
        entries.append({"Config": config, "RepoTags": list(image.names), "Layers": layers})
    return [_document("manifest.json", entries), *files.values()]


def _oci_layout(blobs: _Blobs, images: "Sequence[SavedImage]") -> list[Part]:
    """OCI image-spec, image layout; index.json is last: a directory is complete when it is."""
    entries: list[dict[str, object]] = []
    files: dict[str, Part] = {}
    for image in images:
        record = image.record
        manifest = blobs.open(record.view_digest)
        for digest in (record.view_digest, record.config_digest, *record.layer_digests):
            name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
            files[name] = blobs.open(digest)._replace(name=name)
        kind = record.media_type if record.is_index else OCI_MANIFEST
        entry = Descriptor(kind, record.view_digest, manifest.size)
        entries += [
            entry._replace(annotations=_name_annotations(name)).to_json() for name in image.names
        ] or [entry.to_json()]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    head = Part("oci-layout", len(_OCI_LAYOUT), data=_OCI_LAYOUT)
    return [head, *files.values(), _document("index.json", index)]


def _name_annotations(name: str) -> dict[str, str]:
    """Return what says the name of an image; containerd's member has full names only."""
    is_full = is_reference(name) and str(parse_reference(name)) == name
    return {_REF_NAME: name, **({_FULL_NAME: name} if is_full else {})}


def _plain_dir(blobs: _Blobs, images: "Sequence[SavedImage]") -> list[Part]:
    """The `dir:` transport with the manifest and the blobs as they are stored."""
    record = images[0].record
    below = _manifests_of(blobs, record)
    named = {
        digest: blobs.open(digest)._replace(
            name=digest.removeprefix("sha256:") + (".manifest.json" if digest in below else "")
        )
        for digest in (*(() if record.is_index else (record.config_digest,)), *record.layer_digests)
    }
    version = Part("version", len(_DIRECTORY_VERSION), data=_DIRECTORY_VERSION)
    manifest = blobs.open(record.manifest_digest)._replace(name="manifest.json")
    return [version, *named.values(), manifest]


def _manifests_of(blobs: _Blobs, record: ImageRecord) -> frozenset[str]:
    """Return the manifests of an index, which the `dir:` transport names apart."""
    if not record.is_index:
        return frozenset()
    where = f"index {record.manifest_digest[:19]}"
    index = Index.from_json(parse_json(blobs.read(record.manifest_digest), where), where)
    return frozenset(entry.digest for entry in index.manifests)


def _docker_dir(blobs: _Blobs, images: "Sequence[SavedImage]") -> list[Part]:
    """The `dir:` transport of containers/image, with a docker manifest."""
    (image,) = images
    record = image.record
    layers = blobs.docker_layers(record)
    config = blobs.open(record.config_digest)
    files = [config, *(part for part, _ in layers)]
    is_docker = record.media_type == DOCKER_MANIFEST
    if is_docker and tuple(part.digest for part, _ in layers) == record.layer_digests:
        data = blobs.read(record.manifest_digest)
    else:
        where = f"manifest {record.manifest_digest[:19]}"
        known = Manifest.from_json(parse_json(blobs.read(record.manifest_digest), where), where)
        manifest = Manifest(
            DOCKER_MANIFEST,
            known.config._replace(media_type=DOCKER_CONFIG),
            tuple(Descriptor(kind, part.digest, part.size) for part, kind in layers),
            {},
        )
        data = json.dumps(manifest.to_json(), separators=(",", ":")).encode()
    named = {part.digest: part._replace(name=part.digest.removeprefix("sha256:")) for part in files}
    version = Part("version", len(_DIRECTORY_VERSION), data=_DIRECTORY_VERSION)
    return [
        version,
        *named.values(),
        Part("manifest.json", len(data), data=data, digest=digest_of(data)),
    ]


_PARTS = {
    DOCKER_ARCHIVE: _docker_archive,
    OCI_ARCHIVE: _oci_layout,
    OCI_DIR: _oci_layout,
    DOCKER_DIR: _docker_dir,
    PLAIN_DIR: _plain_dir,
}
