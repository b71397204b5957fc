"""compose config: the file as it is understood."""

from rootless.cli.compose_session import Session, run
from rootless.cli.output import write
from rootless.compose import identity, show
from rootless.compose.errors import ComposeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.compose.project import Project


def _images(project: "Project") -> list[str]:
    services = project.services.items()
    return [identity.image_name(project.name, name, one) for name, one in services]


def _environment(project: "Project") -> list[str]:
    return [f"{key}={value}" for key, value in sorted(project.variables.items())]


_LISTS: "dict[str, Callable[[Project], list[str]]]" = {
    "variables": show.variables,
    "environment": _environment,
    "services": lambda project: project.order(),
    "volumes": lambda project: sorted(project.volumes),
    "networks": lambda project: sorted(project.networks),
    "profiles": show.profiles,
    "images": _images,
}


def config(invocation: "Invocation") -> int:
    """Show the file as it is understood."""
    return run(invocation, _config)


def _config(session: Session) -> int:
    invocation = session.invocation
    project = session.load(interpolate=not invocation.flag("no_interpolate"))
    project = project.chosen(invocation.texts("names"))
    if invocation.flag("quiet"):
        return 0
    for name, lines in _LISTS.items():
        if invocation.flag(name):
            write("".join(f"{line}\n" for line in lines(project)))
            return 0
    if wanted := invocation.text("hash"):
        names = sorted(project.services) if wanted == "*" else wanted.split(",")
        for name in names:
            if name not in project.services:
                raise ComposeError(f"no such service: {name}")
            write(f"{name} {identity.config_hash(project, name)}\n")
        return 0
    escape = not invocation.flag("no_interpolate")
    text = show.as_text(project, invocation.text("format") or "yaml", escape=escape)
    path = invocation.text("output")
    if not path:
        write(text)
        return 0
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ComposeError(f"write {path}: {error.strerror}") from error
    return 0
