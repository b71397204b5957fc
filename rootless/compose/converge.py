"""Bring a project's containers to what its file says, and start them."""

import os
import time

from rootless.compose import identity, replicas, resources
from rootless.compose.conditions import wait_for, wait_for_dependencies
from rootless.compose.errors import ComposeError
from rootless.compose.hooks import run_hooks
from rootless.compose.identity import Member, members
from rootless.compose.jobs import Job, run_jobs
from rootless.compose.parts import Part
from rootless.compose.translate import check_services
from rootless.container import ending
from rootless.errors import RootlessError
from storage.errors import StorageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.host.paths import Host

NEVER, WHEN_CHANGED, ALWAYS = "never", "changed", "always"


class UpOptions(NamedTuple):
    """What `up` and `create` are asked for; `recreate` is one of NEVER, WHEN_CHANGED, ALWAYS.

    `targets` are the services that the user named; the others are their dependencies.
    """

    recreate: str = WHEN_CHANGED
    recreate_dependencies: str = WHEN_CHANGED
    targets: tuple[str, ...] = ()
    scale: dict[str, int] = {}  # noqa: RUF012 - never changed
    timeout_s: int | None = None
    fresh_volumes: bool = False
    remove_orphans: bool = False
    at_once: int = 0


def create_all(host: "Host", project: "Project", options: UpOptions, tell: "Tell") -> list[str]:
    """Make everything that the services need, and their containers, without starting them.

    Returns the names of the services that were made anew. Raises ComposeError and what making
    raises.
    """
    for name, count in options.scale.items():
        if name not in project.services:
            raise ComposeError(f"no such service: {name}")
        _check_scale(project, name, count)
    for name, service in project.services.items():
        _check_scale(project, name, replicas.wanted_count(service, options.scale.get(name)))
    check_services(project)
    resources.check_external(host, project)
    with identity.project_lock(host, project.name):
        resources.make_networks(host, project, tell)
        resources.make_volumes(host, project, tell)
        contents = resources.keep_contents(host, project, list(project.services))
        care_for_orphans(host, project, options, tell)
        jobs = []
        there = members(host, project.name)
        for name in project.order():
            own = [one for one in there if one.service == name]
            if _is_as_wanted(host, project, name, options, own):
                for one in own:
                    if one.is_running:
                        tell("Container", one.name, "Running")
                continue
            needs = tuple(project.services[name].part("depends_on"))
            jobs.append(Job(name, _creation(host, project, name, options, contents), needs))
        results = run_jobs(host, jobs, tell, at_once=options.at_once)
    return [name for name, recreated in results.items() if recreated]


def _is_as_wanted(
    host: "Host", project: "Project", name: str, options: UpOptions, own: list[Member]
) -> bool:
    """Whether nothing is to be made or removed of a service: no child has to be forked for it."""
    service = project.services[name]
    if _policy(name, options) == ALWAYS or _shares_namespaces(service):
        return False
    count = replicas.wanted_count(service, options.scale.get(name))
    numbers = range(1, count + 1)
    names = [identity.container_name(project.name, name, service, number) for number in numbers]
    if sorted(names) != sorted(one.name for one in own):
        return False
    if _policy(name, options) == NEVER:
        return True
    expected = identity.config_hash(project, name)
    return not any(_differs(host, project, one, expected) for one in own)


def _policy(name: str, options: UpOptions) -> str:
    """Return when containers of a service are made anew."""
    is_target = not options.targets or name in options.targets
    return options.recreate if is_target else options.recreate_dependencies


def _shares_namespaces(service: Part) -> bool:
    return any(service.text(key).startswith("service:") for key in ("network_mode", "pid", "ipc"))


def _check_scale(project: "Project", name: str, count: int) -> None:
    own = project.services[name].text("container_name")
    if count > 1 and own:
        raise ComposeError(
            f"service {name} has a container_name ({own}) and cannot have {count} containers",
            remedy="remove container_name from the file",
        )


def care_for_orphans(host: "Host", project: "Project", options: UpOptions, tell: "Tell") -> None:
    """Remove the containers of services that the file does not have any more, or tell of them."""
    known = project.every()
    orphans = [one for one in members(host, project.name) if one.service not in known]
    if not orphans:
        return
    if not options.remove_orphans:
        if project.variables.get("COMPOSE_IGNORE_ORPHANS", "").lower() in ("1", "true"):
            return
        names = " ".join(one.name for one in orphans)
        host.note(
            f"found orphan containers ([{names}]) for this project; if you removed or renamed this"
            " service, you can clean them up with --remove-orphans"
        )
        return
    for one in orphans:
        tell("Container", one.name, "Removing")
        replicas.remove(host, one.id, options.timeout_s)
        tell("Container", one.name, "Removed")


def _creation(
    host: "Host",
    project: "Project",
    name: str,
    options: UpOptions,
    contents: dict[tuple[str, str], str],
) -> "Callable[[Tell], object]":
    def work(tell: "Tell") -> object:
        return _converge(host, project, name, options, contents, tell)

    return work


