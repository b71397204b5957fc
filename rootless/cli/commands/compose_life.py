"""compose start, stop, restart, kill, rm, pause, unpause, scale: containers that are there."""

import sys

from rootless.cli.commands.compose_up import scales
from rootless.cli.compose_session import Session, run
from rootless.compose import converge, teardown
from rootless.compose.converge import NEVER, UpOptions
from rootless.compose.errors import ComposeError
from rootless.compose.fetch import ImageOptions, ensure_images
from rootless.compose.identity import Member, members
from rootless.container import ending, lifecycle
from rootless.container.limits import parse_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.compose.project import Project


def _chosen(session: Session, *, all_states: bool = True) -> list[Member]:
    """Return the containers of the services that the command line names."""
    name, project = session.named()
    services = session.invocation.texts("names")
    if project is None:
        return teardown.chosen(session.host, name, services, all_states=all_states)
    project.chosen(services, dependencies=False)
    return [
        one
        for one in members(session.host, name)
        if (one.service in services or not services) and (all_states or one.is_running)
    ]


def start(invocation: "Invocation") -> int:
    """Start containers."""
    return run(invocation, _start)


def _start(session: Session) -> int:
    invocation = session.invocation
    services = invocation.texts("names")
    project = session.project.chosen(services)
    made = {one.service for one in members(session.host, project.name)}
    for name in services or project.services:
        if name not in made:
            raise ComposeError(f"service {name!r} has no container to start")
    project = project.only(name for name in project.services if name in made)
    converge.start_all(session.host, project, UpOptions(at_once=session.at_once), session.tell)
    if invocation.flag("wait"):
        limit_s = invocation.number("wait_timeout")
        converge.wait_until_ready(session.host, project, session.tell, limit_s)
    return 0


def stop(invocation: "Invocation") -> int:
    """Stop containers."""
    return run(invocation, _stop)


def _stop(session: Session) -> int:
    found = _chosen(session)
    _, project = session.named()
    teardown.stop(session.host, found, session.timeout_s(), session.tell, session.at_once, project)
    return 0


def restart(invocation: "Invocation") -> int:
    """Stop containers and start them."""
    return run(invocation, _restart)


def _restart(session: Session) -> int:
    found = _chosen(session)
    services = {one.service for one in found}
    if not session.invocation.flag("no_deps"):
        name, project = session.named()
        if project is not None:
            services |= _restarted_with(project, services)
            found = [one for one in members(session.host, name) if one.service in services]
    timeout_s = session.timeout_s()
    _each(
        session,
        found,
        ("Restarting", "Started"),
        lambda one: lifecycle.restart(session.host, one.id, timeout_s=timeout_s),
    )
    return 0


def _restarted_with(project: "Project", services: set[str]) -> set[str]:
    """Return the services that want to be restarted with others: `depends_on`, `restart: true`."""
    return {
        name
        for name, service in project.services.items()
        if any(how.flag("restart") for key, how in service.part("depends_on").each()
               if key in services)
    }  # fmt: skip


def _each(
    session: Session,
    found: list[Member],
    words: tuple[str, str],
    action: "Callable[[Member], object]",
) -> None:
    teardown.each(session.host, found, session.tell, words, action, session.at_once)


def kill(invocation: "Invocation") -> int:
    """Send a signal."""
    return run(invocation, _kill)


def _kill(session: Session) -> int:
    signal = session.invocation.text("signal")
    parse_signal(signal)
    found = _chosen(session, all_states=False)
    words = ("Killing", "Killed")
    _each(session, found, words, lambda one: ending.kill(session.host, one.id, signal))
    if session.invocation.flag("remove_orphans"):
        options = UpOptions(remove_orphans=True)
        converge.care_for_orphans(session.host, session.project, options, session.tell)
    return 0


def rm(invocation: "Invocation") -> int:
    """Remove containers that do not run."""
    return run(invocation, _rm)


def _rm(session: Session) -> int:
    from rootless.cli.output import confirm

    invocation = session.invocation
    found = _chosen(session)
    if invocation.flag("stop"):
        teardown.stop(session.host, found, None, session.tell, session.at_once)
        found = _chosen(session)
    stopped = [one for one in found if not one.is_running]
    if not stopped:
        sys.stderr.write("No stopped containers\n")
        return 0
    names = ", ".join(one.name for one in stopped)
    if not invocation.flag("force") and not confirm(f"Going to remove {names}"):
        return 0
    teardown.remove(
        session.host,
        stopped,
        session.tell,
        volumes=invocation.flag("volumes"),
        at_once=session.at_once,
    )
    return 0


def pause(invocation: "Invocation") -> int:
    """Pause containers."""
    return run(invocation, _pause)


def _pause(session: Session) -> int:
    from rootless.container.freezer import pause as freeze

    found = [one for one in _chosen(session) if one.view.status == "running"]
    _each(session, found, ("Pausing", "Paused"), lambda one: freeze(session.host, one.id))
    return 0


def unpause(invocation: "Invocation") -> int:
    """Let paused containers go on."""
    return run(invocation, _unpause)


def _unpause(session: Session) -> int:
    from rootless.container.freezer import unpause as go_on

    found = [one for one in _chosen(session) if one.view.status == "paused"]
    _each(session, found, ("Unpausing", "Unpaused"), lambda one: go_on(session.host, one.id))
    return 0


def scale(invocation: "Invocation") -> int:
    """Change how many containers services have."""
    return run(invocation, _scale)


def _scale(session: Session) -> int:
    invocation = session.invocation
    counts = scales(invocation.texts("counts"))
    project = session.project.chosen(counts, dependencies=not invocation.flag("no_deps"))
    options = UpOptions(
        recreate=NEVER, recreate_dependencies=NEVER, scale=counts, at_once=session.at_once
    )

    def build(names: list[str]) -> None:
        from rootless.cli.commands.compose_build import build_services

        build_services(session.host, project, names, session.tell)

    image_options = ImageOptions(at_once=session.at_once)
    ensure_images(session.host, project, image_options, session.tell, build)
    converge.create_all(session.host, project, options, session.tell)
    converge.start_all(session.host, project, options, session.tell)
    return 0
