"""Images as commands use them: what needs ids of a range runs inside a user namespace.

`on_event` gets `storage.events.Event`; it is called in this process while the work goes on in a
child. Everything returns records and raises the packages' errors.
"""

import os

from rootless.errors import HostError, UsageError
from rootless.host.paths import Host
from rootless.linux.userns import IdMaps, run_in_userns
from storage import event_log
from storage.containers import ContainerRecord
from storage.errors import ImageNotFound
from storage.images import ImageRecord, find_image, image_config, list_images
from storage.layers import has_layer, map_key
from storage.oci.config import ImageConfig
from storage.record import NamedTuple
from storage.transports import PODMAN, check_transport, is_source, parse_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from rootless.linux.userns import Emit
    from rootless.shortnames import Choose
    from storage.events import Event
    from storage.gc import CollectResult
    from storage.registry.options import PullOptions
    from storage.registry.registries import Source

    OnEvent = Callable[[Event], None]

    class PullRequest(Protocol):
        """The fields of a request that say how an image is fetched."""

        @property
        def pull(self) -> str: ...
        @property
        def platform(self) -> str | None: ...
        @property
        def tls_verify(self) -> bool | None: ...
        @property
        def authfile(self) -> str | None: ...
        @property
        def creds(self) -> str | None: ...


class PullSettings(NamedTuple):
    """How an image is fetched; the defaults of `rpod pull`.

    `choose` asks a person which of several full names (the second argument) a short one means.
    """

    pull: str = "always"
    platform: str | None = None
    tls_verify: bool | None = None
    authfile: str | None = None
    creds: str | None = None
    ca_dir: str | None = None
    retries: int = 3
    retry_delay_s: float = 2.0
    choose: "Choose | None" = None


def join_platform(platform: str | None, arch: str, system: str, variant: str) -> str | None:
    """Return the platform that the four options name together, None for this host's.

    Raises UsageError.
    """
    if not (arch or system or variant):
        return platform or None
    if platform:
        raise UsageError("--platform and --arch, --os or --variant do not go together")
    from storage.platform import host_platform

    own = host_platform()
    chosen = f"{system or own.os}/{arch or own.architecture}"
    return f"{chosen}/{variant}" if variant else chosen


_POLICIES = ("missing", "always", "never", "newer")


def obtain(
    host: Host, name: str, request: "PullRequest", on_event: "OnEvent | None" = None
) -> ImageRecord:
    """Return an image as the pull policy says: missing, always, never or newer.

    A name with the transport of a file (`oci-archive:PATH`) is loaded, whatever the policy.
    Raises ImageNotFound, RegistryError, InvalidArchive, UsageError.
    """
    if is_source(name):
        return _obtain_from_file(host, name, request.platform, on_event)
    check_transport(name)
    if request.pull not in _POLICIES:
        raise UsageError(
            f'unknown pull policy "{request.pull}"', remedy="use " + ", ".join(_POLICIES)
        )
    try:
        found = find_image(host.layout, name)
    except ImageNotFound as error:
        if request.pull == "never":
            raise
        return _obtain_missing(host, name, request, on_event, error)
    # A short name stays what it is here: a local image is not replaced by a stranger's namesake.
    full_name = found.names[0] if found.names else name
    if request.pull == "newer":
        return _pull_newer(host, full_name, request, found, on_event)
    is_wanted = request.platform is None or _is_platform(found, request.platform)
    if is_wanted and request.pull != "always":
        return found
    if request.pull == "never":
        raise ImageNotFound(
            f"image {name!r} in the store is for {found.os}/{found.architecture}, not for"
            f" {request.platform}",
            remedy="leave --platform out, or --pull=never",
        )
    return pull(host, full_name, request, on_event)


def _obtain_missing(
    host: Host,
    name: str,
    request: "PullRequest",
    on_event: "OnEvent | None",
    missing: ImageNotFound,
) -> ImageRecord:
    """Fetch an image; a short name may stand for one that is here under another name."""
    from storage.events import NOTE, Event
    from storage.reference import is_short_name

    if not is_short_name(name):
        return pull(host, name, request, on_event)
    from rootless.shortnames import resolve
    from storage.errors import RegistryError

    choose = request.choose if isinstance(request, PullSettings) else None
    candidates, why = resolve(name, host.environ, choose)
    if why and on_event is not None:
        on_event(Event(NOTE, text=why))
    failures: list[RegistryError] = []
    for candidate in candidates:
        try:
            return obtain(host, str(candidate), request, on_event)
        except RegistryError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise ImageNotFound(
        f"{name}: none of the registries has it: " + "; ".join(one.message for one in failures),
        remedy="write the full name",
    ) from missing


