"""Which files, variables, profiles and which name a command works with.

Order, the first that says something wins: the command line, the environment, the `.env` file beside
the compose file. Compose Specification, 04-version-and-name; docker's documents on COMPOSE_*.
"""

import os
import re

from rootless.compose.dotenv import parse_env, read_env_file
from rootless.compose.errors import ComposeError, NoFile
from rootless.compose.readers import REMOTE
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Options(NamedTuple):
    """What the command line of `compose` says; empty for what it does not."""

    files: tuple[str, ...] = ()
    project_name: str = ""
    directory: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    interpolate: bool = True
    all_resources: bool = False
    limits: str = "strict"


class Settings(NamedTuple):
    """What a project is loaded with; `named` is a name that somebody has chosen, or ""."""

    files: tuple[str, ...]
    directory: str
    named: str
    profiles: tuple[str, ...]
    variables: dict[str, str]
    interpolate: bool
    all_resources: bool = False
    limits: str = "strict"


def find_settings(
    options: Options, environ: "Mapping[str, str]", cwd: str, warn: "Callable[[str], None]"
) -> Settings:
    """Return what a command works with. Raises NoFile, InvalidFile, ComposeError."""
    variables = _variables(options, environ, _first_directory(options, environ, cwd), cwd)
    files = _files(options, variables, cwd, warn)
    directory = os.path.join(cwd, options.directory) if options.directory else ""
    if not directory:
        first = files[0]
        directory = cwd if first == "-" else os.path.dirname(first)
        if not options.files and "COMPOSE_FILE" not in variables:
            # Found in a directory above: what lies beside it counts.
            variables = _variables(options, environ, directory, cwd)
    named = options.project_name or variables.get("COMPOSE_PROJECT_NAME", "")
    if named:
        check_project_name(named)
    given = variables.get("COMPOSE_PROFILES", "").split(",")
    profiles = options.profiles or tuple(one.strip() for one in given if one.strip())
    return Settings(
        files=files,
        directory=os.path.normpath(directory),
        named=named,
        profiles=profiles,
        variables=variables,
        interpolate=options.interpolate,
        all_resources=options.all_resources,
        limits=options.limits,
    )


def check_project_name(name: str) -> None:
    """Raises ComposeError."""
    if not _PROJECT_NAME.fullmatch(name):
        raise ComposeError(
            f"invalid project name {name!r}: must consist only of lowercase alphanumeric"
            " characters, hyphens, and underscores as well as start with a letter or number"
        )


def name_of_directory(directory: str) -> str:
    """Return the project name that a directory gives. Raises ComposeError."""
    letters = re.sub(r"[^a-z0-9_-]", "", os.path.basename(directory).lower())
    if not (name := letters.lstrip("_-")):
        raise ComposeError(
            "project name must not be empty", remedy="give one: rpod compose -p NAME, or name:"
        )
    return name


def refuse_remote(path: str, where: str) -> None:
    """Refuse to fetch what others may change. Raises ComposeError."""
    if path.startswith(REMOTE):
        raise ComposeError(
            f"{where} {path}: only files of this host are read",
            remedy="fetch it and look at it first, then name the file",
        )


def _first_directory(options: Options, environ: "Mapping[str, str]", cwd: str) -> str:
    if options.directory:
        return os.path.join(cwd, options.directory)
    given = options.files or _split(environ)
    if given and given[0] != "-":
        return os.path.dirname(os.path.join(cwd, given[0]))
    return cwd


def _split(variables: "Mapping[str, str]") -> tuple[str, ...]:
    separator = variables.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return tuple(one for one in variables.get("COMPOSE_FILE", "").split(separator) if one)


def _variables(
    options: Options, environ: "Mapping[str, str]", directory: str, cwd: str
) -> dict[str, str]:
    """Return the environment, laid over the files of variables."""
    given = options.env_files or tuple(
        one for one in environ.get("COMPOSE_ENV_FILES", "").split(",") if one
    )
    paths = [os.path.join(cwd, one) for one in given]
    if not paths and environ.get("COMPOSE_DISABLE_ENV_FILE", "") not in ("1", "true"):
        paths = [one for one in (os.path.join(directory, ".env"),) if os.path.isfile(one)]
    return {**variables_of(paths, environ), **environ}


def variables_of(paths: "list[str]", environ: "Mapping[str, str]") -> dict[str, str]:
    """Return what files of variables say, later ones winning. Raises NoFile, InvalidFile."""
    found: dict[str, str] = {}
    for path in paths:
        values = parse_env(read_env_file(path), path, {**found, **environ})
        found |= {key: value for key, value in values.items() if value is not None}
    return found


def _files(
    options: Options,
    variables: "Mapping[str, str]",
    cwd: str,
    warn: "Callable[[str], None]",
) -> tuple[str, ...]:
    given = options.files or _split(variables)
    for one in given:
        refuse_remote(one, "open")
    if given:
        paths = tuple(one if one == "-" else os.path.join(cwd, one) for one in given)
        for path in paths:
            if path != "-" and not os.path.exists(path):
                raise NoFile(f"open {path}: no such file or directory")
        return tuple(one if one == "-" else os.path.normpath(one) for one in paths)
    directory = os.path.join(cwd, options.directory)
    while True:
        found = [one for one in _NAMES if os.path.isfile(f"{directory}/{one}")]
        if found:
            break
        above = os.path.dirname(directory)
        if above == directory:
            raise NoFile(
                "no configuration file provided: not found",
                remedy="change to the directory of a compose.yaml, or name the file with -f",
            )
        directory = above
    if len(found) > 1:
        names = ", ".join(found)
        warn(f"Found multiple config files with supported names: {names}. Using {found[0]}")
    overrides = [one for one in _OVERRIDES if os.path.isfile(f"{directory}/{one}")]
    return tuple(os.path.join(directory, one) for one in (found[0], *overrides[:1]))
