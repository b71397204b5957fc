"""A project: its name, its services with all that they refer to, checked and complete."""

import os

from rootless.compose.dotenv import parse_env, parse_raw, read_env_file
from rootless.compose.errors import ComposeError, InvalidFile, NoFile
from rootless.compose.load import load_model
from rootless.compose.merge import merge
from rootless.compose.parts import Part
from rootless.compose.settings import check_project_name, find_settings
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootless.compose.settings import Options, Settings

_INVALID = "invalid compose project"


class Project(NamedTuple):
    """`services` are those whose profiles are active; `inactive` the others."""

    name: str
    directory: str
    files: tuple[str, ...]
    services: dict[str, Part]
    inactive: dict[str, Part]
    networks: dict[str, Part]
    volumes: dict[str, Part]
    secrets: dict[str, Part]
    configs: dict[str, Part]
    variables: dict[str, str]
    all_resources: bool = False
    limits: str = "strict"

    def used_networks(self) -> list[str]:
        """Return the keys of the networks that the services use, or of all that were asked for."""
        used = {key for one in self.services.values() for key in one.part("networks")}
        return sorted(self.networks if self.all_resources else used)

    def used_volumes(self) -> list[str]:
        """Return the keys of the volumes that the services use, or of all that were asked for."""
        used = {
            one.text("source")
            for service in self.services.values()
            for one in service.parts("volumes")
            if one.text("type") == "volume" and "source" in one
        }
        return sorted(self.volumes if self.all_resources else used)

    def every(self) -> dict[str, Part]:
        """Return all services, whether their profiles are active or not."""
        return {**self.services, **self.inactive}

    def chosen(self, names: "Iterable[str]", *, dependencies: bool = True) -> "Project":
        """Return the project with these services alone, and with what they need.

        Without names it is the whole project. Raises ComposeError.
        """
        names = list(names)
        if not names:
            return self
        wanted: dict[str, Part] = {}
        rest = list(dict.fromkeys(names))
        while rest:
            name = rest.pop(0)
            if name in wanted:
                continue
            service = self.every().get(name)
            if service is None:
                raise ComposeError(f"no such service: {name}")
            wanted[name] = service
            if not dependencies:
                continue
            for needed, how in service.part("depends_on").each():
                if needed in self.services or how.flag("required", default=True):
                    rest.append(needed)
        chosen = self.only(wanted)
        if dependencies:
            check_dependencies(chosen)
        return chosen

    def only(self, names: "Iterable[str]") -> "Project":
        """Return the project with these services active, the others not."""
        wanted = set(names)
        return self._replace(
            services={name: one for name, one in self.every().items() if name in wanted},
            inactive={name: one for name, one in self.every().items() if name not in wanted},
        )

    def order(self) -> list[str]:
        """Return the names of the services, each after those that it depends on."""
        done: list[str] = []
        rest = sorted(self.services)
        while rest:
            ready = [one for one in rest if all(n in done for n in _needed(self.services, one))]
            done += ready
            rest = [one for one in rest if one not in ready]
        return done


def load_project(
    options: "Options",
    environ: "Mapping[str, str]",
    cwd: str,
    warn: "Callable[[str], None] | None" = None,
) -> Project:
    """Load, merge and check. Raises InvalidFile, NoFile, ComposeError."""
    tell = warn or (lambda text: None)
    settings = find_settings(options, environ, cwd, tell)
    model = Part(load_model(settings, tell))
    name = model.text("name")
    check_project_name(name)
    return _make(name, model, settings)


def _make(name: str, model: Part, settings: "Settings") -> Project:
    services = {
        key: _complete(key, one, settings) for key, one in sorted(model.part("services").each())
    }
    active = set(settings.profiles)

    def is_active(service: Part) -> bool:
        profiles = service.texts("profiles")
        return not profiles or "*" in active or bool(active & set(profiles))

    project = Project(
        name=name,
        directory=settings.directory,
        files=settings.files,
        services={key: one for key, one in services.items() if is_active(one)},
        inactive={key: one for key, one in services.items() if not is_active(one)},
        networks=_named(model.part("networks"), name),
        volumes=_named(model.part("volumes"), name),
        secrets=_named(model.part("secrets"), name),
        configs=_named(model.part("configs"), name),
        variables=settings.variables,
        all_resources=settings.all_resources,
        limits=settings.limits,
    )
    if "default" not in project.networks:
        project.networks["default"] = Part({"name": f"{name}_default"})
    for key, one in services.items():
        _check_references(project, key, one)
    check_dependencies(project)
    _check_container_names(project)
    return project


def _named(section: Part, project: str) -> dict[str, Part]:
    """Give everything the name that it has in the store."""
    found = {}
    for key, one in section.each():
        own = key if one.flag("external") else f"{project}_{key}"
        found[key] = Part({**one.raw, "name": one.text("name") or own})
    return found


