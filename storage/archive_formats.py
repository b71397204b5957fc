"""What an image archive contains: manifest.json of docker archives, index.json of OCI layouts."""

import json

from storage.blobs import write_blob
from storage.errors import DigestMismatch, InvalidArchive, InvalidDocument, InvalidReference
from storage.images import check_layer_counts
from storage.inflate import detect
from storage.layout import Layout
from storage.oci.checks import as_object, get_strings, get_text, parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    Descriptor,
)
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.platform import Platform, choose_manifest, host_platform
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.spool import Files, Member, PlainDirectory, get_blob, read_blob_of

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_DOCKER_LAYERS = {"none": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD}
_NESTED_LIMIT = 4
_IMAGES_LIMIT = 1000


class ArchivedImage(NamedTuple):
    """An image of an archive; `manifest_bytes` are as stored, or made for a docker archive."""

    manifest_bytes: bytes
    manifest: Manifest
    config: ImageConfig
    members: tuple[Member, ...]
    names: tuple[str, ...]

    def write_manifest(self, layout: Layout) -> str:
        """Store the manifest and return its digest."""
        return write_blob(layout, self.manifest_bytes)


def read_images(files: Files, platform: Platform | None = None) -> list[ArchivedImage]:
    """Find the images of an archive, of an index the one for a platform (by default this host's).

    Raises InvalidArchive, InvalidDocument, DigestMismatch, NoMatchingPlatform.
    """
    platform = platform or host_platform()
    if files.find("index.json") is not None:
        return _read_oci(files, platform)
    if isinstance(files, PlainDirectory) and files.find("manifest.json") is not None:
        return [_read_directory(files, platform)]
    if files.find("manifest.json") is not None:
        return _read_docker(files)
    raise InvalidArchive(
        f"load {files.where}: it is no image archive, it has neither manifest.json nor index.json",
        remedy="for the files of a root file system use `rpod import`",
    )


def choose_image(images: list[ArchivedImage], wanted: str) -> ArchivedImage:
    """Return the image of a name, under that name only, or of `@N`. Raises InvalidArchive."""
    place = wanted.removeprefix("@")
    if place != wanted and place.isdigit() and int(place) < len(images):
        return images[int(place)]
    for image in images:
        for name in image.names if place == wanted else ():
            if name in _full_names(wanted):
                return image._replace(names=(name,))
    known = ", ".join(name for image in images for name in image.names) or "no name"
    raise InvalidArchive(f"there is no image {wanted[:200]!r} in it, only {known[:500]}")


def _full_names(text: str) -> tuple[str, ...]:
    return (str(parse_reference(text)), str(parse_reference(text, default_registry=LOCAL_REGISTRY)))


def _read_directory(files: PlainDirectory, platform: Platform) -> ArchivedImage:
    """The `dir` transport: manifest.json is the manifest, or an index with its manifests beside."""
    data = files.read(files.get("manifest.json"))
    where = f"{files.where}: manifest.json"
    document = parse_json(data, where)
    if as_object(document, where).get("mediaType") in INDEX_TYPES:
        index = Index.from_json(document, where)
        data = read_instance(files, choose_manifest(index.manifests, platform, where).digest)
        document = parse_json(data, where)
    return describe_archived(files, data, document, where)


def read_instance(files: Files, digest: str) -> bytes:
    """Return a manifest below an index. Raises InvalidArchive, DigestMismatch, InvalidDocument."""
    if not isinstance(files, PlainDirectory):
        return read_blob_of(files, digest)
    member = files.get(f"{digest.removeprefix('sha256:')}.manifest.json")
    if member.digest != digest:
        raise DigestMismatch(f"{files.where}: manifest {digest} has the digest {member.digest}")
    return files.read(member)


def _read_docker(files: Files) -> list[ArchivedImage]:
    """Docker's image tarball, version 1.2: manifest.json lists config, names and layers."""
    found = []
    for position, entry in enumerate(_docker_entries(files)):
        where = f"{files.where}: manifest.json[{position}]"
        fields = as_object(entry, where)
        config_member = files.get(get_text(fields, "Config", where))
        config = ImageConfig.from_json(
            parse_json(files.read(config_member), f"{where}.Config"), f"{where}.Config"
        )
        layers = [files.get(name) for name in get_strings(fields, "Layers", where) or ()]
        manifest = Manifest(
            DOCKER_MANIFEST,
            Descriptor(DOCKER_CONFIG, config_member.digest, config_member.size),
            tuple(_docker_layer(files, layer) for layer in layers),
            {},
        )
        check_layer_counts(manifest, config)
        data = json.dumps(manifest.to_json(), separators=(",", ":")).encode()
        names = _docker_names(fields, where)
        found.append(ArchivedImage(data, manifest, config, (config_member, *layers), names))
    return found


