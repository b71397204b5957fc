"""What becomes of a built stage: images in the store, lists of them, and --output.

`store_image` writes documents and names, `export` what --output asks for. Nothing is written where
the user looks before the build has succeeded.
"""

import json
import os
import time

from rootless.build.errors import BuildError
from rootless.build.layers import open_layers
from rootless.build.model import Built, Layer, Tree
from rootless.build.workplace import Workplace
from rootless.errors import UsageError
from storage.build.documents import BuiltImage, Documents, write_documents
from storage.build.layer_writing import LayerForm, write_layer
from storage.build.streams import MergedStream
from storage.images import ImageRecord, commit_image
from storage.layers import chain_ids, has_layer
from storage.oci.descriptor import Descriptor
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.tar_writer import AS_THEY_ARE, Times
from storage.unpacking import unpack_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOCAL, TAR, OCI, DOCKER, IMAGE, REGISTRY = "local", "tar", "oci", "docker", "image", "registry"
_KINDS = (LOCAL, TAR, OCI, DOCKER, IMAGE, REGISTRY)
_STDOUT = "-"
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"
_NO_SQUASH, _SQUASH_NEW, _SQUASH_ALL = "", "new", "all"


class Output(NamedTuple):
    """One --output; `destination` is a path, `-` for standard output, or empty."""

    kind: str
    destination: str = ""
    name: str = ""
    push: bool = False
    as_tar: bool = True


class ImageForm(NamedTuple):
    """How the image is written.

    `timestamp_s` is the time of the image, `times` are those of its files; `base_layers` counts
    the layers of the base image.
    `squash` and `squash_all` put the new layers, or all, into one.
    """

    docker: bool = False
    annotations: dict[str, str] = {}  # noqa: RUF012 - a record: never changed
    timestamp_s: int | None = None
    times: Times = AS_THEY_ARE
    squash: bool = False
    squash_all: bool = False
    base_layers: int = 0
    omit_history: bool = False


class StoredImage(NamedTuple):
    """An image that has been written; `names` in full."""

    record: ImageRecord
    documents: Documents
    platform: str


def parse_output(text: str) -> Output:
    """Read --output: a directory, `-`, or `type=...,dest=...`. Raises UsageError."""
    if text == _STDOUT:
        return Output(TAR, _STDOUT)
    if "=" not in text:
        return Output(LOCAL, text)
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--output {text[:200]}: {part[:60]!r} is not KEY=VALUE")
        fields[{"destination": "dest"}.get(key, key)] = value
    kind = fields.pop("type", "")
    if kind not in _KINDS:
        raise UsageError(
            f"--output {text[:200]}: unknown type {kind[:40]!r}", remedy=f"use {', '.join(_KINDS)}"
        )
    output = Output(
        kind,
        fields.pop("dest", ""),
        fields.pop("name", ""),
        fields.pop("push", "false") == "true" or kind == REGISTRY,
        fields.pop("tar", "true") != "false",
    )
    if fields:
        raise UsageError(f"--output {text[:200]}: unknown key {next(iter(fields))[:40]!r}")
    _check_output(output, text)
    return output


def _check_output(output: Output, text: str) -> None:
    if output.kind == LOCAL and output.destination in ("", _STDOUT):
        raise UsageError(f"--output {text[:200]}: a directory is missing", remedy="add dest=DIR")
    if output.kind in (TAR, OCI) and not output.destination:
        raise UsageError(
            f"--output {text[:200]}: a file is missing",
            remedy="add dest=FILE, or dest=- for standard output",
        )


def writes_to_stdout(output: Output) -> bool:
    """Tell whether standard output is taken by the result."""
    return output.destination == _STDOUT


def store_image(
    workplace: Workplace, built: Built, form: ImageForm, names: "Sequence[str]" = ()
) -> StoredImage:
    """Write the documents of an image and give it its names; a short one is a local one.

    Raises InvalidReference, BlobMissing, StoreUnusable, DiskFull.
    """
    full = [full_name(name) for name in names]
    squash = _SQUASH_ALL if form.squash_all else _SQUASH_NEW if form.squash else _NO_SQUASH
    if squash:
        built = _squashed(workplace, built, form, squash)
    _ensure_unpacked(workplace, built.layers)
    layout = workplace.layout
    documents = write_documents(layout, _image(built, form))
    record: ImageRecord | None = None
    chosen: list[str | None] = [*full] or [None]
    for name in chosen:
        record = commit_image(
            layout,
            manifest_digest=documents.manifest_digest,
            name=name,
            map_key=workplace.map_key,
        )
    assert record is not None
    return StoredImage(record, documents, built.platform)


def full_name(name: str) -> str:
    """Return a name to give in full; a short one is a local one. Raises InvalidReference."""
    return str(parse_reference(name, default_registry=LOCAL_REGISTRY))


