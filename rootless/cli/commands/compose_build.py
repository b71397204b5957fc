"""Build the images of services with the progress of `rpod build`."""

import tempfile

from rootless.build.engine import build as build_image
from rootless.build.engine import open_sources
from rootless.build.finish import check_request, finish
from rootless.build.workplace import Workplace
from rootless.cli.commands.build import make_progress
from rootless.cli.progress import Reporter
from rootless.compose.building import BuildOptions, build_order, make_build_request
from rootless.compose.errors import BuildFailed
from rootless.errors import RootlessError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.build.request import BuildRequest
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
        inline = project.every()[name].part("build").text("dockerfile_inline")
        try:
            if not inline:
                _build(host, make_build_request(project, name, options), progress)
            else:
                with tempfile.NamedTemporaryFile(
                    "w", suffix=".Dockerfile", encoding="utf-8"
                ) as file:
                    file.write(inline)
                    file.flush()
                    request = make_build_request(project, name, options, file.name)
                    _build(host, request, progress)
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
