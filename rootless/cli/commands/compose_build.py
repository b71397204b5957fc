"""compose build: the images of services, with the progress of `rpod build`."""

import sys
import tempfile

from rootless.build.engine import build as build_image
from rootless.build.engine import open_sources
from rootless.build.finish import check_request, finish
from rootless.build.workplace import Workplace
from rootless.cli.commands.build import make_progress
from rootless.cli.compose_session import Session, run
from rootless.cli.progress import Reporter
from rootless.compose.building import (
    BuildOptions,
    build_order,
    make_build_request,
    written_files,
)
from rootless.compose.errors import BuildFailed
from rootless.errors import RootlessError, UsageError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.build.request import BuildRequest
    from rootless.cli.invocation import Invocation
    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.host.paths import Host

_OPTIONS = BuildOptions()


def build_services(
    host: "Host",
    project: "Project",
    names: "Sequence[str]",
    tell: "Tell",
    options: BuildOptions = _OPTIONS,
    *,
    progress: str = "auto",
) -> None:
    """Build the images of services, one after the other. Raises BuildFailed, ComposeError."""
    for name in build_order(project, list(names)):
        try:
            with tempfile.TemporaryDirectory(prefix="rpod-compose-") as directory:
                for file_name, data in written_files(project, name).items():
                    with open(f"{directory}/{file_name}", "xb") as file:
                        file.write(data)
                _build(host, make_build_request(project, name, options, directory), progress)
        except (RootlessError, StorageError) as error:
            raise BuildFailed(
                f"failed to build service {name}: {error.message}", remedy=error.remedy
            ) from error
        tell("Image", project.every()[name].text("image") or f"{project.name}-{name}", "Built")


def _build(host: "Host", request: "BuildRequest", kind: str) -> None:
    outputs = check_request(request)
    quiet = kind == "quiet"
    progress = make_progress(kind, request)
    with Workplace(host) as workplace, progress:
        opened = open_sources(workplace, request)
        try:
            with Reporter(quiet=quiet) as reporter:
                done = build_image(
                    workplace, request, opened, progress, reporter, tick_s=progress.tick_s
                )
        finally:
            opened.context.close()
        pairs = list(zip(done.built, done.base_layers, strict=True))
        finish(workplace, request, pairs, outputs)


def build(invocation: "Invocation") -> int:
    """Build images."""
    return run(invocation, _command)


def _command(session: Session) -> int:
    invocation = session.invocation
    project = session.chosen(dependencies=invocation.flag("with_dependencies"))
    names = [name for name, one in project.services.items() if "build" in one]
    if not names:
        sys.stderr.write("No services to build\n")
        return 0
    options = BuildOptions(
        no_cache=invocation.flag("no_cache"),
        pull=invocation.flag("pull"),
        arguments=_arguments(invocation.texts("build_arg")),
        ssh=invocation.texts("ssh"),
    )
    progress = "quiet" if invocation.flag("quiet") else invocation.text("progress") or "auto"
    if invocation.flag("quiet"):
        session.silence()
    build_services(session.host, project, names, session.tell, options, progress=progress)
    if invocation.flag("push"):
        from rootless.cli.commands.compose_images import push_images

        push_images(session, project, [name for name in names if "image" in project.services[name]])
    return 0


def _arguments(texts: tuple[str, ...]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--build-arg {text}: NAME=VALUE is expected")
        found[name] = value if equals else None
    return found
