"""The entries of an image's index with all their blobs, for an index of one's own."""

from storage.blobs import read_blob, write_blob
from storage.events import ignore
from storage.layout import Layout
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, as_object, get_list, parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import INDEX_TYPES
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.platform import Platform, choose_manifest
from storage.reference import Reference
from storage.registry.client import Document, RegistryClient
from storage.registry.fetch import Work, fetch_blob
from storage.registry.options import PullOptions
from storage.registry.signed import SignatureCheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.events import Events


def fetch_document(
    reference: Reference, *, options: PullOptions, environment: "Mapping[str, str]"
) -> Document:
    """Return a manifest or an index from a registry. Raises RegistryError, DigestMismatch."""
    client = RegistryClient(reference, options, environment)
    work = Work(options, ignore)
    return work.retried(lambda: client.get_manifest(reference.digest or reference.tag or "latest"))


def fetch_entries(
    layout: Layout,
    reference: Reference,
    *,
    every: bool,
    platform: Platform,
    options: PullOptions,
    events: "Events",
    environment: "Mapping[str, str]",
) -> list[dict[str, object]]:
    """Store an image of a registry, or `every` one of its index; return descriptors for an index.

    Nothing is unpacked. Raises PolicyRefused, RegistryError, DigestMismatch, InvalidDocument,
    NoMatchingPlatform.
    """
    client = RegistryClient(reference, options, environment)
    work = Work(options, events)
    where = str(reference)
    check = SignatureCheck(layout, reference, options, environment)
    wanted = reference.digest or reference.tag or "latest"
    document = work.retried(lambda: client.get_manifest(wanted))
    if document.media_type not in INDEX_TYPES:
        check(client, document.digest)
        return [_store(layout, client, work, document, {})]
    fields = as_object(parse_json(document.data, where), where)
    index = Index.from_json(fields, where)
    if every:
        # Attestations stand in an index for "unknown/unknown"; they are no images.
        digests = {
            one.digest
            for one in index.manifests
            if one.platform is None or one.platform.architecture != "unknown"
        }
    else:
        digests = {choose_manifest(index.manifests, platform, where).digest}
    found = []
    for raw in get_list(fields, "manifests", where):
        entry = as_object(raw, where)
        digest = str(entry.get("digest"))
        if digest in digests:
            below = work.retried(lambda digest=digest: client.get_manifest(digest))  # type: ignore[misc]
            check(client, digest)
            found.append(_store(layout, client, work, below, entry))
    return found


def _store(
    layout: Layout,
    client: RegistryClient,
    work: Work,
    document: Document,
    entry: dict[str, object],
) -> dict[str, object]:
    """Fetch the blobs of a manifest; return its descriptor, made when the index has none."""
    where = f"manifest {document.digest[:19]}"
    manifest = Manifest.from_json(parse_json(document.data, where), where)
    for blob in (manifest.config, *manifest.layers):
        fetch_blob(layout, client, blob, work)
    write_blob(layout, document.data)
    if entry:
        return entry
    place = f"configuration of {client.reference}"
    data = read_blob(layout, manifest.config.digest, DOCUMENT_LIMIT_BYTES)
    config = ImageConfig.from_json(parse_json(data, place), place)
    platform = {"architecture": config.architecture, "os": config.os}
    if config.variant:
        platform["variant"] = config.variant
    return {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": len(document.data),
        "platform": platform,
    }
