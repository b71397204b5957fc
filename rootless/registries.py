"""The files of containers-registries.conf(5): the user's or the system's, then the drop-ins."""

import os

from rootless.config import load_toml
from storage.registry.registries import Registry, read_registries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SYSTEM_DIRECTORY = "/etc/containers"
_BEGINNINGS = (b"[[", b"registry", b"[registries")


def load_registries(
    environ: "Mapping[str, str]", *, system: str = _SYSTEM_DIRECTORY
) -> tuple[Registry, ...]:
    """Return what is set for registries. Raises UsageError, InvalidDocument."""
    documents = [
        (path, load_toml(path))
        for path in configuration_files(environ, system)
        if _has_tables(path)
    ]
    return read_registries(documents)


def _has_tables(path: str) -> bool:
    """Tell whether a file may speak of registries: most have only comments and short names.

    To read TOML takes longer than all else that a pull of an unchanged image does.
    """
    try:
        with open(path, "rb") as file:
            return any(line.lstrip().startswith(_BEGINNINGS) for line in file)
    except OSError:
        return True  # `load_toml` says what is wrong


def configuration_files(environ: "Mapping[str, str]", system: str) -> "Iterator[str]":
    """Yield the files that there are, the most general first."""
    home = environ.get("HOME", "")
    # podman does not ask XDG_CONFIG_HOME for this one.
    own = f"{home}/.config/containers" if home else ""
    named = environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        yield named
    else:
        candidates = (f"{own}/registries.conf" if own else "", f"{system}/registries.conf")
        yield from [path for path in candidates if path and os.path.exists(path)][:1]
    for directory in (system, own):
        drop_ins = f"{directory}/registries.conf.d"
        if directory and os.path.isdir(drop_ins):
            for name in sorted(os.listdir(drop_ins)):
                if name.endswith(".conf"):
                    yield f"{drop_ins}/{name}"
