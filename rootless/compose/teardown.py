"""Stop and remove what a project has: containers by their dependencies, then all else."""

from rootless.compose import identity, replicas, resources
from rootless.compose.errors import ComposeError
from rootless.compose.hooks import run_hooks
from rootless.compose.identity import Member, members
from rootless.compose.jobs import Job, run_jobs
from rootless.container import ending, networks
from rootless.container.remove import remove_volume_data
from rootless.errors import RootlessError
from storage.errors import ContainerNotFound, InUse, NetworkNotFound, StorageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.host.paths import Host


class DownOptions(NamedTuple):
    """What `down` is asked for; `images` is "", local or all."""

    volumes: bool = False
    orphans: bool = False
    images: str = ""
    timeout_s: int | None = None
    at_once: int = 0


def each(
    host: "Host",
    found: "Sequence[Member]",
    tell: "Tell",
    words: tuple[str, str],
    action: "Callable[[Member], object]",
    at_once: int = 0,
    *,
    dependents_first: bool = False,
) -> None:
    """Do something to containers side by side, and tell of it; `words` before and after."""

    def work_on(one: Member) -> "Callable[[Tell], object]":
        def work(tell: "Tell") -> object:
            tell("Container", one.name, words[0])
            try:
                action(one)
            except ContainerNotFound:
                return None
            tell("Container", one.name, words[1])
            return None

        return work

    needs = _dependents(found) if dependents_first else {}
    jobs = [Job(one.id, work_on(one), needs.get(one.id, ())) for one in found]
    run_jobs(host, jobs, tell, at_once=at_once)


def _dependents(found: "Sequence[Member]") -> dict[str, tuple[str, ...]]:
    """Return which containers have to go before each: by the labels, so that no file is needed."""
    wanted: dict[str, list[str]] = {}
    for one in found:
        text = one.view.record.labels.get(identity.DEPENDS_ON, "")
        names = {part.partition(":")[0] for part in text.split(",") if part}
        for other in found:
            joins = [text.partition(":")[2] for text in one.view.record.joins.values()]
            is_needed = other.service in names and other.service != one.service
            if is_needed or other.id in joins:
                wanted.setdefault(other.id, []).append(one.id)
    return {key: tuple(ids) for key, ids in wanted.items()}


def stop(
    host: "Host",
    found: "Sequence[Member]",
    timeout_s: int | None,
    tell: "Tell",
    at_once: int = 0,
    project: "Project | None" = None,
) -> None:
    """Stop the containers that run, dependents before what they depend on.

    With the project their `pre_stop` hooks run before.
    """
    services = project.every() if project is not None else {}

    def stop_one(one: Member) -> None:
        if one.service in services and one.view.status == "running":
            run_hooks(host, one, services[one.service], "pre_stop")
        ending.stop(host, one.id, timeout_s)

    running = [one for one in found if one.is_running]
    each(
        host,
        running,
        tell,
        ("Stopping", "Stopped"),
        stop_one,
        at_once,
        dependents_first=True,
    )


def remove(
    host: "Host", found: "Sequence[Member]", tell: "Tell", *, volumes: bool, at_once: int = 0
) -> None:
    """Remove containers; with `volumes` the anonymous ones that they have."""

    def remove_one(one: Member) -> None:
        anonymous = replicas.anonymous_volumes(host, one) if volumes else {}
        ending.remove(host, one.id, force=True, volumes=volumes)
        for name in anonymous.values():
            # One that a container has taken over from the one before.
            try:
                remove_volume_data(host, name)
            except InUse:
                continue

    each(
        host, found, tell, ("Removing", "Removed"), remove_one, at_once, dependents_first=True
    )  # fmt: skip


def down(
    host: "Host",
    name: str,
    project: "Project | None",
    options: DownOptions,
    tell: "Tell",
    services: "Sequence[str]" = (),
) -> None:
    """Take a project down: containers and networks, with `volumes` its volumes as well.

    Without a file (`project` is None) everything with the project's labels goes. Raises
    ComposeError and what stopping and removing raises.
    """
    with identity.project_lock(host, name):
        _down(host, name, project, options, tell, services)


def _down(
    host: "Host",
    name: str,
    project: "Project | None",
    options: DownOptions,
    tell: "Tell",
    services: "Sequence[str]",
) -> None:
    found = members(host, name, oneoff=None)
    if services:
        found = [one for one in found if one.service in services]
    elif project is not None and not options.orphans:
        known = project.every()
        orphans = [one for one in found if one.service not in known and not one.oneoff]
        found = [one for one in found if one.service in known]
        if orphans:
            names = " ".join(one.name for one in orphans)
            host.note(f"found orphan containers ([{names}]) for this project: --remove-orphans")
    stop(host, found, options.timeout_s, tell, options.at_once, project)
    remove(host, found, tell, volumes=options.volumes, at_once=options.at_once)
    if services:
        return
    images = _images(project, options.images) if project is not None else []
    if options.volumes:
        _remove_volumes(host, name, tell)
    for image in images:
        _remove_image(host, image, tell)
    for network in resources.project_networks(host, name):
        _remove_network(host, network, tell)
    if not members(host, name, oneoff=None):
        resources.forget_contents(host, name)


def _remove_network(host: "Host", network: str, tell: "Tell") -> None:
    tell("Network", network, "Removing")
    try:
        networks.remove(host, network)
    except NetworkNotFound:
        return
    except InUse:
        tell("Network", network, "Resource is still in use")
        return
    tell("Network", network, "Removed")


def _remove_volumes(host: "Host", project: str, tell: "Tell") -> None:
    for volume in resources.project_volumes(host, project):
        tell("Volume", volume, "Removing")
        try:
            remove_volume_data(host, volume)
        except InUse:
            tell("Volume", volume, "Resource is still in use")
            continue
        tell("Volume", volume, "Removed")


def _images(project: "Project", kind: str) -> list[str]:
    """Return the names that `--rmi` means: local are those that only the project gave."""
    if not kind:
        return []
    found = [
        identity.image_name(project.name, name, service)
        for name, service in project.services.items()
        if kind == "all" or ("build" in service and "image" not in service)
    ]
    return list(dict.fromkeys(found))


def _remove_image(host: "Host", image: str, tell: "Tell") -> None:
    from rootless import images, naming

    tell("Image", image, "Removing")
    try:
        naming.remove(host, image)
        images.collect(host)
    except (RootlessError, StorageError) as error:
        tell("Image", image, error.message)
        return
    tell("Image", image, "Removed")


def chosen(
    host: "Host", project: str, services: "Sequence[str]", *, all_states: bool = True
) -> list[Member]:
    """Return the containers of services, of all without names. Raises ComposeError."""
    found = members(host, project)
    names = {one.service for one in found}
    for service in services:
        if service not in names:
            raise ComposeError(f"no such service: {service}")
    return [
        one
        for one in found
        if (not services or one.service in services) and (all_states or one.is_running)
    ]
