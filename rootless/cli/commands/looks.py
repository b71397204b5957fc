"""What inspect finds under a name, and how it is printed."""

import sys

from rootless.cli.commands.selection import exit_code
from rootless.cli.output import print_documents
from rootless.cli.reporting import report
from rootless.errors import RootlessError
from storage.errors import (
    ContainerNotFound,
    ImageNotFound,
    InvalidReference,
    NetworkNotFound,
    NotFound,
    StorageError,
    VolumeNotFound,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.host.paths import Host
    from storage.volumes import VolumeRecord

    Look = Callable[[Host, str], object]


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
        if look is look_at_image and text not in ("", "json"):
            from rootless.image_document import with_zero_values

            documents = [with_zero_values(document) for document in documents]
        print_documents(documents, text)
    sys.stdout.flush()
    for failure in errors:
        report(failure)
    return exit_code(errors)


def look_at_container(host: "Host", name: str) -> object:
    """Return podman's document for a container. Raises ContainerNotFound, Ambiguous."""
    from rootless.container.query import find_view, inspect_container

    try:
        return inspect_container(find_view(host, name), host)
    except ContainerNotFound as error:
        raise ContainerNotFound(f"inspecting object: no such container {name}") from error


def look_at_image(host: "Host", name: str) -> object:
    """Return podman's document for an image. Raises ImageNotFound, Ambiguous."""
    from rootless.image_document import image_document
    from storage.images import find_image

    try:
        return image_document(host.layout, find_image(host.layout, name, all_names=True))
    except ImageNotFound as error:
        raise ImageNotFound(f"inspecting object: {name}: image not known") from error


def look_at_volume(host: "Host", name: str) -> object:
    """Return podman's document for a volume. Raises VolumeNotFound."""
    from storage.volumes import find_volume

    try:
        return volume_document(host, find_volume(host.layout, name))
    except VolumeNotFound as error:
        raise VolumeNotFound(f"inspecting object: no such volume {name}") from error


def look_at_network(host: "Host", name: str) -> object:
    """Return podman's document for a network. Raises NetworkNotFound, Ambiguous."""
    from rootless.container.networks import make_document
    from storage.networks import find_network

    try:
        return make_document(host, find_network(host.layout, name))
    except NetworkNotFound as error:
        raise NetworkNotFound(f"network {name}: {error.message}", remedy=error.remedy) from error


def look_anywhere(host: "Host", name: str) -> object:
    """Return the document of what has this name: container, image, volume, network."""
    looks: tuple[Look, ...] = (
        look_at_container, look_at_image, look_at_volume, look_at_network,
    )  # fmt: skip
    for look in looks:
        try:
            return look(host, name)
        except (NotFound, InvalidReference):
            continue
    raise NotFound(f'inspecting object: no such object: "{name}"')


def volume_document(
    host: "Host", record: "VolumeRecord", *, users: dict[str, list[str]] | None = None
) -> dict[str, object]:
    """Return podman's document for a volume."""
    from storage.volumes import is_unused, mountpoint, volume_users

    known = volume_users(host.layout) if users is None else users
    # What the image has there is copied, with its owner, as long as a volume is empty.
    is_fresh = is_unused(host.layout, record)
    return {
        "Name": record.name,
        "Driver": "local",
        "Mountpoint": mountpoint(host.layout, record),
        "CreatedAt": record.created_at,
        "Labels": record.labels,
        "Scope": "local",
        "Options": record.options,
        "Anonymous": record.anonymous,
        "MountCount": sum(_runs(host, one) for one in known.get(record.name, [])),
        "NeedsCopyUp": is_fresh,
        "NeedsChown": is_fresh,
    }


def _runs(host: "Host", container_id: str) -> bool:
    from storage.containers import find_container
    from storage.errors import ContainerNotFound

    try:
        return bool(find_container(host.layout, container_id).pid)
    except ContainerNotFound:
        return False
