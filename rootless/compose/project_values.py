"""The keys of a compose file: networks, volumes, secrets, configs, include, services.

Compose Specification, 04-version-and-name, 06-networks, 07-volumes, 08-configs, 09-secrets,
14-include.
"""

import re

from rootless.compose.readers import (
    At,
    Read,
    anything,
    flag,
    list_of,
    map_of,
    one_or_many_paths,
    path,
    record,
    text,
    texts_of,
)
from rootless.compose.service_values import SERVICE

_SERVICE_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def _external(raw: object, at: At) -> object:
    """Read `external`; the mapping with a name is of older files."""
    if isinstance(raw, dict):
        entry = record({"name": text})(raw, at)
        assert isinstance(entry, dict)
        return entry.get("name", True)
    return flag(raw, at)


def _outside(keys: dict[str, Read], refused: dict[str, str] | None = None) -> Read:
    """Return a reader of something that may be external."""
    read_keys = record({**keys, "name": text, "external": _external, "labels": texts_of}, refused)

    def read(raw: object, at: At) -> dict[str, object]:
        entry = read_keys(raw, at)
        assert isinstance(entry, dict)
        external = entry.get("external", False)
        if isinstance(external, str):
            entry |= {"external": True, "name": external}
        elif not external:
            entry.pop("external", None)
        extra = sorted(set(entry) - {"name", "external"})
        if entry.get("external") and extra:
            raise at.wrong(f"conflicting parameters 'external' and '{extra[0]}' specified")
        return entry

    return read


_POOL = record({"subnet": text, "gateway": text, "ip_range": text, "aux_addresses": texts_of})
_IPAM = record({"driver": text, "config": list_of(_POOL), "options": texts_of})
_NETWORK = _outside(
    {
        "driver": text,
        "driver_opts": texts_of,
        "ipam": _IPAM,
        "internal": flag,
        "attachable": flag,
        "enable_ipv4": flag,
        "enable_ipv6": flag,
    }
)
_VOLUME = _outside({"driver": text, "driver_opts": texts_of})


def _content(allowed: tuple[str, ...]) -> Read:
    """Return a reader of a secret or a config: exactly one of file, environment, content."""
    keys: dict[str, Read] = {"file": path, "environment": text, "content": text}
    kept = {key: keys[key] for key in allowed}
    refused = {
        "driver": "there is no driver but the store of secrets",
        "template_driver": "templates are of a swarm",
    }
    read_keys = _outside({**kept, "driver_opts": anything}, refused)

    def read(raw: object, at: At) -> dict[str, object]:
        entry = read_keys(raw, at)
        assert isinstance(entry, dict)
        given = [key for key in allowed if key in entry]
        if len(given) > 1:
            raise at.wrong(f"{' and '.join(given)} do not go together")
        return entry

    return read


_INCLUDE = record({"path": one_or_many_paths, "project_directory": path,
                   "env_file": one_or_many_paths})  # fmt: skip


def _include(raw: object, at: At) -> list[object]:
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    found: list[object] = []
    for i, one in enumerate(raw):
        entry = _INCLUDE({"path": one} if isinstance(one, str) else one, at / i)
        assert isinstance(entry, dict)
        if not entry.get("path"):
            raise (at / i).wrong("path is missing")
        found.append(entry)
    return found


def _services(raw: object, at: At) -> dict[str, object]:
    if isinstance(raw, dict):
        for name in raw:
            if not _SERVICE_NAME.fullmatch(name):
                raise at.wrong(f"additional properties '{name}' not allowed")
    found = map_of(SERVICE, optional=True)(raw, at)
    assert isinstance(found, dict)
    return found


PROJECT = record(
    {
        "version": anything,
        "name": text,
        "include": _include,
        "services": _services,
        "networks": map_of(_NETWORK, optional=True),
        "volumes": map_of(_VOLUME, optional=True),
        "secrets": map_of(_content(("file", "environment")), optional=True),
        "configs": map_of(_content(("file", "environment", "content")), optional=True),
    },
    {"models": "models are run by Docker's own Model Runner"},
)
