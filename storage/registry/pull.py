"""Pulling an image: manifest, platform, configuration, then the layers side by side.

Each layer passes once: network, digest, partial file, inflate, digest, unpack. Nothing is visible
under the image's name before all of it is there and checked.
"""

import os
import threading
from queue import Empty, SimpleQueue

from storage.blobs import adopt_blob, has_blob, open_blob, read_blob, write_blob
from storage.digest import is_digest
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    InvalidDocument,
    InvalidLayer,
    RegistryError,
)
from storage.events import BLOB_EXISTS, NOTE, UNPACK_DONE, Event, ignore
from storage.images import ImageRecord, check_layer_counts, commit_image, find_image
from storage.inflate import Source
from storage.layer_set import LayerSet
from storage.layout import Layout
from storage.names import name_target
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import INDEX_TYPES, Descriptor
from storage.oci.index import Index
from storage.oci.manifest import Manifest
from storage.platform import Platform, choose_manifest, host_platform
from storage.record import NamedTuple
from storage.reference import Reference
from storage.registry.client import Document, RegistryClient, read_document
from storage.registry.fetch import (
    BlobStream,
    Cancelled,
    Work,
    blob_lock,
    fetch_blob,
    stream_blob,
)
from storage.registry.options import PullOptions
from storage.scratch import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from storage.events import Events
    from storage.registry.signed import SignatureCheck

_COMMIT_ATTEMPTS = 3


def pull_image(
    layout: Layout,
    reference: Reference,
    *,
    map_key: str,
    platform: Platform | None = None,
    options: PullOptions | None = None,
    events: "Events" = ignore,
    environment: "Mapping[str, str] | None" = None,
    source: Reference | None = None,
) -> ImageRecord:
    """Bring an image into the store and give it its name; runs as root of the user namespace.

    `source` is its name where it is fetched from, when that is elsewhere (a mirror).
    Raises PolicyRefused, RegistryError, DigestMismatch, InvalidDocument, InvalidLayer,
    StoreUnusable, DiskFull.
    """
    options = options or PullOptions()
    work = Work(options, events)
    environment = os.environ if environment is None else environment
    client = RegistryClient(source or reference, options, environment)
    check = None
    if options.demands:
        from storage.registry.signed import SignatureCheck

        check = SignatureCheck(layout, reference, options, environment)
    pull = _Pull(layout, reference, client, work, map_key, platform or host_platform(), check)
    try:
        return pull.run()
    finally:
        work.cancelled.set()


def pull_from_first(
    layout: Layout,
    reference: Reference,
    places: "Sequence[tuple[Reference, PullOptions]]",
    *,
    map_key: str,
    platform: Platform,
    events: "Events",
    environment: "Mapping[str, str]",
) -> ImageRecord:
    """Bring an image into the store from the first place that gives it.

    Raises as `pull_image` does, for the last place.
    """
    *mirrors, last = places

    def get(source: Reference, options: PullOptions) -> ImageRecord:
        return pull_image(
            layout,
            reference,
            map_key=map_key,
            platform=platform,
            options=options,
            events=events,
            environment=environment,
            source=source,
        )

    for source, options in mirrors:
        try:
            return get(source, options)
        except (RegistryError, DigestMismatch) as error:
            events(Event(NOTE, text=f"mirror {source.name}: {error.message}"))
    return get(*last)


class _Image(NamedTuple):
    manifest_digest: str
    manifest: Manifest
    config: ImageConfig


