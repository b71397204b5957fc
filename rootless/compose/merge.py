"""Lay one file's values over another's, in their canonical forms.

Compose Specification, 13-merge: mappings entry by entry, lists one after the other, commands
replaced, and what has an identity (ports, mounts, secrets, ...) once.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless.compose.documents import Path

# Of a service: the last file's list is taken whole.
_REPLACED = ("command", "entrypoint", "test")


def _target(entry: dict[str, object]) -> object:
    return entry.get("target") or entry.get("source")


def _port(entry: dict[str, object]) -> object:
    keys = ("host_ip", "target", "published", "protocol")
    return tuple(str(entry.get(key, "")) for key in keys)


def _path_of(entry: dict[str, object]) -> object:
    return entry.get("path")


_IDENTITIES: "dict[str, Callable[[dict[str, object]], object]]" = {
    "volumes": _target,
    "secrets": _target,
    "configs": _target,
    "ports": _port,
    "env_file": _path_of,
}


def merge(base: object, over: object, key: str = "") -> object:
    """Return `over` laid over `base`; neither is changed."""
    if isinstance(base, dict) and isinstance(over, dict):
        if key == "logging" and base.get("driver", "") != over.get("driver", base.get("driver")):
            return over
        merged = dict(base)
        for name, value in over.items():
            merged[name] = merge(base[name], value, name) if name in base else value
        return merged
    if isinstance(base, list) and isinstance(over, list):
        return _lists(base, over, key)
    return over


def _lists(base: list[object], over: list[object], key: str) -> list[object]:
    if key in _REPLACED:
        return over
    identity = _IDENTITIES.get(key)
    merged: dict[object, object] = {}
    for position, one in enumerate([*base, *over]):
        name = (identity(one) if identity else position) if isinstance(one, dict) else one
        merged[name] = one
    return list(merged.values())


def without(value: object, paths: "Iterable[Path]") -> object:
    """Return a value without what `!reset` and `!override` of a later file name."""
    for path in paths:
        value = _without(value, path)
    return value


def _without(value: object, path: "Path") -> object:
    if not isinstance(value, dict) or not path or path[0] not in value:
        return value
    key, rest = path[0], path[1:]
    if rest:
        return {**value, key: _without(value[key], rest)}
    return {name: one for name, one in value.items() if name != key}
