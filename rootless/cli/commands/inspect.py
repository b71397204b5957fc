"""inspect, container inspect, image inspect."""

from rootless.cli.commands.selection import exit_code, latest
from rootless.cli.main import report
from rootless.cli.output import print_documents
from rootless.errors import RootlessError, UsageError
from storage.errors import (
    ContainerNotFound,
    ImageNotFound,
    InvalidReference,
    NotFound,
    StorageError,
    VolumeNotFound,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host

    Look = Callable[[Host, str], object]


def inspect(invocation: "Invocation") -> int:
    """Show containers, images or volumes, the first kind that has the name."""
    looks = {
        "all": look_anywhere,
        "container": look_at_container,
        "image": look_at_image,
        "volume": look_at_volume,
    }
    kind = invocation.text("type")
    if invocation.flag("latest"):
        kind = "container"
    return _show(invocation, looks[kind])


def inspect_containers(invocation: "Invocation") -> int:
    """Show containers."""
    return _show(invocation, look_at_container)


def inspect_images(invocation: "Invocation") -> int:
    """Show images."""
    return show_documents(
        invocation.host(), invocation.texts("names"), look_at_image, invocation.text("format")
    )


def _show(invocation: "Invocation", look: "Look") -> int:
    host = invocation.host()
    names = list(invocation.texts("names"))
    if invocation.flag("latest"):
        if names:
            raise UsageError("--latest and names do not go together")
        names = [latest(host)]
    if not names:
        raise UsageError("no names or ids specified")
    return show_documents(host, names, look, invocation.text("format"))


def show_documents(host: "Host", names: "Sequence[str]", look: "Look", text: str) -> int:
    """Print what is there, then an error for each name that is not."""
    documents: list[object] = []
    errors: list[Exception] = []
    for name in names:
        try:
            documents.append(look(host, name))
        except (RootlessError, StorageError, OSError) as error:
            errors.append(error)
    if documents or text in ("", "json"):
        print_documents(documents, text)
    _flush()
    for failure in errors:
        report(failure)
    return exit_code(errors)


def _flush() -> None:
    import sys

    sys.stdout.flush()


def look_at_container(host: "Host", name: str) -> object:
    """Return podman's document for a container. Raises ContainerNotFound, Ambiguous."""
    from rootless.container.query import find_view, inspect_container

    try:
        return inspect_container(find_view(host, name), host)
    except ContainerNotFound as error:
        raise ContainerNotFound(f"inspecting object: no such container {name}") from error


def look_at_image(host: "Host", name: str) -> object:
    """Return podman's document for an image. Raises ImageNotFound, Ambiguous."""
    from rootless.cli.documents import image_document
    from storage.images import find_image

    try:
        return image_document(host.layout, find_image(host.layout, name, all_names=True))
    except ImageNotFound as error:
        raise ImageNotFound(f"inspecting object: {name}: image not known") from error


def look_at_volume(host: "Host", name: str) -> object:
    """Return podman's document for a volume. Raises VolumeNotFound."""
    from rootless.cli.commands.volume import volume_document
    from storage.volumes import find_volume

    try:
        return volume_document(host, find_volume(host.layout, name))
    except VolumeNotFound as error:
        raise VolumeNotFound(f"inspecting object: no such volume {name}") from error


def look_anywhere(host: "Host", name: str) -> object:
    """Return the document of a container, else an image, else a volume with this name."""
    looks: tuple[Look, ...] = (look_at_container, look_at_image, look_at_volume)
    for look in looks:
        try:
            return look(host, name)
        except (NotFound, InvalidReference):
            continue
    raise NotFound(f'inspecting object: no such object: "{name}"')
