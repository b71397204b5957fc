"""compose exec, run, attach: a person, or a command, in a container of a service."""

import os
import sys

from rootless.cli.compose_session import Session, run
from rootless.compose import converge, oneoff
from rootless.compose.errors import ComposeError
from rootless.compose.fetch import ImageOptions, ensure_images
from rootless.compose.identity import Member, members
from rootless.container.request import ExecRequest
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def find_one(session: Session, *, running: bool = True) -> Member:
    """Return the container of the service that the command line names. Raises ComposeError."""
    invocation = session.invocation
    service = invocation.text("service")
    name, project = session.named()
    if project is not None and service not in project.every():
        raise ComposeError(f"no such service: {service}")
    index = invocation.number("index")
    found = [one for one in members(session.host, name) if one.service == service]
    if index is not None:
        found = [one for one in found if one.number == index]
    if running:
        found = [one for one in found if one.is_running]
    if not found:
        place = "" if index is None else f" (container {index})"
        raise ComposeError(
            f'service "{service}"{place} is not running', remedy=f"rpod compose up -d {service}"
        )
    return found[0]


def exec_command(invocation: "Invocation") -> int:
    """Run a command in a running container; the exit code is the command's."""
    return run(invocation, _exec)


def _exec(session: Session) -> int:
    from rootless.container.exec import exec_in

    invocation = session.invocation
    one = find_one(session)
    detach = invocation.flag("detach")
    request = ExecRequest(
        container=one.id,
        command=invocation.texts("command"),
        interactive=invocation.flag("interactive") and not detach,
        tty=_wants_terminal(invocation) and not detach,
        detach=detach,
        detach_keys=session.host.config.detach_keys,
        env=invocation.texts("env"),
        user=invocation.text("user") or None,
        workdir=invocation.text("workdir") or None,
        privileged=invocation.flag("privileged"),
    )
    return exec_in(session.host, request)


def _wants_terminal(invocation: "Invocation") -> bool:
    if invocation.flag("no_tty"):
        return False
    is_wanted = invocation.command.name != "compose exec" or invocation.flag("tty")
    return is_wanted and os.isatty(0) and os.isatty(1)


def run_command(invocation: "Invocation") -> int:
    """Run a command in a new container; the exit code is the command's."""
    return run(invocation, _run)


def _run(session: Session) -> int:
    from rootless.container import lifecycle

    invocation = session.invocation
    if invocation.flag("service_ports") and invocation.texts("publish"):
        raise UsageError("--service-ports and --publish do not go together")
    service = invocation.text("service")
    needs = not invocation.flag("no_deps")
    project = session.project.chosen([service], dependencies=needs)

    def build(names: list[str]) -> None:
        from rootless.cli.commands.compose_build import build_services

        quiet = invocation.flag("quiet_build") or invocation.flag("quiet")
        progress = "quiet" if quiet else "auto"
        build_services(session.host, project, names, session.tell, progress=progress)

    if invocation.flag("quiet"):
        session.silence()
    options = ImageOptions(
        pull=invocation.text("pull"),
        build=invocation.flag("build"),
        quiet=invocation.flag("quiet_pull"),
        at_once=session.at_once,
    )
    ensure_images(session.host, project, options, session.tell, build)
    up = converge.UpOptions(remove_orphans=invocation.flag("remove_orphans"))
    converge.care_for_orphans(session.host, session.project, up, session.tell)
    if needs:
        oneoff.start_dependencies(session.host, project, service, session.tell, session.at_once)
    wanted = _wanted(invocation)
    request = oneoff.make_one_off(session.host, project, service, wanted, session.tell)
    sys.stderr.flush()
    result = lifecycle.run(session.host, request)
    if request.detach:
        sys.stdout.write(f"{request.name}\n")
    return result.exit_code


def _wanted(invocation: "Invocation") -> oneoff.OneOff:
    files = invocation.texts("env_from_file")
    detach = invocation.flag("detach")
    given = "entrypoint" in invocation.given
    return oneoff.OneOff(
        command=invocation.texts("command"),
        entrypoint=invocation.text("entrypoint") if given else None,
        name=invocation.text("name"),
        env=invocation.texts("env"),
        env_files=tuple(os.path.abspath(path) for path in files),
        labels=invocation.texts("label"),
        publish=invocation.texts("publish"),
        volumes=invocation.texts("volume"),
        cap_add=invocation.texts("cap_add"),
        cap_drop=invocation.texts("cap_drop"),
        user=invocation.text("user"),
        workdir=invocation.text("workdir"),
        detach=detach,
        interactive=invocation.flag("interactive"),
        tty=_wants_terminal(invocation) and not detach,
        rm=invocation.flag("rm"),
        service_ports=invocation.flag("service_ports"),
        use_aliases=invocation.flag("use_aliases"),
    )


def attach(invocation: "Invocation") -> int:
    """Attach to a container of a service; the exit code is the container's."""
    return run(invocation, _attach)


def _attach(session: Session) -> int:
    from rootless.container.attach import attach as attach_to

    invocation = session.invocation
    return attach_to(
        session.host,
        find_one(session).id,
        no_stdin=invocation.flag("no_stdin"),
        sig_proxy=invocation.flag("sig_proxy"),
        detach_keys=invocation.text("detach_keys"),
    )
