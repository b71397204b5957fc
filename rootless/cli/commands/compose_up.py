"""compose up, create: make what a file describes, and start it."""

from rootless.cli.compose_session import Session, run
from rootless.compose import converge
from rootless.compose.converge import ALWAYS, NEVER, WHEN_CHANGED, UpOptions
from rootless.compose.errors import ComposeError
from rootless.compose.fetch import ImageOptions, ensure_images
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.compose.project import Project


def up(invocation: "Invocation") -> int:
    """Make and start; attached unless told otherwise."""
    return run(invocation, _up)


def create(invocation: "Invocation") -> int:
    """Make without starting."""
    return run(invocation, _create)


def _create(session: Session) -> int:
    project = session.chosen()
    options = up_options(session, project)
    prepare_images(session, project)
    converge.create_all(session.host, project, options, session.tell)
    return 0


def _up(session: Session) -> int:
    invocation = session.invocation
    is_detached = invocation.flag("detach") or invocation.flag("wait")
    aborting = [
        name
        for name in ("abort_on_container_exit", "abort_on_container_failure", "exit_code_from")
        if invocation.value(name)
    ]
    if is_detached and aborting:
        option = f"--{aborting[0].replace('_', '-')}"
        raise UsageError(
            f"{option} and --{'detach' if invocation.flag('detach') else 'wait'} do not go together"
        )
    if invocation.number("wait_timeout") is not None and not invocation.flag("wait"):
        raise UsageError("--wait-timeout is for --wait")
    project = session.chosen(dependencies=not invocation.flag("no_deps"))
    if not project.services:
        raise ComposeError("no service selected")
    options = up_options(session, project)
    from_service = invocation.text("exit_code_from")
    if from_service and from_service not in project.services:
        raise ComposeError(f"no such service: {from_service}")
    prepare_images(session, project)
    recreated = converge.create_all(session.host, project, options, session.tell)
    if invocation.flag("no_start"):
        return 0
    if not is_detached:
        from rootless.cli.compose_attached import run_attached

        return run_attached(session, project, options, recreated)
    converge.start_all(session.host, project, options, session.tell, recreated=recreated)
    if invocation.flag("wait"):
        limit_s = invocation.number("wait_timeout")
        converge.wait_until_ready(session.host, project, session.tell, limit_s)
    return 0


def up_options(session: Session, project: "Project") -> UpOptions:
    """Return what `up` and `create` are asked for. Raises UsageError."""
    invocation = session.invocation
    is_forced, is_kept = invocation.flag("force_recreate"), invocation.flag("no_recreate")
    if is_forced and is_kept:
        raise UsageError("--force-recreate and --no-recreate do not go together")
    recreate = ALWAYS if is_forced else NEVER if is_kept else WHEN_CHANGED
    is_up = invocation.command.name == "compose up"
    deps = ALWAYS if is_up and invocation.flag("always_recreate_deps") else WHEN_CHANGED
    if is_kept:
        deps = NEVER
    return UpOptions(
        recreate=recreate,
        recreate_dependencies=deps,
        targets=invocation.texts("names"),
        scale=scales(invocation.texts("scale")),
        timeout_s=session.timeout_s() if is_up else None,
        fresh_volumes=is_up and invocation.flag("renew_anon_volumes"),
        remove_orphans=invocation.flag("remove_orphans")
        or project.variables.get("COMPOSE_REMOVE_ORPHANS", "").lower() in ("1", "true"),
        at_once=session.at_once,
    )


def scales(texts: tuple[str, ...]) -> dict[str, int]:
    """Read SERVICE=NUM. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not name or not number.isdecimal() or len(number) > 6:
            raise UsageError(f"invalid --scale option {text!r}: SERVICE=NUM is expected")
        found[name] = int(number)
    return found


def prepare_images(session: Session, project: "Project") -> None:
    """Have all images here. Raises PullFailed, BuildFailed, ComposeError."""
    invocation = session.invocation
    quiet = invocation.flag("quiet_pull")
    is_up = invocation.command.name == "compose up"
    options = ImageOptions(
        pull=invocation.text("pull"),
        build=invocation.flag("build"),
        no_build=invocation.flag("no_build"),
        quiet=quiet,
        at_once=session.at_once,
    )
    if options.build and options.no_build:
        raise UsageError("--build and --no-build do not go together")

    def build(names: list[str]) -> None:
        from rootless.cli.commands.compose_build import build_services

        is_quiet = is_up and invocation.flag("quiet_build")
        progress = "quiet" if is_quiet else "auto"
        build_services(session.host, project, names, session.tell, progress=progress)

    ensure_images(session.host, project, options, session.tell, build)