def _obtain_from_file(
    host: Host, name: str, platform: str | None, on_event: "OnEvent | None"
) -> ImageRecord:
    records = load_source(host, name, on_event, platform=platform)
    if len(records) > 1:
        names = ", ".join(one for record in records for one in record.names)
        raise UsageError(
            f"{name}: there are {len(records)} images in it", remedy=f"add which one: {names}"
        )
    return records[0]


def load_source(
    host: Host,
    name: str,
    on_event: "OnEvent | None" = None,
    *,
    platform: str | None = None,
) -> list[ImageRecord]:
    """Take the images out of `docker-archive:PATH[:REFERENCE]`, `oci:`, `oci-archive:` or `dir:`.

    Also out of podman's store: `containers-storage:NAME`. `platform` chooses one of an index.

    Raises InvalidReference, InvalidArchive, InvalidLayer, StoreUnusable.
    """
    if name.partition(":")[0] == PODMAN:
        return [_take_from_podman(host, name.partition(":")[2], on_event)]
    source = parse_source(name)
    return load(host, source.path, on_event, wanted=source.wanted, platform=platform)


def _take_from_podman(host: Host, name: str, on_event: "OnEvent | None") -> ImageRecord:
    from rootless.podman_store import locate

    place = locate(host.environ, name)

    def work(emit: "Emit") -> object:
        from storage.archive import load_files
        from storage.podman_store import PodmanStore
        from storage.scratch import Scratch

        with Scratch(host.layout, "load") as scratch:
            files = PodmanStore(place.root, place.driver, place.names, scratch.path)
            (record,) = load_files(
                host.layout,
                files,
                None,
                default_key(host),
                events=lambda event: emit(list(event)),
                environment=host.environ,
            )
        return record.manifest_digest

    digest = in_namespace(host, work, on_event)
    record = find_image(host.layout, str(digest), all_names=True)
    tell(host, "pull", record, f"{PODMAN}:{name}")
    return record


def tell(host: Host, status: str, record: ImageRecord, name: str) -> None:
    """Write an event of an image down; `name` is a name of it, or where it went to."""
    event_log.image_event(host.layout.run_root, status, image_id=record.image_id, name=name)


def _is_platform(record: ImageRecord, text: str) -> bool:
    from storage.platform import parse_platform

    wanted = parse_platform(text)
    return record.os == wanted.os and record.architecture == wanted.architecture


def _pull_newer(
    host: Host, name: str, request: "PullRequest", found: ImageRecord, on_event: "OnEvent | None"
) -> ImageRecord:
    from storage.errors import RegistryError

    try:
        return pull(host, name, request, on_event)
    except RegistryError:
        return found  # podman-run(1), --pull=newer: a registry that fails does not matter here


def pull(
    host: Host,
    name: str,
    request: "PullRequest | None" = None,
    on_event: "OnEvent | None" = None,
) -> ImageRecord:
    """Fetch an image from its registry and unpack it.

    Raises InvalidReference, PolicyRefused, RegistryError and its kinds, StoreUnusable.
    """
    request = request or PullSettings()
    record = _pull(host, name, request, on_event)
    tell(host, "pull", record, name)
    return record


def _pull(host: Host, name: str, request: "PullRequest", on_event: "OnEvent | None") -> ImageRecord:
    if not host.layout.shared:
        return _pull_here(host, name, request, on_event)
    from rootless.shared_home import fetch_once

    def find() -> ImageRecord | None:
        try:
            found = find_image(host.layout, name)
        except ImageNotFound:
            return None
        is_wanted = request.platform is None or _is_platform(found, request.platform)
        return found if request.pull == "missing" and is_wanted else None

    what = f"{name} {request.platform or ''}"
    return fetch_once(host, what, find, lambda own: _pull_here(own, name, request, on_event))