class _Pull:
    """One pull; its threads share nothing but what is in here."""

    __slots__ = (
        "_check",
        "_client",
        "_layout",
        "_map_key",
        "_platform",
        "_reference",
        "_where",
        "_work",
    )

    def __init__(
        self,
        layout: Layout,
        reference: Reference,
        client: RegistryClient,
        work: Work,
        map_key: str,
        platform: Platform,
        check: "SignatureCheck | None",
    ) -> None:
        self._check = check
        self._layout = layout
        self._reference = reference
        self._client = client
        self._work = work
        self._map_key = map_key
        self._platform = platform
        self._where = str(reference)

    def run(self) -> ImageRecord:
        """Fetch what is missing until the image can be recorded."""
        reference = self._reference
        name = f"{reference.name}@{reference.digest}" if reference.digest else str(reference)
        document = self._resolve(name)
        if self._check is not None:
            self._check(self._client, document.digest)
        attempt = 0
        while True:
            image = self._describe(document)
            if self._is_complete(name, image):
                return find_image(self._layout, name, all_names=True)
            # What killed pulls were unpacking: only here are its owners' ids at hand for sure.
            sweep(self._layout)
            self._get_layers(image)
            try:
                return commit_image(
                    self._layout,
                    manifest_digest=image.manifest_digest,
                    name=name,
                    map_key=self._map_key,
                )
            except BlobMissing:
                # Another command removed the image, and with it what we had found to be there.
                attempt += 1
                if attempt == _COMMIT_ATTEMPTS:
                    raise

    def _resolve(self, name: str) -> Document:
        """Return the manifest for this platform, from the store when it is there."""
        reference = self._reference
        wanted = reference.digest or reference.tag or "latest"
        digest: str | None = reference.digest
        if digest is None and name_target(self._layout, name):
            digest = self._work.retried(lambda: self._client.head_manifest(wanted))
        document = self._document(digest or wanted, asked=wanted)
        if document.media_type not in INDEX_TYPES:
            return document
        where = f"index of {self._where}"
        index = Index.from_json(parse_json(document.data, where), where)
        entry = choose_manifest(index.manifests, self._platform, self._where)
        if entry.size > DOCUMENT_LIMIT_BYTES:
            raise InvalidDocument(f"{where}: a manifest of {entry.size} bytes is too large")
        document = self._document(entry.digest, asked=entry.digest)
        if document.media_type in INDEX_TYPES:
            raise InvalidDocument(f"{where}: an index inside an index is not supported")
        return document

    def _document(self, known: str, *, asked: str) -> Document:
        """Return a manifest or an index; `known` is its digest when that is known."""
        if is_digest(known) and has_blob(self._layout, known):
            data = read_blob(self._layout, known)
            return read_document(data, known, f"read {self._where} from the store")
        document = self._work.retried(lambda: self._client.get_manifest(asked))
        write_blob(self._layout, document.data)
        return document

    def _describe(self, document: Document) -> _Image:
        """Check the manifest, fetch the configuration and check that as well."""
        layout = self._layout
        where = f"manifest of {self._where}"
        manifest = Manifest.from_json(parse_json(document.data, where), where)
        if manifest.config.size > DOCUMENT_LIMIT_BYTES:
            raise InvalidDocument(
                f"{where}.config.size: {manifest.config.size} bytes are more than a configuration"
                f" may have ({DOCUMENT_LIMIT_BYTES >> 20} MiB)"
            )
        write_blob(layout, document.data)
        fetch_blob(layout, self._client, manifest.config, self._work)
        place = f"configuration of {self._where}"
        config = ImageConfig.from_json(
            parse_json(read_blob(layout, manifest.config.digest), place), place
        )
        check_layer_counts(manifest, config)
        offered = Platform(config.os, config.architecture, config.variant)
        if config.architecture and offered[:2] != self._platform[:2]:
            self._work.tell(
                Event(NOTE, text=f"{self._where} is for {offered}, not for {self._platform}")
            )
        return _Image(document.digest, manifest, config)

    def _is_complete(self, name: str, image: _Image) -> bool:
        if name_target(self._layout, name) != image.manifest_digest:
            return False
        layers = LayerSet(self._layout, self._map_key, image.config.diff_ids)
        return (
            os.path.exists(self._layout.image_record(image.manifest_digest))
            and all(has_blob(self._layout, layer.digest) for layer in image.manifest.layers)
            and all(layers.is_unpacked(position) for position in range(len(image.manifest.layers)))
        )

    def _get_layers(self, image: _Image) -> None:
        """Fetch and unpack in threads, the largest layers first; the first error ends all."""
        groups: dict[str, list[int]] = {}
        for position, layer in enumerate(image.manifest.layers):
            # One blob may be several layers: one thread does them one after the other.
            groups.setdefault(layer.digest, []).append(position)
        tasks: SimpleQueue[list[int]] = SimpleQueue()
        for group in sorted(groups.values(), key=lambda g: -image.manifest.layers[g[0]].size):
            tasks.put(group)
        failures: list[BaseException] = []
        with LayerSet(self._layout, self._map_key, image.config.diff_ids) as layers:

            def take() -> None:
                try:
                    while group := _next_of(tasks):
                        for position in group:
                            self._work.check()
                            self._get_layer(image.manifest.layers[position], position, layers)
                except BaseException as error:  # noqa: BLE001 - top of a thread: raised by `run`
                    failures.append(error)
                    self._work.cancelled.set()

            self._run_threads(take, min(len(groups), self._work.options.max_concurrent))
            if failures:
                # A thread that was told to stop is not the one that knows why.
                raise next((e for e in failures if not isinstance(e, Cancelled)), failures[0])
            layers.finish()

    def _run_threads(self, body: "Callable[[], None]", count: int) -> None:
        threads = [threading.Thread(target=body, daemon=True) for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
        except BaseException:
            self._work.cancelled.set()
            raise
        finally:
            self._join(threads)

    def _join(self, threads: list[threading.Thread]) -> None:
        """Wait for all; whatever interrupts the wait stops them first."""
        try:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        except BaseException:
            self._work.cancelled.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise

    def _get_layer(self, blob: Descriptor, position: int, layers: LayerSet) -> None:
        layout, work = self._layout, self._work
        lock = work.hold(layers.lock(position), blob.digest)
        try:
            if not adopt_blob(layout, blob.digest):
                self._fetch_layer(blob, position, layers)
            elif not (layers.is_unpacked(position) and layers.is_known(position, blob.digest)):
                self._unpack_stored(blob, position, layers)
            else:
                work.tell(Event(BLOB_EXISTS, blob.digest, blob.size, blob.size))
        finally:
            lock.release()

    def _fetch_layer(self, blob: Descriptor, position: int, layers: LayerSet) -> None:
        def use(stream: BlobStream) -> None:
            self._unpack(blob, position, layers, stream)

        lock = self._work.hold(blob_lock(self._layout, blob.digest), blob.digest)
        try:
            if not has_blob(self._layout, blob.digest):
                stream_blob(self._layout, self._client, blob, self._work, use)
                return
        finally:
            lock.release()
        self._unpack_stored(blob, position, layers)

    def _unpack_stored(self, blob: Descriptor, position: int, layers: LayerSet) -> None:
        self._work.tell(Event(BLOB_EXISTS, blob.digest, blob.size, blob.size))
        with open(open_blob(self._layout, blob.digest), "rb", buffering=0) as source:
            self._unpack(blob, position, layers, source)

    def _unpack(self, blob: Descriptor, position: int, layers: LayerSet, source: Source) -> None:
        try:
            if layers.is_unpacked(position):
                if not layers.is_known(position, blob.digest):
                    layers.verify(position, source, blob.media_type)
                return
            result = layers.unpack(position, source, blob.media_type)
        except (InvalidLayer, DigestMismatch) as error:
            if isinstance(source, BlobStream) and source.rejection is not None:
                raise
            raise type(error)(
                f"unpack layer {blob.digest[:19]} of {self._where}: {error.message}",
                remedy=error.remedy or "the image is damaged or made wrongly: build it again",
            ) from error
        for note in result.notes:
            self._work.tell(Event(NOTE, blob.digest, text=note))
        self._work.tell(Event(UNPACK_DONE, blob.digest, result.size_bytes, result.size_bytes))


def _next_of(tasks: "SimpleQueue[list[int]]") -> list[int] | None:
    try:
        return tasks.get_nowait()
    except Empty:
        return None
