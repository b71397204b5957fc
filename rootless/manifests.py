"""Indexes ("manifest lists") of the user's own: made, edited, looked at."""

from rootless.errors import UsageError
from rootless.host.paths import Host
from rootless.images import PullSettings, options_for, pull_options
from rootless.registries import load_registries
from storage.blobs import blob_size
from storage.digest import is_digest
from storage.errors import ImageNotFound
from storage.events import ignore
from storage.images import ImageRecord, find_entry, find_image
from storage.lists import (
    create_list,
    describe_entry,
    edit_list,
    entry_of,
    find_list,
    put_entry,
    read_list,
)
from storage.oci.checks import as_object, get_list, get_string_map, parse_json
from storage.platform import host_platform, parse_platform
from storage.policy import check_policy
from storage.record import NamedTuple
from storage.reference import parse_reference
from storage.registry.registries import find_sources
from storage.transports import PODMAN, is_source, parse_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.images import OnEvent

    Document = dict[str, object]


class Details(NamedTuple):
    """What to write into an entry; empty values leave what is there."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


def create(
    host: Host,
    name: str,
    images: "Sequence[str]" = (),
    settings: PullSettings | None = None,
    on_event: "OnEvent | None" = None,
    *,
    every: bool = False,
    amend: bool = False,
    annotations: dict[str, str] | None = None,
) -> ImageRecord:
    """Make an index of images, of the store, of files or of registries.

    Raises NameTaken, ImageNotFound, InvalidArchive, RegistryError.
    """
    entries = [
        entry
        for image in images
        for entry in _entries(host, image, settings, on_event, every=every)
    ]
    record = create_list(host.layout, name, entries, amend=amend)
    if annotations:
        record = edit_list(
            host.layout, record.manifest_digest, lambda one: _annotate(one, annotations)
        )
    return record


def add(
    host: Host,
    name: str,
    images: "Sequence[str]",
    settings: PullSettings | None = None,
    on_event: "OnEvent | None" = None,
    *,
    every: bool = False,
    details: Details | None = None,
) -> ImageRecord:
    """Add images to an index; one that is there already is replaced.

    Raises ImageNotFound, RegistryError.
    """
    find_list(host.layout, name)
    entries = [
        entry
        for image in images
        for entry in _entries(host, image, settings, on_event, every=every)
    ]

    def change(document: "Document") -> None:
        for entry in entries:
            _set_details(entry, details or Details())
            put_entry(document, entry)

    return edit_list(host.layout, name, change)


def annotate(
    host: Host, name: str, image: str, details: Details, *, index: bool = False
) -> ImageRecord:
    """Change what an index says about an entry, a digest or an image; or about the `index` itself.

    Raises ImageNotFound.
    """

    def change(document: "Document") -> None:
        if index:
            _annotate(document, dict(details.annotations))
            return
        _set_details(entry_of(document, _digest_of(host, image), name), details)

    return edit_list(host.layout, name, change)


def remove_entry(host: Host, name: str, digest: str) -> ImageRecord:
    """Take an entry out of an index. Raises ImageNotFound, UsageError."""
    if not is_digest(digest):
        raise UsageError(
            f'invalid image digest "{digest}"', remedy="rpod manifest inspect shows them"
        )

    def change(document: "Document") -> None:
        gone = entry_of(document, digest, name)
        entries = get_list(document, "manifests", name)
        document["manifests"] = [entry for entry in entries if entry is not gone]

    return edit_list(host.layout, name, change)


def exists(host: Host, name: str) -> bool:
    """Tell whether the store has an index of this name."""
    try:
        find_list(host.layout, name)
    except ImageNotFound:
        return False
    return True


def inspect(host: Host, name: str, settings: PullSettings | None = None) -> "Document":
    """Return an index of the store, else the index or manifest that a registry has.

    Raises RegistryError, PolicyRefused, InvalidReference.
    """
    try:
        return read_list(host.layout, name.removeprefix("docker://"))
    except ImageNotFound:
        pass
    from storage.registry.fetch_list import fetch_document

    reference = parse_reference(name)
    source = find_sources(load_registries(host.environ), reference)[-1]
    options = options_for(source, pull_options(settings or PullSettings()))
    document = fetch_document(source.reference, options=options, environment=host.environ)
    return as_object(parse_json(document.data, name), name)


def _entries(
    host: Host,
    image: str,
    settings: PullSettings | None,
    on_event: "OnEvent | None",
    *,
    every: bool,
) -> "list[Document]":
    """Return the descriptors of an image of a file, of the store, else of a registry."""
    layout = host.layout
    settings = settings or PullSettings()
    platform = parse_platform(settings.platform) if settings.platform else host_platform()
    in_store = image.removeprefix(f"{PODMAN}:")
    if in_store != image:
        # podman's word for the store that a command works with.
        find_entry(layout, in_store)
        image = in_store
    elif is_source(image):
        from storage.archive_list import take_entries

        place = parse_source(image)
        return take_entries(layout, place, every=every, platform=platform, environment=host.environ)
    if not image.startswith("docker://"):
        try:
            record = find_entry(layout, image)
        except ImageNotFound:
            pass
        else:
            if record.is_index and every:
                entries = get_list(read_list(layout, image), "manifests", image)
                return [dict(as_object(entry, image)) for entry in entries]
            record = find_image(layout, image)
            return [describe_entry(record, blob_size(layout, record.manifest_digest))]
    from storage.registry.fetch_list import fetch_entries

    reference = parse_reference(image)
    demands = check_policy(reference, host.environ)
    source = find_sources(load_registries(host.environ), reference)[-1]
    return fetch_entries(
        layout,
        source.reference,
        every=every,
        platform=platform,
        options=options_for(source, pull_options(settings))._replace(demands=demands),
        events=on_event or ignore,
        environment=host.environ,
    )


def _digest_of(host: Host, image: str) -> str:
    return image if is_digest(image) else find_image(host.layout, image).manifest_digest


def _annotate(document: "Document", annotations: dict[str, str]) -> None:
    known = get_string_map(document, "annotations", "index")
    if annotations:
        document["annotations"] = {**known, **annotations}


def _set_details(entry: "Document", details: Details) -> None:
    """OCI image-spec, image index: platform and annotations of an entry."""
    platform = dict(as_object(entry.get("platform") or {}, "platform"))
    texts = {
        "os": details.os,
        "architecture": details.architecture,
        "variant": details.variant,
        "os.version": details.os_version,
    }
    platform.update({key: value for key, value in texts.items() if value})
    lists = {"os.features": details.os_features, "features": details.features}
    platform.update({key: list(value) for key, value in lists.items() if value})
    if platform:
        entry["platform"] = platform
    _annotate(entry, dict(details.annotations))