def _pull_here(
    host: Host, name: str, request: "PullRequest", on_event: "OnEvent | None"
) -> ImageRecord:
    from rootless.registries import load_registries
    from storage.platform import host_platform, parse_platform
    from storage.policy import check_policy
    from storage.reference import parse_reference
    from storage.registry.registries import find_sources
    from storage.registry.unchanged import find_unchanged

    reference = parse_reference(name)
    demands = check_policy(reference, host.environ)
    platform = parse_platform(request.platform) if request.platform else host_platform()
    options = pull_options(request)._replace(demands=demands)
    sources = find_sources(load_registries(host.environ), reference)
    if len(sources) == 1 and sources[0].reference == reference and not demands:
        unchanged = find_unchanged(
            host.layout,
            reference,
            map_key=default_key(host),
            platform=platform,
            options=options_for(sources[0], options),
            environment=host.environ,
        )
        if unchanged is not None:
            return _fetched(host, unchanged, str(reference), request)
    # Here, not in the user namespace: a credential helper may ask the user's session bus.
    # --creds are for the registry itself: a mirror never gets them.
    asked = [options._replace(credentials=None)] * (len(sources) - 1) + [options]
    places = [
        (one.reference, with_credentials(host, one, own))
        for one, own in zip(sources, asked, strict=True)
    ]

    def load() -> None:
        import storage.registry.pull  # noqa: F401 - the work is to find it loaded

    def work(emit: "Emit") -> object:
        from storage.registry.pull import pull_from_first

        record = pull_from_first(
            host.layout,
            reference,
            places,
            map_key=default_key(host),
            platform=platform,
            events=lambda event: emit(list(event)),
            environment=host.environ,
        )
        return record.manifest_digest

    digest = in_namespace(host, work, on_event, prepare=load)
    found = find_image(host.layout, str(digest))
    return _fetched(host, found, str(reference), request)


def _fetched(host: Host, found: ImageRecord, name: str, request: "PullRequest") -> ImageRecord:
    """Return the image under the name that was fetched; say when it is for another platform."""
    if request.platform and not _is_platform(found, request.platform):
        host.note(
            f"{name} is one image for {found.os}/{found.architecture}: there is none for"
            f" {request.platform}"
        )
    return found._replace(names=(name,))


def find_local(host: Host, name: str) -> ImageRecord:
    """Return an image of the store. Raises ImageNotFound."""
    return find_image(host.layout, name)


def options_for(source: "Source", options: "PullOptions") -> "PullOptions":
    """Return how to talk to a place: what the command line says comes before the configuration."""
    if source.insecure and options.tls_verify is None:
        return options._replace(tls_verify=False)
    return options


def with_credentials(host: Host, source: "Source", options: "PullOptions") -> "PullOptions":
    from storage.registry.credentials import find_credentials

    options = options_for(source, options)
    if options.credentials is not None:
        return options
    found = find_credentials(source.reference, environment=host.environ, authfile=options.authfile)
    return options._replace(credentials=found)


def pull_options(request: "PullRequest") -> "PullOptions":
    """Return what a request says about talking to registries."""
    from storage.registry.options import PullOptions

    credentials = None
    if request.creds:
        from storage.registry.credentials import parse_credentials

        credentials = parse_credentials(request.creds)
    extra = request if isinstance(request, PullSettings) else PullSettings()
    return PullOptions(
        tls_verify=request.tls_verify,
        authfile=request.authfile,
        credentials=credentials,
        ca_dir=extra.ca_dir,
        retries=extra.retries,
        retry_delay_s=extra.retry_delay_s,
    )


def default_key(host: Host) -> str:
    """Return the map key of layers that are unpacked for the default map."""
    maps = host.id_maps()
    return map_key(maps.uids, maps.gids)


def in_namespace(
    host: Host,
    work: "Callable[[Emit], object]",
    on_event: "OnEvent | None",
    maps: IdMaps | None = None,
    prepare: "Callable[[], None] | None" = None,
) -> object:
    """Run `work` as root of a user namespace; its events are told here."""
    listener = None
    if on_event is not None:
        from storage.events import Event

        callback = on_event

        def listener(raw: object) -> None:
            callback(Event.from_json(raw))

    return run_in_userns(work, maps or host.id_maps(), on_event=listener, prepare=prepare)


def config_of(host: Host, record: ImageRecord) -> ImageConfig:
    """Return the image's configuration. Raises BlobMissing, InvalidDocument."""
    return image_config(host.layout, record)


def is_unpacked(host: Host, record: ImageRecord, key: str) -> bool:
    """Tell whether an image is unpacked here for the id map with this key."""
    return all(has_layer(host.layout, key, chain_id) for chain_id in record.chain_ids)


def ensure_unpacked(
    host: Host, record: ImageRecord, maps: IdMaps, key: str, on_event: "OnEvent | None" = None
) -> None:
    """Unpack the layers that are not there yet for this id map, from the stored blobs."""
    if all(has_layer(host.layout, key, chain_id) for chain_id in record.chain_ids):
        return
    if key != default_key(host) and _share_layers(host, record, maps, key):
        return
    from storage.unpacking import ensure_layers

    if not host.layout.shared:  # where the reason has been given
        name = record.names[0] if record.names else record.image_id[:12]
        host.note(f"unpacking {name} for this id map, once")
    in_namespace(
        host,
        lambda emit: ensure_layers(
            host.layout, key, record, events=lambda event: emit(list(event))
        ),
        on_event,
        maps,
    )


