"""image mount and unmount."""

from rootless.cli.commands.selection import exit_code, for_each
from rootless.cli.output import print_documents, printable, write
from rootless.container.image_mounts import (
    check_unshared,
    is_unshared,
    mount_image,
    mounted_images,
    unmount_image,
)
from rootless.errors import UsageError
from storage.images import find_image, list_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.images import ImageRecord


def mount(invocation: "Invocation") -> int:
    """Mount images, or show which are mounted."""
    check_unshared("image mount")
    host = invocation.host()
    names = invocation.texts("images")
    if invocation.flag("all"):
        if names:
            raise UsageError("--all and names of images do not go together")
        # Two manifests of one configuration are one image: it is mounted, and told, once.
        names = tuple(dict.fromkeys(record.image_id for record in list_images(host.layout)))
    if names:
        if not invocation.text("format"):
            return exit_code(for_each(names, lambda name: write(f"{mount_image(host, name)}\n")))
        documents: list[object] = []
        errors = for_each(names, lambda name: documents.append(_mount_document(host, name)))
        print_documents(documents, "json")
        return exit_code(errors)
    mounted = mounted_images(host)
    if invocation.text("format"):
        there = [record for record in list_images(host.layout) if record.image_id in mounted]
        print_documents([_document(one, mounted[one.image_id]) for one in there], "json")
        return 0
    for record in sorted(list_images(host.layout), key=lambda one: not one.names):
        target = mounted.pop(record.image_id, None)
        if target is not None:
            name = record.names[0] if record.names else record.image_id
            write(f"{printable(name)} {target}\n")
    return 0


def _mount_document(host: "Host", name: str) -> dict[str, object]:
    target = mount_image(host, name)
    return _document(find_image(host.layout, name, all_names=True), target)


def _document(record: "ImageRecord", target: str) -> dict[str, object]:
    return {
        "id": record.image_id,
        "Names": [record.manifest_digest],
        "Repositories": list(record.names),
        "mountpoint": target,
    }


def unmount(invocation: "Invocation") -> int:
    """Unmount images; the id of each that was mounted is the result."""
    names = invocation.texts("images")
    wants_all = invocation.flag("all")
    if wants_all == bool(names):
        raise UsageError("name images, or say --all")
    if wants_all and not is_unshared():
        return 0  # what is mounted is so in the mount namespace of an `unshare`
    check_unshared("image unmount")
    host = invocation.host()

    def unmount_one(name: str) -> None:
        record = find_image(host.layout, name)
        if unmount_image(host, record, force=invocation.flag("force")):
            write(f"{record.image_id}\n")
        elif not wants_all:
            raise UsageError(f"image {name} is not mounted")

    chosen = tuple(mounted_images(host)) if wants_all else names
    return exit_code(for_each(chosen, unmount_one))
