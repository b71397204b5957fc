"""A project as a file: what `config` prints."""

import re

import yaml

from rootless.compose.documents import read_documents
from rootless.compose.errors import InvalidFile
from rootless.compose.load import read_file
from rootless.compose.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.project import Project

_VARIABLE = re.compile(r"(?<!\$)\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))")


def as_text(project: "Project", form: str, *, escape: bool = True) -> str:
    """Return the project as a compose file in its canonical form: yaml or json."""
    value = _escaped(document(project)) if escape else document(project)
    if form == "json":
        import json

        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    dumper: type[yaml.SafeDumper] = _Dumper
    return str(yaml.dump(value, Dumper=dumper, default_flow_style=False, allow_unicode=True,
                         sort_keys=False, width=1 << 20))  # fmt: skip


class _Dumper(yaml.SafeDumper):
    """Values that occur twice are written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def document(project: "Project") -> dict[str, object]:
    """Return the project as a compose file has it."""
    result: dict[str, object] = {
        "name": project.name,
        "services": {name: _service(one) for name, one in sorted(project.services.items())},
    }
    sections = {
        "networks": {key: project.networks[key] for key in project.used_networks()},
        "volumes": {key: project.volumes[key] for key in project.used_volumes()},
        "secrets": project.secrets,
        "configs": project.configs,
    }
    for section, found in sections.items():
        if found:
            result[section] = {key: _sorted(one.raw) for key, one in sorted(found.items())}
    return result


def _service(service: Part) -> dict[str, object]:
    raw = dict(service.raw)
    raw.setdefault("command", None)
    raw.setdefault("entrypoint", None)
    raw["networks"] = {key: one.raw or None for key, one in service.part("networks").each()}
    if not raw["networks"]:
        del raw["networks"]
    if "build" in raw:
        build = {"dockerfile": "Dockerfile", **service.part("build").raw}
        if "dockerfile_inline" in build:
            del build["dockerfile"]
        raw["build"] = build
    if "ulimits" in service:
        raw["ulimits"] = {
            name: both.raw["soft"] if both.raw["soft"] == both.raw["hard"] else both.raw
            for name, both in service.part("ulimits").each()
        }
    if "extra_hosts" in raw:
        hosts = service.part("extra_hosts")
        raw["extra_hosts"] = [f"{name}={one}" for name in hosts for one in hosts.texts(name)]
    sorted_raw = _sorted(raw)
    assert isinstance(sorted_raw, dict)
    return sorted_raw


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) if isinstance(one, list) else one for one in value]
    return value


def _escaped(value: object) -> object:
    """Write every dollar sign twice: what is printed can be read again."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if isinstance(value, dict):
        return {key: _escaped(one) for key, one in value.items()}
    return value


def profiles(project: "Project") -> list[str]:
    """Return the names of all profiles."""
    return sorted({name for one in project.every().values() for name in one.texts("profiles")})


def variables(project: "Project") -> list[str]:
    """Return the names of the variables that the files use. Raises InvalidFile."""
    found: set[str] = set()
    for path in project.files:
        if path == "-":
            raise InvalidFile("--variables: the file has to be one on disk, not standard input")
        for one in read_documents(read_file(path), path):
            found |= set(_names(one.value))
    return sorted(found)


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return [braced or bare for braced, bare in _VARIABLE.findall(value)]
    if isinstance(value, dict):
        return [name for one in value.values() for name in _names(one)]
    if isinstance(value, list):
        return [name for one in value for name in _names(one)]
    return []
