"""`container clone`: another container with the settings of one that is there."""

from rootless.container.document import read_request
from rootless.container.request import LIMITS
from rootless.container.update import with_limits
from rootless.errors import UsageError
from storage.containers import ContainerRecord, find_container, name_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.host.paths import Host
    from rootless.images import OnEvent


def clone(
    host: "Host",
    text: str,
    *,
    name: str = "",
    image: str = "",
    changes: "Mapping[str, object] | None" = None,
    pod: str = "",
    on_event: "OnEvent | None" = None,
) -> ContainerRecord:
    """Make a container like another, with other limits where `changes` has fields of LIMITS.

    Without a name it is called after the other: NAME-clone. `pod` is the pod that it is put in.
    Raises ContainerNotFound, PodNotFound, what `rootless.container.create.create` raises.
    """
    from rootless.container.create import create

    found = find_container(host.layout, text)
    record = found.record
    unknown = [field for field in changes or () if field not in LIMITS]
    if unknown:
        raise UsageError(f"clone: {unknown[0]} is no limit")
    request = read_request(record.request)
    request = request._replace(
        create_command=(),
        name=name or _free_name(host, f"{record.name}-clone"),
        volume=tuple(_absolute(text, record) for text in request.volume),
        image=image or (request.image and (record.image_id or request.image)),
        pull=request.pull if image else "never",
        replace=False,
        cidfile=None,
        pidfile=None,
    )
    if image and request.rootfs_kind:
        raise UsageError("clone: the container has a directory instead of an image")
    if pod or record.pod:
        from rootless.container.pods_join import create_in_pod, without_pod

        request = without_pod(host, record, request)._replace(pod=pod or record.pod)
        return create_in_pod(host, with_limits(request, changes or {}), on_event)
    return create(host, with_limits(request, changes or {}), on_event)


def _free_name(host: "Host", base: str) -> str:
    name, number = base, 0
    while name_owner(host.layout, name) is not None:
        number += 1
        name = f"{base}{number}"
    return name


def _absolute(text: str, record: ContainerRecord) -> str:
    """Return a volume whose source does not depend on where the other was made."""
    source, separator, rest = text.partition(":")
    if not separator or not source.startswith("."):
        return text
    target = rest.partition(":")[0]
    for mount in record.mounts:
        if mount.get("Destination") == target:
            return f"{mount.get('Source')}:{rest}"
    return text
