"""Pushing an image: its blobs as they are stored, side by side, then the manifest byte for byte."""

import os
import threading
from queue import Empty, SimpleQueue

from storage.blobs import read_blob
from storage.errors import RegistryProtocolError
from storage.events import ignore
from storage.images import ImageRecord, describe_image, list_images
from storage.layout import Layout
from storage.lists import describe_list
from storage.oci.checks import as_object, parse_json
from storage.oci.descriptor import INDEX_TYPES, Descriptor
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.reference import Reference, parse_reference
from storage.registry.client import RegistryClient
from storage.registry.fetch import Cancelled, Work
from storage.registry.options import PullOptions
from storage.registry.upload import Upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.events import Events


def push_image(
    layout: Layout,
    record: ImageRecord,
    reference: Reference,
    *,
    options: PullOptions | None = None,
    events: "Events" = ignore,
    environment: "Mapping[str, str] | None" = None,
) -> str:
    """Send an image to a registry under a name; return the digest that it has there.

    Raises RegistryError, BlobMissing, InvalidDocument.
    """
    options = options or PullOptions()
    environment = os.environ if environment is None else environment
    work = Work(options, events)
    client = RegistryClient(reference, options, environment, actions="pull,push")
    where = f"manifest of {reference}"
    data = read_blob(layout, record.manifest_digest)
    manifest = Manifest.from_json(parse_json(data, where), where)
    try:
        _greet(client, work)
        _send_blobs(layout, client, work, manifest)
        return _put_manifest(client, work, record, data)
    finally:
        work.cancelled.set()


def push_list(
    layout: Layout,
    record: ImageRecord,
    reference: Reference,
    *,
    images: bool = True,
    options: PullOptions | None = None,
    events: "Events" = ignore,
    environment: "Mapping[str, str] | None" = None,
) -> str:
    """Send an index, and before it its `images`; return the digest that it has there.

    Raises RegistryError, BlobMissing, InvalidDocument.
    """
    options = options or PullOptions()
    environment = os.environ if environment is None else environment
    where = f"index of {reference}"
    data = read_blob(layout, record.manifest_digest)
    fields = as_object(parse_json(data, where), where)
    if images:
        for entry in Index.from_json(fields, where).manifests:
            nested = entry.media_type in INDEX_TYPES
            describe = describe_list if nested else describe_image
            send = push_list if nested else push_image
            send(
                layout,
                describe(layout, entry.digest),
                reference._replace(tag=None, digest=entry.digest),
                options=options,
                events=events,
                environment=environment,
            )
    client = RegistryClient(reference, options, environment, actions="pull,push")
    return _put_manifest(client, Work(options, events), record, data)


def _target(reference: Reference) -> str:
    return reference.digest or reference.tag or "latest"


def _greet(client: RegistryClient, work: Work) -> None:
    """Find out how to speak to the registry, and whether we may write, before all threads do."""
    doing = f"push {client.reference}"

    def ask() -> None:
        path = f"manifests/{_target(client.reference)}"
        with client.exchange("HEAD", path, doing) as answer:
            client.check(answer, doing, 200, 404)
            answer.release()

    work.retried(ask)


def _send_blobs(layout: Layout, client: RegistryClient, work: Work, manifest: Manifest) -> None:
    """Send the blobs in threads, the largest first; the first error ends all."""
    wanted = {blob.digest: blob for blob in (manifest.config, *manifest.layers) if _is_sent(blob)}
    origins = _origins(layout, client.reference, wanted)
    tasks: SimpleQueue[Descriptor] = SimpleQueue()
    for blob in sorted(wanted.values(), key=lambda one: -one.size):
        tasks.put(blob)
    failures: list[BaseException] = []

    def take() -> None:
        try:
            while True:
                blob = tasks.get_nowait()
                Upload(layout, client, blob, work, origins.get(blob.digest, ())).run()
        except Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - top of a thread: raised below
            failures.append(error)
            work.cancelled.set()

    count = min(len(wanted), work.options.max_concurrent)
    threads = [threading.Thread(target=take, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        work.cancelled.set()
        raise
    if failures:
        raise next((one for one in failures if not isinstance(one, Cancelled)), failures[0])


def _is_sent(blob: Descriptor) -> bool:
    """Tell whether a registry has to have a blob: not what is fetched from elsewhere."""
    return not (
        blob.urls and ("nondistributable" in blob.media_type or "foreign" in blob.media_type)
    )


def _origins(
    layout: Layout, target: Reference, wanted: dict[str, Descriptor]
) -> dict[str, tuple[str, ...]]:
    """Return, for each digest, the repositories of the same registry whose images have it.

    A name in the store is a hint only: a registry that knows better lets us upload.
    """
    found: dict[str, tuple[str, ...]] = {}
    for record in list_images(layout):
        names = [parse_reference(name) for name in record.names]
        repositories = dict.fromkeys(
            one.repository
            for one in names
            if one.registry == target.registry and one.repository != target.repository
        )
        if not repositories:
            continue
        for digest in (record.config_digest, *record.layer_digests):
            if digest in wanted:
                known = found.get(digest, ())
                found[digest] = tuple(dict.fromkeys((*known, *repositories)))
    return found


def _put_manifest(client: RegistryClient, work: Work, record: ImageRecord, data: bytes) -> str:
    doing = f"push {client.reference}"
    headers = {"Content-Type": record.media_type, "Content-Length": str(len(data))}

    def put() -> None:
        path = f"manifests/{_target(client.reference)}"
        with client.exchange("PUT", path, doing, headers=headers, body=data) as answer:
            client.check(answer, doing, 201, 202)
            answer.release()
            there = answer.headers.get("Docker-Content-Digest", record.manifest_digest)
        if there != record.manifest_digest:
            raise RegistryProtocolError(
                f"{doing}: the registry has changed the manifest: it has another digest now",
                remedy="its images cannot be named by digest; tell who runs it",
            )

    work.retried(put)
    return record.manifest_digest