def _converge(
    host: "Host",
    project: "Project",
    name: str,
    options: UpOptions,
    contents: dict[tuple[str, str], str],
    tell: "Tell",
) -> bool:
    """Bring the containers of one service to their number and their form; true if one was anew."""
    found = replicas.settle(host, project, name)
    wanted = replicas.wanted_count(project.services[name], options.scale.get(name))
    policy = _policy(name, options)
    kept, surplus = _select(found, wanted)
    for one in surplus:
        tell("Container", one.name, "Removing")
        replicas.remove(host, one.id, options.timeout_s)
        tell("Container", one.name, "Removed")
    expected = identity.config_hash(project, name)
    recreated = False
    for one in kept:
        if policy == ALWAYS or (policy == WHEN_CHANGED and _differs(host, project, one, expected)):
            replicas.replace(
                host, project, one, contents, options.timeout_s, tell,
                fresh_volumes=options.fresh_volumes,
            )  # fmt: skip
            recreated = True
        elif one.is_running:
            tell("Container", one.name, "Running")
    taken = {one.number for one in kept}
    number = 1
    while len(taken) < wanted:
        if number not in taken:
            own = identity.container_name(project.name, name, project.services[name], number)
            tell("Container", own, "Creating")
            replicas.make_container(host, project, name, number, contents)
            tell("Container", own, "Created")
            taken.add(number)
        number += 1
    return recreated


def _select(found: list[Member], wanted: int) -> tuple[list[Member], list[Member]]:
    """Return the containers that stay, one of each number, and those that are too many."""
    kept: dict[int, Member] = {}
    surplus = []
    for one in found:
        if one.number in kept or len(kept) >= wanted:
            surplus.append(one)
        else:
            kept[one.number] = one
    return list(kept.values()), surplus


def _differs(host: "Host", project: "Project", one: Member, expected: str) -> bool:
    """Whether a container is not what its service says now."""
    from rootless import images
    from storage.errors import ImageNotFound

    record = one.view.record
    if record.labels.get(identity.HASH) != expected:
        return True
    image = identity.image_name(project.name, one.service, project.services[one.service])
    try:
        if images.find_local(host, image).image_id != record.image_id:
            return True
    except ImageNotFound:
        return False
    if not _shares_namespaces(project.services[one.service]):
        return False
    # A namespace that it shares may be that of a container which is not there any more.
    ids = {member.id for member in members(host, project.name)}
    joined = [text.partition(":")[2] for text in record.joins.values() if ":" in text]
    return any(container_id not in ids for container_id in joined)


def start_all(
    host: "Host",
    project: "Project",
    options: UpOptions,
    tell: "Tell",
    *,
    recreated: "list[str] | None" = None,
) -> None:
    """Start the containers of the services, each when what it depends on is as it needs it.

    Raises ComposeError and what a start raises.
    """
    changed = set(recreated or ())
    there = members(host, project.name)
    jobs = [
        Job(
            name,
            _starting(host, project, name, changed),
            tuple(project.services[name].part("depends_on")),
        )
        for name in project.order()
        if not _runs(project, name, changed, [one for one in there if one.service == name])
    ]
    run_jobs(host, jobs, tell, at_once=options.at_once)


def _runs(project: "Project", name: str, changed: set[str], own: list[Member]) -> bool:
    """Whether nothing is to be started or waited for."""
    needs = project.services[name].part("depends_on")
    return all(one.view.status == "running" for one in own) and not any(
        how.text("condition", "service_started") != "service_started"
        or (needed in changed and how.flag("restart"))
        for needed, how in needs.each()
    )


def _starting(
    host: "Host", project: "Project", name: str, changed: set[str]
) -> "Callable[[Tell], object]":
    service = project.services[name]

    def work(tell: "Tell") -> object:
        wait_for_dependencies(host, project, service, tell)
        needs_restart = any(
            needed in changed and how.flag("restart")
            for needed, how in service.part("depends_on").each()
        )
        for one in members(host, project.name):
            if one.service != name:
                continue
            if one.view.status == "running":
                if not needs_restart or name in changed:
                    continue
                tell("Container", one.name, "Restarting")
                ending.stop(host, one.id)
            tell("Container", one.name, "Starting")
            try:
                replicas.start(host, one.id)
            except (RootlessError, StorageError):
                if os.path.exists(one.view.paths.record):
                    raise
                continue  # another command has made it anew meanwhile, and starts that one
            tell("Container", one.name, "Started")
            run_hooks(host, one, service, "post_start")
        return None

    return work


def wait_until_ready(
    host: "Host", project: "Project", tell: "Tell", timeout_s: float | None = None
) -> None:
    """Wait until every service runs, and is healthy where it has a check. Raises ComposeError."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    jobs = []
    for name in project.order():

        def work(tell: "Tell", name: str = name) -> object:
            wait_for(host, project.name, name, "running_or_healthy", tell, deadline_s)
            return None

        jobs.append(Job(name, work))
    run_jobs(host, jobs, tell)
