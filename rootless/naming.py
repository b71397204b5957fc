"""Names of images: given, taken away, and with the last one the image."""

from rootless.host.paths import Host
from storage import event_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage.images import RemoveResult


def tag(host: Host, source: str, targets: list[str]) -> list[str]:
    """Give an image further names; return them in full. Raises ImageNotFound, InvalidReference."""
    from storage.images import find_entry, tag_image

    if host.layout.shared:
        from rootless.shared_home import settle

        settle(host)
        names = [_tag_shared(host, source, target) for target in targets]
    else:
        names = [tag_image(host.layout, source, target) for target in targets]
    _tell(host, "tag", find_entry(host.layout, source).image_id, names)
    return names


def _tell(host: Host, status: str, image_id: str, names: "Iterable[str]") -> None:
    for name in names:
        event_log.image_event(host.layout.run_root, status, image_id=image_id, name=name)


def _tag_shared(host: Host, source: str, target: str) -> str:
    from rootless.shared_home import tag_shared
    from storage.images import find_entry, full_name, tag_image

    record = find_entry(host.layout, source)
    if record.store != host.layout.shared:
        return tag_image(host.layout, source, target)
    name = full_name(target)
    tag_shared(host, record, name)
    return name


def untag(host: Host, name: str, names: list[str]) -> tuple[str, ...]:
    """Take names from an image, all of them when none is given. Raises ImageNotFound."""
    from storage.images import find_entry, untag_image

    record = find_entry(host.layout, name, all_names=True)
    if host.layout.shared and record.store == host.layout.shared:
        from rootless.shared_home import untag_shared

        gone = untag_shared(host, record, tuple(names))
    else:
        gone = untag_image(host.layout, name, tuple(names))
    _tell(host, "untag", record.image_id, gone)
    return gone


def remove(host: Host, name: str, *, force: bool = False, unnamed: bool = False) -> "RemoveResult":
    """Remove a name, and with the last one the image; `force` takes all names from an id.

    `unnamed` leaves an image alone that has a name by now.
    Containers of the image are the caller's to remove first. Space is freed by `collect`.
    Raises ImageNotFound, InUse.
    """
    from storage.images import find_entry, remove_image

    record = find_entry(host.layout, name)
    if host.layout.shared and record.store == host.layout.shared:
        from rootless.shared_home import remove_shared

        result = remove_shared(host, record, name, force=force)
    else:
        result = remove_image(host.layout, name, force=force, unnamed=unnamed)
    _tell(host, "untag", record.image_id, result.untagged)
    if result.left:
        from rootless.images import collect

        collect(host, left=result.left)
    for image_id in result.deleted:
        _tell(host, "remove", image_id, result.untagged[:1] or ("",))
    return result
