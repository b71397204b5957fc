"""From files to one model: variables filled in, `extends` and `include` followed, files merged.

The model is in canonical forms (`readers`), and nothing of it has been looked up yet: that is
`project`'s.
"""

import os
import sys

from rootless.compose.documents import LIMIT_BYTES, Document, read_documents
from rootless.compose.errors import InvalidFile, NoFile
from rootless.compose.interpolate import Variables
from rootless.compose.merge import merge, without
from rootless.compose.project_values import PROJECT
from rootless.compose.readers import At
from rootless.compose.settings import name_of_directory, variables_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.compose.settings import Settings

Model = dict[str, object]
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
_LIMIT_FILES = 200


def load_model(settings: "Settings", warn: "Callable[[str], None]") -> Model:
    """Return the model that the files make together; it has the project's name.

    Raises InvalidFile, NoFile, ComposeError.
    """
    loader = _Loader(warn, interpolate=settings.interpolate)
    name = settings.named or loader.name(settings.files, settings.variables)
    name = name or name_of_directory(settings.directory)
    variables = {**settings.variables, "COMPOSE_PROJECT_NAME": name}
    model = loader.files(settings.files, settings.directory, variables, ())
    return {**model, "name": name}


class _Loader:
    def __init__(self, warn: "Callable[[str], None]", *, interpolate: bool) -> None:
        self._warn = warn
        self._interpolate = interpolate
        self._known: dict[str, list[Document]] = {}

    def name(self, paths: tuple[str, ...], variables: dict[str, str]) -> str:
        """Return the name that the last file with one gives: values may refer to it."""
        found = ""
        for path in paths:
            for document in self._documents(path):
                raw = document.value.get("name") if isinstance(document.value, dict) else None
                if isinstance(raw, str):
                    found = Variables(variables).expand(raw, "name") if self._interpolate else raw
        return found

    def files(
        self,
        paths: tuple[str, ...],
        directory: str,
        variables: dict[str, str],
        chain: tuple[str, ...],
    ) -> Model:
        """Return the model of files that lie over each other; `chain` are those that include it."""
        model: Model = {}
        known = Variables(variables, self._warn)
        for path in paths:
            if path in chain:
                raise InvalidFile(
                    "include cycle detected: " + " includes ".join((*chain[chain.index(path) :],
                                                                    path))
                )  # fmt: skip
            for document in self._documents(path):
                own = self._document(document, path, directory, known)
                included = self._included(own, variables, (*chain, path))
                model = without(model, (*document.reset, *document.override))  # type: ignore[assignment]
                for part in included:
                    model = _import(model, part)
                model = merge(model, own)  # type: ignore[assignment]  # both are mappings
        return model

    def _documents(self, path: str) -> list[Document]:
        if path not in self._known:
            if len(self._known) >= _LIMIT_FILES:
                raise InvalidFile(f"read {path}: more than {_LIMIT_FILES} files belong together")
            where = "standard input" if path == "-" else path
            self._known[path] = read_documents(read_file(path), where)
        return self._known[path]

    def _document(self, document: Document, path: str, directory: str, known: Variables) -> Model:
        """Return the canonical form of one document, `extends` followed."""
        raw = known.expand_all(document.value) if self._interpolate else document.value
        if not isinstance(raw, dict):
            raise InvalidFile(f"parsing {path}: top-level object must be a mapping")
        read = PROJECT(raw, At(path, directory))
        assert isinstance(read, dict)
        services = read.get("services", {})
        assert isinstance(services, dict)
        follow = _Extends(self, path, services, known)
        read["services"] = {name: follow.service(name, ()) for name in services}
        return read

    def _included(
        self, own: Model, variables: dict[str, str], chain: tuple[str, ...]
    ) -> list[Model]:
        found = []
        entries = own.pop("include", [])
        assert isinstance(entries, list)
        for entry in entries:
            paths = tuple(str(one) for one in entry["path"])
            below = str(entry.get("project_directory") or os.path.dirname(paths[0]))
            env_files = [str(one) for one in entry.get("env_file", ())]
            if not env_files and os.path.isfile(f"{below}/.env"):
                env_files = [f"{below}/.env"]
            # What the including project knows wins over the files beside the included one.
            known = {**variables_of(env_files, variables), **variables}
            found.append(self.files(paths, below, known, chain))
        return found

    def services_of(self, path: str, known: Variables) -> dict[str, object]:
        """Return the services of a file that a service extends, `extends` not followed yet."""
        documents = self._documents(path)
        raw = documents[0].value if documents else None
        raw = known.expand_all(raw) if self._interpolate else raw
        if not isinstance(raw, dict):
            raise InvalidFile(f"parsing {path}: top-level object must be a mapping")
        only = {"services": raw.get("services")}
        read = PROJECT(only, At(path, os.path.dirname(path)))
        assert isinstance(read, dict)
        services = read.get("services", {})
        assert isinstance(services, dict)
        return services


def read_file(path: str) -> bytes:
    """Return what a compose file says, "-" is standard input. Raises NoFile, InvalidFile."""
    if path == "-":
        return sys.stdin.buffer.read(LIMIT_BYTES + 1)
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NoFile(f"open {path}: no such file or directory") from error
    except OSError as error:
        raise InvalidFile(f"open {path}: {str(error.strerror).lower()}") from error


def _import(model: Model, part: Model) -> Model:
    """Add an included model; what is there already has to be the same. Raises InvalidFile."""
    result = dict(model)
    for section in _SECTIONS:
        mine, theirs = dict(_section(result, section)), _section(part, section)
        for name, value in theirs.items():
            if name in mine and mine[name] != value:
                raise InvalidFile(f"{section}.{name} conflicts with imported resource")
            mine[name] = value
        if mine:
            result[section] = mine
    return result


def _section(model: Model, section: str) -> dict[str, object]:
    found = model.get(section) or {}
    assert isinstance(found, dict)
    return found


class _Extends:
    """Follows `extends` of the services of one file."""

    def __init__(
        self,
        loader: _Loader,
        path: str,
        services: dict[str, object],
        known: Variables,
    ) -> None:
        self._loader = loader
        self._path = path
        self._services = services
        self._known = known

    def service(self, name: str, chain: tuple[tuple[str, str], ...]) -> dict[str, object]:
        """Return a service with what it extends below it. Raises InvalidFile, NoFile."""
        here = (self._path, name)
        if here in chain:
            names = " extends ".join(one for _, one in (*chain[chain.index(here) :], here))
            raise InvalidFile(f"parsing {self._path}: circular reference with extends: {names}")
        own = self._services.get(name)
        if not isinstance(own, dict):
            caller = chain[-1][1] if chain else name
            raise InvalidFile(
                f'cannot extend service "{caller}" in {self._path}: service "{name}" not found'
            )
        extends = own.get("extends")
        if not isinstance(extends, dict):
            return own
        rest = {key: value for key, value in own.items() if key != "extends"}
        follow = self
        if path := extends.get("file"):
            path = str(path)
            services = self._loader.services_of(path, self._known)
            follow = _Extends(self._loader, path, services, self._known)
        base = follow.service(str(extends["service"]), (*chain, here))
        merged = merge(base, rest)
        assert isinstance(merged, dict)
        return merged
