"""What inspect shows for an image: podman's fields."""

from rootless.image_filters import repo_digests
from storage.blobs import read_blob
from storage.images import image_config
from storage.oci.checks import parse_json
from storage.oci.manifest import Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.images import ImageRecord
    from storage.layout import Layout


# What a template sees of settings that an image does not have: json leaves them out.
_ZERO_VALUES: dict[str, object] = {
    "User": "",
    "ExposedPorts": {},
    "Env": [],
    "Entrypoint": [],
    "Cmd": [],
    "Volumes": {},
    "WorkingDir": "",
    "Labels": {},
    "StopSignal": "",
    "OnBuild": [],
}


def with_zero_values(document: object) -> object:
    """Return the document of an image with all settings, for a template."""
    if not isinstance(document, dict) or not isinstance(document.get("Config"), dict):
        return document
    return {**document, "Config": {**_ZERO_VALUES, **document["Config"]}}


def image_document(layout: "Layout", record: "ImageRecord") -> dict[str, object]:
    """Describe an image. Raises BlobMissing, InvalidDocument."""
    config = image_config(layout, record)
    where = f"manifest {record.manifest_digest[:19]}"
    manifest = Manifest.from_json(
        parse_json(read_blob(layout, record.manifest_digest, verify=False), where), where
    )
    names = list(record.names)
    history = list(config.history)
    return {
        "Id": record.image_id,
        "Digest": record.manifest_digest,
        "RepoTags": names,
        "RepoDigests": repo_digests(record),
        "Parent": "",
        "Comment": str(history[-1].get("comment", "")) if history else "",
        "Created": record.created,
        "Config": config.raw.get("config") or {},
        "Version": str(config.raw.get("docker_version", "")),
        "Author": config.author,
        "Architecture": record.architecture,
        "Os": record.os,
        "Variant": record.variant,
        "Size": record.size_bytes,
        "VirtualSize": record.size_bytes,
        "GraphDriver": {"Name": "overlay", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": list(record.diff_ids)},
        "Labels": record.labels or None,
        "Annotations": manifest.annotations,
        "ManifestType": manifest.media_type,
        "User": config.user,
        "History": history,
        "NamesHistory": names,
        "HealthCheck": config.healthcheck,
    }