def _share_layers(host: Host, record: ImageRecord, maps: IdMaps, key: str) -> bool:
    """Make the layers for a map out of those for the default one, where files can share bytes."""
    from storage import clones

    default = host.id_maps()
    origin = clones.Origin(default_key(host), default.uids, default.gids)
    if not any(has_layer(host.layout, origin.map_key, one) for one in record.chain_ids):
        return False
    if not clones.can_share(host.layout):
        return False
    here = clones.Origin(key, maps.uids, maps.gids)
    in_namespace(
        host,
        lambda _: clones.clone_layers(host.layout, key, record.chain_ids, origin, here),
        None,
        maps,
    )
    return all(has_layer(host.layout, key, chain_id) for chain_id in record.chain_ids)


def check_present(host: Host, record: ContainerRecord) -> None:
    """Raise when a layer went between the look and the record (an image removed meanwhile)."""
    for chain_id in record.chain_ids:
        if not has_layer(host.layout, record.map_key, chain_id):
            raise HostError(
                f"make a container from {record.image_name}: the image is being removed",
                remedy="run the command again",
            )


def layer_sizes(host: Host, record: ImageRecord) -> list[int]:
    """Return the bytes of each layer, unpacked; of its blob where it is not unpacked here."""
    from storage.blobs import blob_size
    from storage.layers import read_layer

    key = default_key(host)
    return [
        read_layer(host.layout, key, chain_id).size_bytes
        if has_layer(host.layout, key, chain_id)
        else blob_size(host.layout, digest)
        for chain_id, digest in zip(record.chain_ids, record.layer_digests, strict=True)
    ]


def diff(host: Host, name: str, base: str | None = None) -> list[tuple[str, str]]:
    """Return what an image changes: in its top layer, or against another image.

    Pairs of A, C or D and an absolute path. Raises ImageNotFound, StoreUnusable.
    """
    from storage.layer_diff import diff_layers

    record = find_image(host.layout, name)
    other = find_image(host.layout, base) if base else None
    key = default_key(host)
    for one in (record, other) if other else (record,):
        ensure_unpacked(host, one, host.id_maps(), key)
    old = other.chain_ids if other else record.chain_ids[:-1]

    def work(emit: "Emit") -> object:
        changes = diff_layers(host.layout, key, old, record.chain_ids)
        return [(change.kind, os.fsdecode(change.path)) for change in changes]

    found = in_namespace(host, work, None)
    assert isinstance(found, list)
    return [(str(kind), str(path)) for kind, path in found]


def images(host: Host) -> list[ImageRecord]:
    """Return every image with its names."""
    return list_images(host.layout)


def load(
    host: Host,
    path: str | None,
    on_event: "OnEvent | None" = None,
    *,
    wanted: str = "",
    platform: str | None = None,
) -> list[ImageRecord]:
    """Take the images out of an archive, or the `wanted` one; `path` None is standard input.

    They have the names that the archive gave them. Raises InvalidArchive, InvalidLayer,
    NoMatchingPlatform, StoreUnusable.
    """
    from storage.archive import load_archive
    from storage.platform import parse_platform

    chosen = parse_platform(platform) if platform else None

    def work(emit: "Emit") -> object:
        records = load_archive(
            host.layout,
            path,
            default_key(host),
            lambda event: emit(list(event)),
            wanted=wanted,
            platform=chosen,
            environment=host.environ,
        )
        return [[record.manifest_digest, *record.names] for record in records]

    found = in_namespace(host, work, on_event)
    assert isinstance(found, list)
    records = [
        find_image(host.layout, digest)._replace(names=tuple(names)) for digest, *names in found
    ]
    for record in records:
        tell(host, "loadfromarchive", record, path or "-")
    return records


def collect(host: Host, *, copies: bool = False, left: tuple[str, ...] = ()) -> "CollectResult":
    """Remove blobs and layers that nothing needs any more; `left` as for `storage.gc.collect`.

    With `copies` also what was unpacked for other id maps (keep-id), where no container has it.
    """
    from storage import gc

    key = default_key(host) if copies else ""
    result = run_in_userns(
        lambda _: list(gc.collect(host.layout, default_key=key, left=left)), host.id_maps()
    )
    assert isinstance(result, list)
    return gc.CollectResult(*result)


def working_directory() -> str:
    return os.getcwd()
