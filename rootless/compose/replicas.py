"""The containers of one service: made, made anew, started, stopped, removed.

A container is made anew so that a kill at any moment leaves something that the next `up` completes:
the new one is made under a name with the id of the old one in front, the old one removed, and the
new one renamed.
"""

from rootless.compose import identity
from rootless.compose.given import Given
from rootless.compose.identity import Member, members
from rootless.compose.parts import Part
from rootless.compose.translate import make_request
from rootless.container import create as creating
from rootless.container import ending, lifecycle
from rootless.container.depending import dependents_of
from rootless.errors import LimitError
from storage.containers import find_container, rename_container
from storage.errors import ContainerNotFound, VolumeNotFound
from storage.volumes import read_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host
    from storage.containers import ContainerRecord


def owners_of(host: "Host", project: str) -> dict[str, str]:
    """Return the id of the first container of each service."""
    found: dict[str, str] = {}
    for one in members(host, project):
        found.setdefault(one.service, one.id)
    return found


def make_container(
    host: "Host",
    project: "Project",
    service: str,
    number: int,
    contents: dict[tuple[str, str], str],
    *,
    replaced: Member | None = None,
    kept: dict[str, str] | None = None,
) -> "ContainerRecord":
    """Make a container of a service; `replaced` is the one whose place it takes.

    `kept` are anonymous volumes that it takes over, by the place where they are mounted.

    Raises ComposeError and what making a container raises.
    """
    from rootless import images

    fields = project.services[service]
    image = identity.image_name(project.name, service, fields)
    labels = {
        **fields.words("labels"),
        **identity.labels_of(project, service, number, oneoff=False),
        identity.HASH: identity.config_hash(project, service),
        identity.IMAGE: images.find_local(host, image).image_id,
    }
    name = identity.container_name(project.name, service, fields, number)
    if replaced is not None:
        labels[identity.REPLACE] = replaced.id
        name = f"{replaced.id[:12]}_{name}"
    given = Given(owners_of(host, project.name), kept or {}, contents)
    request = make_request(
        project,
        service,
        given,
        image=image,
        name=name,
        label=tuple(f"{key}={value}" for key, value in labels.items()),
    )
    return create(host, request)


def create(host: "Host", request: "ContainerRequest") -> "ContainerRecord":
    """Make a container; what it reserves is a wish, which does not keep it from running."""
    try:
        return creating.create(host, request)
    except LimitError:
        if not request.memory_reservation:
            raise
    record = creating.create(host, request._replace(memory_reservation=""))
    host.note(f"container {record.name}: a memory reservation cannot be enforced here")
    return record


def anonymous_volumes(host: "Host", member: Member) -> dict[str, str]:
    """Return the anonymous volumes of a container by the place where they are mounted."""
    found = {}
    for mount in member.view.record.mounts:
        name = str(mount.get("Name") or "")
        if not name:
            continue
        try:
            if read_volume(host.layout, name).anonymous:
                found[str(mount["Destination"])] = name
        except VolumeNotFound:
            continue
    return found


def settle(host: "Host", project: "Project", service: str) -> list[Member]:
    """Complete what a killed command has left of a service; return its containers."""
    found = [one for one in members(host, project.name) if one.service == service]
    by_id = {one.id: one for one in found}
    changed = False
    for one in found:
        replaced = one.view.record.labels.get(identity.REPLACE, "")
        if not replaced or not one.name.startswith(f"{replaced[:12]}_"):
            continue
        changed = True
        if replaced in by_id:
            ending.remove(host, one.id, force=True)
        else:
            rename_container(host.layout, one.id, one.name[13:], sync=True)
    if changed:
        found = [one for one in members(host, project.name) if one.service == service]
    return found


def replace(
    host: "Host",
    project: "Project",
    member: Member,
    contents: dict[tuple[str, str], str],
    timeout_s: int | None,
    tell: "Tell",
    *,
    fresh_volumes: bool = False,
) -> str:
    """Make a container anew and return its id; its anonymous volumes go over to the new one."""
    name = identity.container_name(
        project.name, member.service, project.services[member.service], member.number
    )
    tell("Container", member.name, "Recreate")
    for container_id in dependents_of(host, member.id):
        # It lives in the namespaces of the one that goes: its own service makes it anew.
        remove(host, container_id, timeout_s)
    kept = {} if fresh_volumes else anonymous_volumes(host, member)
    record = make_container(
        host, project, member.service, member.number, contents, replaced=member, kept=kept
    )
    remove(host, member.id, timeout_s, volumes=fresh_volumes)
    rename_container(host.layout, record.id, name, sync=True)
    tell("Container", name, "Recreated")
    return record.id


def remove(
    host: "Host", container_id: str, timeout_s: int | None = None, *, volumes: bool = False
) -> None:
    """Stop and remove a container; one that is not there any more is no error."""
    try:
        ending.stop(host, container_id, timeout_s)
        ending.remove(host, container_id, force=True, volumes=volumes)
    except ContainerNotFound:
        return


def start(host: "Host", container_id: str) -> None:
    """Start a container; a running one is left alone, a paused one goes on."""
    view = find_container(host.layout, container_id)
    if view.status == "paused":
        from rootless.container.freezer import unpause

        unpause(host, container_id)
        return
    lifecycle.start(host, container_id)


def wanted_count(service: Part, scale: int | None = None) -> int:
    """Return how many containers a service has."""
    if scale is not None:
        return scale
    if (own := service.number("scale")) is not None:
        return own
    replicas = service.part("deploy").number("replicas")
    return 1 if replicas is None else replicas
