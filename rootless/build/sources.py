"""What a build takes its files from: the context, further contexts, stages, images."""

from rootless import images
from rootless.build.contexts import Context, open_named
from rootless.build.copying import Copying
from rootless.build.graph import find_stage
from rootless.build.model import Built, Copy, CopyScope, Layer, LayerOptions, Range, Stage, Tree
from rootless.build.request import BuildRequest
from rootless.build.result import Result, diff_ids
from rootless.build.workplace import Workplace
from rootless.errors import UsageError
from storage.blobs import blob_size
from storage.errors import BlobMissing
from storage.events import ignore
from storage.images import ImageRecord, all_digests, image_config
from storage.layers import chain_ids, has_layer
from storage.unpacking import unpack_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.events import Event

    OnEvent = Callable[[Event], None]

_IMAGE = "docker-image://"
_LAYOUT = "oci-layout://"
_ATTEMPTS = 5


class Sources:
    """One for each build and platform; `results` are the stages that are ready."""

    def __init__(
        self,
        workplace: Workplace,
        request: BuildRequest,
        context: Context,
        stages: tuple[Stage, ...],
        platform: str,
        on_event: "OnEvent | None",
    ) -> None:
        self._workplace = workplace
        self._request = request
        self._context = context
        self._stages = stages
        self._platform = platform
        self._on_event = on_event
        self._records: dict[tuple[str, str], ImageRecord] = {}
        self._contexts: dict[str, Context] = {}
        self._filtered: dict[int, str] = {}
        self.results: dict[int, Result] = {}

    def context(self) -> Context:
        """Return the context of the build."""
        return self._context

    def find(self, name: str) -> "Context | Tree":
        """Return what --from names: a context, a stage, else an image.

        Raises UsageError, ContextError, ImageNotFound, RegistryError.
        """
        given = self._request.build_contexts.get(name)
        if given is not None and not given.startswith((_IMAGE, _LAYOUT)):
            if name not in self._contexts:
                self._contexts[name] = open_named(self._workplace, name, given)
            return self._contexts[name]
        position = find_stage(self._stages, name, len(self._stages))
        if given is None and position >= 0:
            built = self.results[position].built
        else:
            built = self.image(name, self._platform)
        self.unpack(built.layers)
        return Tree(self._workplace.map_key, chain_ids(diff_ids(built)))

    def image(self, name: str, platform: str) -> Built:
        """Return an image as the base of a stage; it is fetched when it is not here.

        Raises ImageNotFound, RegistryError, UsageError.
        """
        given = self._request.build_contexts.get(name, "")
        if given and not given.startswith((_IMAGE, _LAYOUT)):
            raise UsageError(
                f"FROM {name}: the build context {name} is a directory, not an image",
                remedy=f"use --build-context {name}=docker-image://IMAGE",
            )
        wanted = given.removeprefix(_IMAGE)
        if wanted.startswith(_LAYOUT):
            wanted = "oci:" + wanted.removeprefix(_LAYOUT)
        record = self._record(wanted or name, platform)
        return _as_base(self._workplace, record, name, platform)

    def _record(self, name: str, platform: str) -> ImageRecord:
        known = self._records.get((name, platform))
        if known is not None:
            return known
        request = self._request
        settings = images.PullSettings(
            pull=request.pull,
            platform=platform or None,
            tls_verify=request.tls_verify,
            authfile=request.authfile,
            creds=request.creds,
            ca_dir=request.ca_dir,
            retries=request.retries,
            retry_delay_s=request.retry_delay_s,
        )
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._obtain(name, platform, settings)
            except BlobMissing:
                continue  # somebody has just removed it
        return self._obtain(name, platform, settings)

    def _obtain(self, name: str, platform: str, settings: images.PullSettings) -> ImageRecord:
        """Get an image that stays until the build ends. Raises BlobMissing: it has just gone."""
        found = images.obtain(self._workplace.host, name, settings, self._on_event)
        blobs = () if found.store else all_digests(found)
        self._workplace.need((*blobs, *found.chain_ids), blobs)
        self._records[name, platform] = found
        return found

    def unpack(self, layers: tuple[Layer, ...]) -> None:
        """See that layers lie unpacked for the build's id map. Raises InvalidLayer."""
        layout, key = self._workplace.layout, self._workplace.map_key
        ids = tuple(layer.diff_id for layer in layers)
        if all(has_layer(layout, key, chain) for chain in chain_ids(ids)):
            return
        blobs = tuple((layer.digest, layer.media_type) for layer in layers)
        self._workplace.run(lambda _: unpack_stored(layout, key, ids, blobs, ignore))

    def filtered(self, context: Context, *, copied: bool = False) -> str:
        """Return a directory with exactly what a context has, its ignore file obeyed.

        It may be the context's own unless a copy, in which all belongs to root, is asked for.
        """
        known = self._filtered.get(id(context))
        if known is not None:
            return known
        if not context.is_filtered and not copied:
            return context.path
        copy = Copy(Range(0, 0), ("/",), "/")
        copying = Copying(self._workplace, copy, context, CopyScope(b"", b"", "/", self._platform))
        layer = copying.commit(Tree(self._workplace.map_key, ()), LayerOptions()).layer
        path = self._workplace.layout.layer_diff(self._workplace.map_key, layer.diff_id)
        self._filtered[id(context)] = path
        return path

    def close(self) -> None:
        """Let go of the contexts; what is known of their files is kept. Raises StoreUnusable."""
        for context in (self._context, *self._contexts.values()):
            context.close()


def _as_base(workplace: Workplace, record: ImageRecord, name: str, platform: str) -> Built:
    layout = workplace.layout
    config = image_config(layout, record)
    raw = config.raw.get("config")
    layers = tuple(
        Layer(digest, blob_size(layout, digest), diff_id, media_type)
        for digest, diff_id, media_type in zip(
            record.layer_digests, record.diff_ids, record.layer_media_types, strict=True
        )
    )
    found = "/".join(part for part in (record.os, record.architecture, record.variant) if part)
    return Built(
        platform=platform or found,
        layers=layers,
        config=dict(raw) if isinstance(raw, dict) else {},
        history=config.history,
        author=config.author,
        base_name=record.names[0] if record.names else name,
        base_digest=record.manifest_digest,
    )
