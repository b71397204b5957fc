"""manifest: indexes of the user's own."""

from rootless import manifests
from rootless.cli.commands.image import registry_settings
from rootless.cli.commands.registry import wanted_form, write_digest
from rootless.cli.commands.selection import for_each, removal_exit_code
from rootless.cli.output import write, write_json
from rootless.cli.progress import Reporter
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from storage.images import ImageRecord


def create(invocation: "Invocation") -> int:
    """Make an index."""
    with Reporter() as on_event:
        record = manifests.create(
            invocation.host(),
            invocation.text("list"),
            invocation.texts("images"),
            registry_settings(invocation),
            on_event,
            every=invocation.flag("all"),
            amend=invocation.flag("amend"),
            annotations=_annotations(invocation),
        )
    return _say_id(record)


def add(invocation: "Invocation") -> int:
    """Add images to an index."""
    settings = registry_settings(invocation)
    every = invocation.flag("all")
    with Reporter() as on_event:
        record = manifests.add(
            invocation.host(),
            invocation.text("list"),
            invocation.texts("images"),
            settings,
            on_event,
            every=every,
            details=_details(invocation),
        )
    return _say_id(record)


def annotate(invocation: "Invocation") -> int:
    """Change what an index says about an image."""
    index = invocation.flag("index")
    image = invocation.text("image")
    if not index and not image:
        raise UsageError("the image, or its digest, is missing", remedy="or say --index")
    record = manifests.annotate(
        invocation.host(), invocation.text("list"), image, _details(invocation), index=index
    )
    return _say_id(record)


def remove_entry(invocation: "Invocation") -> int:
    """Take an image out of an index."""
    return _say_id(
        manifests.remove_entry(
            invocation.host(), invocation.text("list"), invocation.text("digest")
        )
    )


def remove(invocation: "Invocation") -> int:
    """Remove indexes."""
    from rootless import images, naming
    from storage.images import find_entry

    host = invocation.host()

    def remove_one(name: str) -> None:
        if not find_entry(host.layout, name).is_index:
            raise UsageError(f"{name}: image is not a manifest list", remedy=f"rpod rmi {name}")
        result = naming.remove(host, name, force=True)
        write("".join(f"Untagged: {one}\n" for one in result.untagged))
        write("".join(f"Deleted: {one}\n" for one in result.deleted))

    errors = for_each(invocation.texts("lists"), remove_one)
    images.collect(host)
    return removal_exit_code(errors)


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether there is an index."""
    return 0 if manifests.exists(invocation.host(), invocation.text("list")) else 1


def inspect(invocation: "Invocation") -> int:
    """Print an index."""
    found = manifests.inspect(
        invocation.host(), invocation.text("list"), registry_settings(invocation)
    )
    write_json(found, indent=4)
    return 0


def push(invocation: "Invocation") -> int:
    """Send an index to a registry."""
    from rootless.pushing import push_list

    host = invocation.host()
    name = invocation.text("list")
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        digest = push_list(
            host,
            name,
            invocation.text("destination") or name,
            registry_settings(invocation),
            on_event,
            images=invocation.flag("all"),
            wanted=wanted_form(invocation),
        )
    write(f"{digest}\n")
    if path := invocation.text("digestfile"):
        write_digest(path, digest)
    if invocation.flag("rm"):
        from rootless import images, naming

        naming.remove(host, name, force=True)
        images.collect(host)
    return 0


def _say_id(record: "ImageRecord") -> int:
    write(f"{record.image_id}\n")
    return 0


def _details(invocation: "Invocation") -> manifests.Details:
    return manifests.Details(
        os=invocation.text("os"),
        architecture=invocation.text("arch"),
        variant=invocation.text("variant"),
        os_version=invocation.text("os_version"),
        os_features=invocation.texts("os_features"),
        features=invocation.texts("features"),
        annotations=tuple(_annotations(invocation).items()),
    )


def _annotations(invocation: "Invocation") -> dict[str, str]:
    found: dict[str, str] = {}
    for text in invocation.texts("annotation"):
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UsageError(f"--annotation: {text!r} is not KEY=VALUE")
        found[key] = value
    return found
