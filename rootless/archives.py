"""Images into files, and a plain root file system out of one.

What is unpacked is unpacked inside a user namespace; `on_event` is as in `rootless.images`.
"""

from rootless.host.paths import Host
from rootless.images import default_key, in_namespace, tell
from storage.images import ImageRecord, find_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.images import OnEvent
    from rootless.linux.userns import Emit
    from storage.archive import Changes


def save(
    host: Host,
    names: "Sequence[str]",
    target: str | int,
    *,
    form: str = "docker-archive",
    compress: bool = False,
    on_event: "OnEvent | None" = None,
) -> None:
    """Write images to a file, a directory or a descriptor; they have the names that are given.

    An image that is given by its id has no name there. With `compress` every layer has gzip there,
    also one that is stored without compression. Raises ImageNotFound, InvalidArchive,
    StoreUnusable.
    """
    from storage.save import SavedImage, save_images

    chosen: dict[str, SavedImage] = {}
    for name in names:
        record = find_image(host.layout, name)
        known = chosen.get(record.manifest_digest) or SavedImage(record, ())
        tags = tuple(one for one in record.names if "@" not in one and one not in known.names)
        chosen[record.manifest_digest] = known._replace(names=(*known.names, *tags))
    if compress:
        from rootless.pushing import send_converted
        from storage.convert import GZIP, Wanted

        for image in chosen.values():
            wanted = Wanted(compression=GZIP)

            def write(record: ImageRecord, names: tuple[str, ...] = image.names) -> None:
                save_images(host.layout, [SavedImage(record, names)], form, target, on_event)

            send_converted(host, image.record, wanted, write)
    else:
        save_images(host.layout, list(chosen.values()), form, target, on_event)
    for known in chosen.values():
        tell(host, "save", known.record, target if isinstance(target, str) else "-")


def import_image(
    host: Host,
    path: str | None,
    reference: str | None,
    *,
    changes: "Changes | None" = None,
    message: str = "",
    platform: str | None = None,
    on_event: "OnEvent | None" = None,
) -> ImageRecord:
    """Make an image of one layer from a plain root file system: archive, directory or stdin.

    `platform` (OS/ARCH[/VARIANT]) is this host's by default. Raises PolicyRefused, InvalidArchive,
    InvalidReference, StoreUnusable.
    """
    from storage.archive import import_rootfs
    from storage.platform import parse_platform
    from storage.policy import check_source_policy
    from storage.verify import check_demands

    chosen = parse_platform(platform) if platform else None
    demands = check_source_policy("tarball", path or "", "", host.environ)
    check_demands(host.layout, demands, (), "", f"tarball:{path or '-'}", None)

    def work(emit: "Emit") -> object:
        record = import_rootfs(
            host.layout,
            path,
            default_key(host),
            reference=reference,
            changes=changes,
            message=message,
            platform=chosen,
            events=lambda event: emit(list(event)),
        )
        return record.manifest_digest

    digest = in_namespace(host, work, on_event)
    record = find_image(host.layout, str(digest), all_names=True)
    tell(host, "import", record, path or "-")
    return record