def _image(built: Built, form: ImageForm) -> BuiltImage:
    system, architecture, variant = (*built.platform.split("/"), "")[:3]
    annotations = dict(form.annotations)
    if built.base_name:
        annotations.setdefault(_BASE_NAME, built.base_name)
    if built.base_digest:
        annotations.setdefault(_BASE_DIGEST, built.base_digest)
    return BuiltImage(
        system,
        architecture,
        variant,
        _created(built, form),
        built.author,
        built.config,
        tuple(Descriptor(layer.media_type, layer.digest, layer.size) for layer in built.layers),
        tuple(layer.diff_id for layer in built.layers),
        () if form.omit_history else built.history,
        annotations,
        form.docker,
    )


def _created(built: Built, form: ImageForm) -> str:
    """Return the time of the last step: an image of which all is cached is the same image."""
    if form.timestamp_s is None and built.history:
        created = built.history[-1].get("created")
        if isinstance(created, str) and created:
            return created
    return rfc3339(form.timestamp_s)


def rfc3339(moment_s: int | None) -> str:
    """Return a time in UTC as the image-spec writes it; None is now."""
    seconds = time.time() if moment_s is None else moment_s
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _ensure_unpacked(workplace: Workplace, layers: tuple[Layer, ...]) -> None:
    layout, key = workplace.layout, workplace.map_key
    diff_ids = tuple(layer.diff_id for layer in layers)
    if all(has_layer(layout, key, chain) for chain in chain_ids(diff_ids)):
        return
    blobs = tuple((layer.digest, layer.media_type) for layer in layers)
    workplace.run(lambda _: unpack_stored(layout, key, diff_ids, blobs, lambda event: None))


def _squashed(workplace: Workplace, built: Built, form: ImageForm, what: str) -> Built:
    """Return the image with its new layers, or all, as one."""
    kept = 0 if what == _SQUASH_ALL else form.base_layers
    if len(built.layers) - kept < 2:
        return built
    _ensure_unpacked(workplace, built.layers)
    layout, key = workplace.layout, workplace.map_key
    diff_ids = tuple(layer.diff_id for layer in built.layers)
    chains = chain_ids(diff_ids)[kept:]
    compression = LayerForm(same_everywhere=form.times.latest_s is not None)

    def work(_: object) -> object:
        tree = open_layers(workplace, Tree(key, chains))
        stream = MergedStream(tree, as_layer=kept > 0, times=form.times)
        written = write_layer(layout, key, diff_ids[:kept], stream.chunks(), compression)
        return list(written[:4])

    found = workplace.run(work)
    assert isinstance(found, list)
    history = _squashed_history(built.history, kept)
    return built._replace(layers=(*built.layers[:kept], Layer(*found)), history=history)


def _squashed_history(
    history: tuple[dict[str, object], ...], kept: int
) -> tuple[dict[str, object], ...]:
    """Return the history with one layer left behind the first `kept`: the last one."""
    positions = [number for number, step in enumerate(history) if not step.get("empty_layer")]
    gone = set(positions[kept:-1])
    return tuple(
        {**step, "empty_layer": True} if number in gone else step
        for number, step in enumerate(history)
    )


def write_iidfile(path: str, image_id: str) -> None:
    """Write the id of an image to a file, `sha256:` in front. Raises BuildError."""
    _write_text(path, f"sha256:{image_id}", "--iidfile")


def write_metadata(
    path: str, images: "Sequence[StoredImage]", record: ImageRecord, names: "Sequence[str]"
) -> None:
    """Write what BuildKit's --metadata-file has: digests, descriptor and names as JSON.

    `record` is that of the image, or of the list of the images. Raises BuildError.
    """
    found: dict[str, object] = {}
    size = record.size_bytes
    if not record.is_index:
        documents = images[-1].documents
        found["containerimage.config.digest"] = documents.config_digest
        size = documents.manifest_size
    found["containerimage.descriptor"] = {
        "mediaType": record.media_type,
        "digest": record.manifest_digest,
        "size": size,
    }
    found["containerimage.digest"] = record.manifest_digest
    if names:
        found["image.name"] = ",".join(full_name(name) for name in names)
    _write_text(path, json.dumps(found, indent=2) + "\n", "--metadata-file")


def _write_text(path: str, text: str, option: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BuildError(f"{option}: write {path}: {error.strerror}") from error


def check_files(*paths: str) -> None:
    """Refuse early what could not be written at the end of a long build. Raises UsageError."""
    for path in paths:
        directory = os.path.dirname(path) or "."
        if path and path != _STDOUT and not os.path.isdir(directory):
            raise UsageError(f"write {path}: there is no directory {directory}")
