"""compose down: what ends a project."""

from rootless.cli.compose_session import Session, run
from rootless.compose import teardown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def down(invocation: "Invocation") -> int:
    """Stop and remove containers and networks."""
    return run(invocation, _down)


def _down(session: Session) -> int:
    invocation = session.invocation
    name, project = session.named()
    options = teardown.DownOptions(
        volumes=invocation.flag("volumes"),
        orphans=invocation.flag("remove_orphans"),
        images=invocation.text("rmi"),
        timeout_s=session.timeout_s(),
        at_once=session.at_once,
    )
    services = invocation.texts("names")
    if project is not None:
        project.chosen(services, dependencies=False)
    teardown.down(session.host, name, project, options, session.tell, services)
    return 0
