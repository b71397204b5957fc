"""compose logs: what the containers of services have written."""

import sys

from rootless.cli.commands.container import moment
from rootless.cli.compose_session import Session, run
from rootless.compose import teardown
from rootless.compose.errors import ComposeError
from rootless.compose.follow import Follower, Looks
from rootless.compose.identity import Member
from rootless.container.logfile import timestamp
from rootless.container.logs import LogOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def logs(invocation: "Invocation") -> int:
    """Show logs."""
    return run(invocation, _logs)


def _logs(session: Session) -> int:
    invocation = session.invocation
    name, project = session.named()
    services = invocation.texts("names")
    if project is not None:
        project.chosen(services, dependencies=False)
    else:
        teardown.chosen(session.host, name, services)
    index = invocation.number("index")
    tail = invocation.text("tail")
    if tail != "all" and not tail.lstrip("-").isdecimal():
        raise ComposeError(f"--tail {tail}: a number of lines, or all, is expected")
    since, until = moment(invocation, "since"), moment(invocation, "until")
    options = LogOptions(
        follow=invocation.flag("follow"),
        tail=-1 if tail == "all" else int(tail),
        since="" if since is None else timestamp(int(since * 1e9)),
        until="" if until is None else timestamp(int(until * 1e9)),
        timestamps=invocation.flag("timestamps"),
    )
    looks = Looks(
        prefix=not invocation.flag("no_log_prefix"),
        coloured=session.coloured and not invocation.flag("no_color"),
    )

    def is_wanted(one: Member) -> bool:
        return (not services or one.service in services) and index in (None, one.number)

    sys.stdout.flush()
    Follower(session.host, name, options, looks, is_wanted).run(follow=options.follow)
    return 0
