"""Images on their way out: to registries, and to archives and directories."""

from rootless.errors import UsageError
from rootless.host.paths import Host
from rootless.images import PullSettings, collect, options_for, pull_options
from rootless.registries import load_registries
from storage import event_log
from storage.convert import Wanted, check_wanted, convert_image, convert_list, discard
from storage.events import ignore
from storage.images import ImageRecord, find_entry
from storage.lists import find_list
from storage.reference import Reference, parse_reference
from storage.registry.options import PullOptions
from storage.registry.registries import find_sources
from storage.save import SavedImage, save_images
from storage.transports import FORMS, is_source, parse_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.images import OnEvent

    Send = Callable[[ImageRecord], None]

# A registry may read all it has got once more before it answers.
_ANSWER_S = 300.0


def push(
    host: Host,
    name: str,
    destination: str | None = None,
    settings: PullSettings | None = None,
    on_event: "OnEvent | None" = None,
    *,
    wanted: Wanted | None = None,
) -> str:
    """Send an image, or an index with its images, under its own name by default.

    `destination` is a registry's name, or `docker-archive:PATH[:NAME]`, `oci-archive:`, `oci:`,
    `dir:PATH`. Returns the digest of what was sent. The blobs belong to the caller, so no user
    namespace is needed. Raises ImageNotFound, InvalidReference, RegistryError, UsageError.
    """
    wanted = wanted or Wanted()
    check_wanted(wanted)
    record = find_entry(host.layout, name)
    digest = _push(host, record, name, destination, settings, on_event, wanted)
    target = destination or record.names[0]
    event_log.image_event(host.layout.run_root, "push", image_id=record.image_id, name=target)
    return digest


def _push(
    host: Host,
    record: ImageRecord,
    name: str,
    destination: str | None,
    settings: PullSettings | None,
    on_event: "OnEvent | None",
    wanted: Wanted,
) -> str:
    if destination is not None and is_source(destination):
        return send_converted(
            host, record, wanted, lambda one: _write(host, one, destination, on_event)
        )
    if destination is None and not record.names:
        raise UsageError(
            f"push {name}: an id does not say where to", remedy=f"rpod push {name} HOST/NAME:TAG"
        )
    text = destination or record.names[0]
    if record.is_index:
        return push_list(host, name, text, settings, on_event, wanted=wanted)
    return send_converted(
        host, record, wanted, lambda one: _send(host, one, text, settings, on_event)
    )


def push_list(
    host: Host,
    name: str,
    destination: str,
    settings: PullSettings | None = None,
    on_event: "OnEvent | None" = None,
    *,
    images: bool = True,
    wanted: Wanted | None = None,
) -> str:
    """Send an index to a registry, and its `images` before it; return its digest there.

    Raises ImageNotFound, InvalidReference, RegistryError.
    """
    from storage.registry import push as sending

    wanted = wanted or Wanted()
    check_wanted(wanted)
    record = find_list(host.layout, name)
    if is_source(destination):
        if not images:
            raise UsageError(
                f"push {name} to {destination}: a list is there with its images, or not at all",
                remedy="leave out --all=false",
            )
        return send_converted(
            host, record, wanted, lambda one: _write(host, one, destination, on_event)
        )
    reference, options = _place(host, destination, settings)

    def send(one: ImageRecord) -> None:
        sending.push_list(
            host.layout,
            one,
            reference,
            images=images,
            options=options,
            events=on_event or ignore,
            environment=host.environ,
        )

    return send_converted(host, record, wanted, send, images=images)


def send_converted(
    host: Host, record: ImageRecord, wanted: Wanted, send: "Send", *, images: bool = True
) -> str:
    """Send an image in the form that is wanted; what was made for it alone goes again."""
    if record.is_index:
        converted = convert_list(host.layout, record, wanted, images=images)
    else:
        converted = convert_image(host.layout, record, wanted)
    try:
        send(converted)
    finally:
        if converted.manifest_digest != record.manifest_digest:
            discard(host.layout, converted)
            collect(host)
    return converted.manifest_digest


def _send(
    host: Host,
    record: ImageRecord,
    destination: str,
    settings: PullSettings | None,
    on_event: "OnEvent | None",
) -> None:
    from storage.registry.push import push_image

    reference, options = _place(host, destination, settings)
    push_image(
        host.layout,
        record,
        reference,
        options=options,
        events=on_event or ignore,
        environment=host.environ,
    )


def _place(
    host: Host, destination: str, settings: PullSettings | None
) -> tuple[Reference, PullOptions]:
    reference = parse_reference(destination.removeprefix("docker://"))
    # Locations and mirrors are for reading: what is pushed goes where its name says.
    source = find_sources(load_registries(host.environ), reference)[-1]
    options = options_for(source, pull_options(settings or PullSettings()))
    return reference, options._replace(read_timeout_s=_ANSWER_S)


def _write(host: Host, record: ImageRecord, destination: str, on_event: "OnEvent | None") -> None:
    transport = destination.partition(":")[0]
    if transport not in FORMS:
        raise UsageError(f"push to {destination}: {transport} is only read")
    source = parse_source(destination)
    if record.is_index and transport == "docker-archive":
        raise UsageError(
            f"push to {destination}: {transport} holds no list of images",
            remedy="push it to oci-archive:PATH, oci:PATH, dir:PATH, or to a registry",
        )
    names: tuple[str, ...] = ()
    if transport == "docker-archive":
        # podman gives an image in such an archive the name that is asked for, and only that.
        names = (str(parse_reference(source.wanted)),) if source.wanted else ()
    elif source.wanted:
        names = (source.wanted,)
    save_images(host.layout, [SavedImage(record, names)], FORMS[transport], source.path, on_event)