def _complete(name: str, service: Part, settings: "Settings") -> Part:
    """Return a service with the files of variables and labels read, and what follows from it."""
    raw = dict(service.raw)
    raw.pop("env_file", None)
    raw.pop("label_file", None)
    if "env_file" in service or "environment" in service:
        raw["environment"] = _environment(name, service, settings)
    labels: dict[str, str] = {}
    for path in service.texts("label_file"):
        found = parse_env(read_env_file(path), path, settings.variables)
        labels |= {key: value or "" for key, value in found.items()}
    if labels or "labels" in service:
        raw["labels"] = {**labels, **service.words("labels")}
    if "network_mode" in service and "networks" in service:
        raise InvalidFile(
            f"service {name} declares mutually exclusive `network_mode` and `networks`: {_INVALID}"
        )
    if "network_mode" not in service and "networks" not in service:
        raw["networks"] = {"default": {}}
    implied = _implied(service)
    if implied:
        raw["depends_on"] = merge(implied, raw.get("depends_on", {}))
    return Part(raw)


def _environment(name: str, service: Part, settings: "Settings") -> dict[str, str]:
    """Return the variables of a service; those without a value anywhere are left out."""
    found: dict[str, str | None] = {}
    for entry in service.parts("env_file"):
        path = entry.text("path")
        if not os.path.exists(path) and not entry.flag("required", default=True):
            continue
        try:
            text = read_env_file(path)
        except NoFile as error:
            raise NoFile(f"services.{name}.env_file: {error.message}") from error
        is_raw = entry.text("format") == "raw"
        found |= parse_raw(text) if is_raw else parse_env(text, path, settings.variables)
    found |= service.pairs("environment")
    if not settings.interpolate:
        return {key: value or "" for key, value in found.items()}
    values = {
        key: settings.variables.get(key) if value is None else value for key, value in found.items()
    }
    return {key: value for key, value in values.items() if value is not None}


def _implied(service: Part) -> dict[str, object]:
    """Return the dependencies that other keys bring along."""
    texts = [service.text(key) for key in ("network_mode", "ipc", "pid")]
    names = [text.partition(":")[2] for text in texts if text.startswith("service:")]
    names += [text.partition(":")[0] for text in service.texts("links")]
    for text in service.texts("volumes_from"):
        if not text.startswith("container:"):
            names.append(text.partition(":")[0])
    return {
        name: {"condition": "service_started", "required": True, "restart": True} for name in names
    }


def _check_references(project: Project, name: str, service: Part) -> None:
    if "image" not in service and "build" not in service:
        raise InvalidFile(
            f'service "{name}" has neither an image nor a build context specified: {_INVALID}'
        )
    wanted = [("network", key, project.networks) for key in service.part("networks")]
    wanted += [
        ("volume", one.text("source"), project.volumes)
        for one in service.parts("volumes")
        if one.text("type") == "volume" and "source" in one
    ]
    for kind, known in (("secret", project.secrets), ("config", project.configs)):
        wanted += [(kind, one.text("source"), known) for one in service.parts(f"{kind}s")]
    wanted += [
        ("secret", one.text("source"), project.secrets)
        for one in service.part("build").parts("secrets")
    ]
    for kind, key, defined in wanted:
        if key not in defined:
            raise InvalidFile(f'service "{name}" refers to undefined {kind} {key}: {_INVALID}')


def check_dependencies(project: Project) -> None:
    """Refuse what depends on something that is not there, or on itself. Raises InvalidFile."""
    services = project.services
    for name, service in services.items():
        for needed, how in service.part("depends_on").each():
            if needed not in services and how.flag("required", default=True):
                reason = "undefined" if needed not in project.inactive else "inactive"
                raise InvalidFile(
                    f'service "{name}" depends on {reason} service "{needed}": {_INVALID}',
                    remedy="" if reason == "undefined" else "activate its profile with --profile",
                )
    state: dict[str, int] = {}
    for start in services:
        _walk(services, start, state)


def _walk(services: dict[str, Part], start: str, state: dict[str, int]) -> None:
    """Go through what a service depends on, without recursion: a chain may be long."""
    stack: list[tuple[str, list[str]]] = [(start, _needed(services, start))]
    state.setdefault(start, 1)
    while stack:
        name, rest = stack[-1]
        if state[name] == 2 or not rest:
            state[name] = 2
            stack.pop()
            continue
        following = rest.pop()
        if state.get(following) == 1:
            path = [one for one, _ in stack]
            cycle = " -> ".join([*path[path.index(following) :], following])
            raise InvalidFile(f"dependency cycle detected: {cycle}: {_INVALID}")
        if following not in state:
            state[following] = 1
            stack.append((following, _needed(services, following)))


def _needed(services: dict[str, Part], name: str) -> list[str]:
    return [one for one in services[name].part("depends_on") if one in services]


def _check_container_names(project: Project) -> None:
    owners: dict[str, str] = {}
    for name, service in project.services.items():
        own = service.text("container_name")
        if not own:
            continue
        if own in owners:
            raise InvalidFile(
                f'services.{name}: container name "{own}" is already in use by'
                f" services.{owners[own]}: {_INVALID}"
            )
        owners[own] = name
