"""What the commands of compose have in common: their project, how progress and errors are told."""

import os
import sys

from rootless.cli.output import printable
from rootless.compose.errors import ComposeError
from rootless.compose.project import Project, load_project
from rootless.compose.settings import Options, check_project_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host

    Handler = Callable[["Session"], int]

_GENERAL_FAILURE = 125


class Session:
    """One command: the invocation, the host, and the project when it is needed."""

    def __init__(self, invocation: "Invocation") -> None:
        self.invocation = invocation
        self.settings = invocation.settings
        self._project: Project | None = None
        self._progress = str(self.settings.get("compose_progress", "auto"))

    @property
    def host(self) -> "Host":
        host = self.invocation.host()
        host.notes_in_one_line = False
        return host

    @property
    def at_once(self) -> int:
        """How many things are done at once, 0 for no limit."""
        wanted = self.settings.get("compose_parallel")
        if wanted is None and os.environ.get("COMPOSE_PARALLEL_LIMIT", "").isdecimal():
            wanted = int(os.environ["COMPOSE_PARALLEL_LIMIT"])
        return wanted if isinstance(wanted, int) and wanted > 0 else 0

    @property
    def project(self) -> Project:
        """The project of the file. Raises InvalidFile, NoFile, ComposeError."""
        if self._project is None:
            self._project = self.load()
        return self._project

    def load(self, *, interpolate: bool = True) -> Project:
        try:
            cwd = os.getcwd()
        except FileNotFoundError as error:
            raise ComposeError(
                "the current directory has been removed", remedy="change to one that is there"
            ) from error
        return load_project(self.options(interpolate=interpolate), os.environ, cwd, warn)

    def options(self, *, interpolate: bool = True) -> Options:
        """Return what the command line says about files and names."""
        return Options(
            files=self._texts("compose_file"),
            project_name=str(self.settings.get("compose_project_name", "")),
            directory=str(self.settings.get("compose_project_directory", "")),
            profiles=self._texts("compose_profile"),
            env_files=self._texts("compose_env_file"),
            interpolate=interpolate,
            all_resources=self.settings.get("compose_all_resources") is True,
            limits=str(self.settings.get("compose_limits", "strict")),
        )

    def _texts(self, name: str) -> tuple[str, ...]:
        value = self.settings.get(name, ())
        return value if isinstance(value, tuple) else ()

    def named(self) -> tuple[str, Project | None]:
        """Return the project's name, and the project; without a file the name has to be given."""
        name = self.options().project_name or os.environ.get("COMPOSE_PROJECT_NAME", "")
        try:
            return self.project.name, self.project
        except ComposeError as error:
            if not name or error.exit_code != 14 or self.options().files:
                raise
            check_project_name(name)
            return name, None

    def chosen(self, *, dependencies: bool = True) -> Project:
        """Return the project with the services that the command line names, and what they need."""
        names = self.invocation.texts("names")
        return self.project.chosen(names, dependencies=dependencies)

    def tell(self, kind: str, name: str, what: str) -> None:
        """Show what happens, as docker compose does where nobody looks."""
        if self._progress == "quiet":
            return
        if self._progress == "json":
            from storage import lightjson as json

            line = json.dumps({"id": f"{kind} {name}", "status": what})
        else:
            line = f" {kind} {name}  {what} "
        try:
            sys.stderr.write(f"{printable(line)}\n")
            sys.stderr.flush()
        except OSError:
            pass  # EPIPE, EIO, ENOSPC: nobody is left to be told

    def silence(self) -> None:
        """Show no progress from now on."""
        self._progress = "quiet"

    def timeout_s(self) -> int | None:
        return self.invocation.number("timeout")

    @property
    def coloured(self) -> bool:
        """Whether output may have colors."""
        ansi = self.settings.get("compose_ansi", os.environ.get("COMPOSE_ANSI", "auto"))
        if ansi in ("never", "always"):
            return ansi == "always"
        return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def warn(text: str) -> None:
    """Tell a person at once."""
    sys.stderr.write(f"Warning: {printable(text)}\n")


def run(invocation: "Invocation", handler: "Handler") -> int:
    """Call a handler; what fails without an exit code of its own ends with 1, as docker's does."""
    try:
        return handler(Session(invocation))
    except Exception as error:
        if getattr(error, "exit_code", None) == _GENERAL_FAILURE:
            error.exit_code = 1  # type: ignore[attr-defined]  # it has one
        raise
