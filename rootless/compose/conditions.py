"""Wait until what a service depends on is in the state that it needs."""

import time

from rootless.compose.errors import ComposeError
from rootless.compose.identity import Member, members
from rootless.container.health_state import HEALTHY, UNHEALTHY, health_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.jobs import Tell
    from rootless.compose.parts import Part
    from rootless.compose.project import Project
    from rootless.host.paths import Host

_POLL_S = 0.1
_FIRST_POLL_S = 0.01


def wait_for_dependencies(host: "Host", project: "Project", service: "Part", tell: "Tell") -> None:
    """Wait for the conditions of `depends_on`. Raises ComposeError."""
    for needed, how in service.part("depends_on").each():
        if needed not in project.services:
            continue
        condition = how.text("condition", "service_started")
        if condition == "service_started":
            continue
        try:
            wait_for(host, project.name, needed, condition, tell)
        except ComposeError as error:
            if how.flag("required", default=True):
                raise
            host.note(f"optional dependency {needed} failed: {error.message}")


def wait_for(
    host: "Host",
    project: str,
    service: str,
    condition: str,
    tell: "Tell",
    deadline_s: float | None = None,
) -> None:
    """Wait until all containers of a service are as a condition says; until a monotonic time.

    Raises ComposeError.
    """
    told: set[str] = set()
    poll_s = _FIRST_POLL_S
    while True:
        found = [one for one in members(host, project) if one.service == service]
        if not found:
            if condition == "running_or_healthy":
                return  # a service of which nobody wants a container
            raise ComposeError(f"dependency failed to start: service {service} has no container")
        open_ones = [one for one in found if not _is_met(one, condition)]
        for one in found:
            if one in open_ones and one.name not in told:
                told.add(one.name)
                tell("Container", one.name, "Waiting")
        if not open_ones:
            word = "Exited" if condition == "service_completed_successfully" else "Healthy"
            for one in found:
                tell("Container", one.name, word)
            return
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise ComposeError(f"application not healthy in time: waiting for {open_ones[0].name}")
        time.sleep(poll_s)
        poll_s = min(_POLL_S, poll_s * 2)


def _is_met(one: Member, condition: str) -> bool:
    """Whether a container is as a condition says. Raises ComposeError when it never will be."""
    view = one.view
    if condition == "service_completed_successfully":
        if view.status == "exited" and view.exit_code:
            raise ComposeError(
                f'service "{one.service}" didn\'t complete successfully: exit {view.exit_code}'
            )
        return view.status == "exited"
    what = "" if condition == "running_or_healthy" else "dependency failed to start: "
    if view.status == "exited":
        raise ComposeError(f"{what}container {one.name} exited ({view.exit_code})")
    if condition == "running_or_healthy" and view.record.health is None:
        return view.status == "running"
    if view.record.health is None:
        raise ComposeError(f"{what}container {one.name} has no healthcheck configured")
    status = health_status(view)
    if status == UNHEALTHY:
        raise ComposeError(f"{what}container {one.name} is unhealthy")
    return status == HEALTHY and view.status == "running"
