"""OCI image-spec, descriptor; and the media types of both families."""

from storage.digest import check_digest
from storage.errors import InvalidDocument
from storage.oci.checks import (
    as_object,
    get_object,
    get_size,
    get_string_map,
    get_strings,
    get_text,
)
from storage.record import NamedTuple

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)


def layer_compression(media_type: str) -> str:
    """Return "none", "gzip", "zstd", or "" for a type that is not a layer that can be unpacked.

    Non-distributable ("foreign") layers count like their ordinary counterparts.
    """
    plain = media_type.replace("nondistributable.", "").replace("foreign.", "")
    if plain in (OCI_LAYER, DOCKER_LAYER):
        return "none"
    if plain in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP):
        return "gzip"
    if plain in (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD):
        return "zstd"
    return ""


class DescriptorPlatform(NamedTuple):
    """What an index entry runs on; empty strings where the index does not say."""

    os: str
    architecture: str
    variant: str
    os_version: str = ""


class Descriptor(NamedTuple):
    """A typed, digested, sized pointer to a blob."""

    media_type: str
    digest: str
    size: int
    platform: DescriptorPlatform | None = None
    annotations: dict[str, str] | None = None
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, raw: object, where: str) -> "Descriptor":
        """Check a descriptor. Raises InvalidDocument."""
        fields = as_object(raw, where)
        platform = None
        if fields.get("platform") is not None:
            place = f"{where}.platform"
            entry = get_object(fields, "platform", where)
            platform = DescriptorPlatform(
                get_text(entry, "os", place),
                get_text(entry, "architecture", place),
                get_text(entry, "variant", place),
                get_text(entry, "os.version", place),
            )
        return cls(
            get_text(fields, "mediaType", where),
            check_digest(fields.get("digest"), f"{where}.digest"),
            get_size(fields, "size", where),
            platform,
            get_string_map(fields, "annotations", where) or None,
            get_strings(fields, "urls", where) or (),
        )

    def to_json(self) -> dict[str, object]:
        """Return the descriptor as a JSON object, absent members left out."""
        found: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.urls:
            found["urls"] = list(self.urls)
        if self.annotations:
            found["annotations"] = self.annotations
        if self.platform is not None:
            platform = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            if self.platform.os_version:
                platform["os.version"] = self.platform.os_version
            found["platform"] = platform
        return found


def check_schema_version(fields: dict[str, object], where: str) -> None:
    """Accept only schemaVersion 2. Raises InvalidDocument."""
    version = fields.get("schemaVersion")
    if version == 1 and not isinstance(version, bool):
        raise InvalidDocument(
            f"{where}: docker schema 1 manifests are not supported",
            remedy="push the image again with a current tool, which writes schema 2 or OCI",
        )
    if version != 2 or isinstance(version, bool):
        raise InvalidDocument(f"{where}.schemaVersion: 2 is expected, found {version!r:.40}")


def check_one_meaning(fields: dict[str, object], where: str) -> None:
    """Refuse what some tools read as an index, others as a manifest. Raises InvalidDocument.

    OCI image-spec, manifest, "mediaType"; CVE-2021-41190.
    """
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise InvalidDocument(f"{where}: it is an index and a manifest at once")