def _docker_entries(files: Files) -> list[object]:
    entries = files.document("manifest.json")
    if not isinstance(entries, list):
        raise InvalidArchive(f"load {files.where}: manifest.json is not a list of images")
    if len(entries) > _IMAGES_LIMIT:
        raise InvalidArchive(f"load {files.where}: more than {_IMAGES_LIMIT} images")
    return entries


def _docker_layer(files: Files, member: Member) -> Descriptor:
    with open(member.path, "rb") as file:
        compression = detect(file.read(6))
    if compression not in _DOCKER_LAYERS:
        raise InvalidArchive(f"load {files.where}: a layer compressed with {compression}")
    return Descriptor(_DOCKER_LAYERS[compression], member.digest, member.size)


def _docker_names(fields: dict[str, object], where: str) -> tuple[str, ...]:
    return tuple(str(_name(text, where)) for text in get_strings(fields, "RepoTags", where) or ())


def _name(text: str, where: str, default_registry: str = "docker.io") -> str:
    try:
        return str(parse_reference(text, default_registry=default_registry))
    except InvalidReference as error:
        raise InvalidDocument(f"{where}: {error.message}") from error


def _read_oci(files: Files, wanted: Platform) -> list[ArchivedImage]:
    """OCI image-spec, image layout: index.json names manifests, or indexes by platform."""
    where = f"{files.where}: index.json"
    index = Index.from_json(files.document("index.json"), where)
    if len(index.manifests) > _IMAGES_LIMIT:
        raise InvalidArchive(f"load {files.where}: more than {_IMAGES_LIMIT} images")
    docker_names = _names_by_config(files)
    found: dict[str, ArchivedImage] = {}
    for entry in _for_platform(index.manifests, wanted, where):
        image = _read_oci_image(files, entry, wanted)
        names = docker_names.get(image.manifest.config.digest) or entry_names(entry, where)
        known = found.get(entry.digest)
        if known is not None:
            names = (*known.names, *(name for name in names if name not in known.names))
        found[entry.digest] = image._replace(names=names)
    return list(found.values())


def _for_platform(
    entries: tuple[Descriptor, ...], wanted: Platform, where: str
) -> tuple[Descriptor, ...]:
    """Of one unnamed image for several platforms take the one for this host; else take all."""
    is_list = len(entries) > 1 and all(entry.platform is not None for entry in entries)
    if is_list and not any(entry_names(entry, where) for entry in entries):
        return (choose_manifest(entries, wanted, where),)
    return entries


def _read_oci_image(files: Files, entry: Descriptor, wanted: Platform) -> ArchivedImage:
    for _ in range(_NESTED_LIMIT):
        where = f"{files.where}: {entry.digest[:19]}"
        data = read_blob_of(files, entry.digest)
        document = parse_json(data, where)
        if entry.media_type not in INDEX_TYPES:
            break
        index = Index.from_json(document, where)
        entry = choose_manifest(index.manifests, wanted, where)
    else:
        raise InvalidArchive(f"load {files.where}: its indexes are nested too deeply")
    return describe_archived(files, data, document, where)


def describe_archived(files: Files, data: bytes, document: object, where: str) -> ArchivedImage:
    """Check a manifest, its configuration, and that the files of both are there."""
    manifest = Manifest.from_json(document, where)
    config_member = get_blob(files, manifest.config.digest)
    place = f"{files.where}: configuration {manifest.config.digest[:19]}"
    config = ImageConfig.from_json(parse_json(files.read(config_member), place), place)
    check_layer_counts(manifest, config)
    layers = tuple(get_blob(files, layer.digest) for layer in manifest.layers)
    return ArchivedImage(data, manifest, config, (config_member, *layers), ())


def entry_names(entry: Descriptor, where: str) -> tuple[str, ...]:
    """Return the names that an entry of index.json gives. Raises InvalidDocument."""
    annotations = entry.annotations or {}
    full = annotations.get(_FULL_NAME)
    if full:
        return (_name(full, where),)
    short = annotations.get(_REF_NAME)
    # A bare tag is all that the specification asks for; podman makes a local name of it, too.
    return (_name(short, where, LOCAL_REGISTRY),) if short else ()


def _names_by_config(files: Files) -> dict[str, tuple[str, ...]]:
    """Current docker writes both formats; only manifest.json has all names in full."""
    if files.find("manifest.json") is None:
        return {}
    found = {}
    for position, entry in enumerate(_docker_entries(files)):
        where = f"{files.where}: manifest.json[{position}]"
        fields = as_object(entry, where)
        config = files.find(get_text(fields, "Config", where))
        if config is not None:
            found[config.digest] = _docker_names(fields, where)
    return found
