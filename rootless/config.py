"""What a user or a site has set for every command: rpod.toml and RPOD_* variables.

Order, the first that says something wins: the command line, the environment, the user's file
($XDG_CONFIG_HOME/rpod/rpod.toml), the site's file (/etc/rpod/rpod.toml), the defaults here.
RPOD_CONFIG=FILE names one file to be read instead of the two.
"""

import os

from rootless.errors import UsageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SITE_FILE = "/etc/rpod/rpod.toml"

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_PULL_POLICIES = ("missing", "always", "never", "newer")
_STORAGE_DRIVERS = ("", "overlay", "fuse-overlayfs", "copy")


class Config(NamedTuple):
    """Settings; the empty string means "not set, decide by what the host can do"."""

    root: str = ""
    runroot: str = ""
    node_root: str = ""
    storage_driver: str = ""
    network: str = ""
    userns: str = ""
    pull: str = "missing"
    detach_keys: str = "ctrl-p,ctrl-q"
    stop_timeout: int = 10
    additional_stores: tuple[str, ...] = ()
    trusted_publishers: tuple[str, ...] = ()
    max_layer_size: int = 0
    max_layer_ratio: int = 0
    max_layer_files: int = 0
    cdi_directories: tuple[str, ...] = ()
    inject: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


_KEYS = tuple(key for key in Config._fields if key != "sources")


def load_config(
    environ: "Mapping[str, str]" = os.environ, *, home: str | None = None, site: str = SITE_FILE
) -> Config:
    """Read the files that exist, then the environment.

    Raises UsageError naming the file or variable, the key, and what is allowed.
    """
    config = Config()
    for path in config_files(environ, home, site):
        if os.path.exists(path):
            config = _merge(config, load_toml(path), path)
        elif environ.get("RPOD_CONFIG"):
            raise UsageError(f"read configuration {path}: no such file", remedy="unset RPOD_CONFIG")
    for key in _KEYS:
        variable = f"RPOD_{key.upper()}"
        text = environ.get(variable)
        if text:
            config = _set(config, key, text, variable)
    return config


def config_files(
    environ: "Mapping[str, str]", home: str | None, site: str = SITE_FILE
) -> tuple[str, ...]:
    """Return the paths of the files that are read, where they exist."""
    if chosen := environ.get("RPOD_CONFIG"):
        return (chosen,)
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        directory = home or environ.get("HOME", "")
        if not directory:
            return (site,)
        base = f"{directory}/.config"
    return (site, f"{base}/rpod/rpod.toml")


def load_toml(path: str) -> dict[str, object]:
    """Read a file of settings. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"read configuration {path}: {error.strerror}") from error
    return parse_toml(data, f"configuration {path}")


def parse_toml(data: bytes, where: str) -> dict[str, object]:
    """Read a document. Raises UsageError."""
    import tomli

    try:
        return tomli.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"read {where}: {error}", remedy="correct the file") from error
    except RecursionError as error:
        raise UsageError(f"read {where}: it is nested too deeply") from error


def parse_yaml(data: bytes, where: str) -> object:
    """Read a document of plain values. Raises UsageError."""
    import yaml

    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"read {where}: {text}", remedy="correct the file") from error
    except RecursionError as error:
        raise UsageError(f"read {where}: it is nested too deeply") from error


def parse_yaml_documents(data: bytes, where: str) -> list[object]:
    """Read a stream of documents of plain values. Raises UsageError."""
    import yaml

    try:
        return list(yaml.safe_load_all(data))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"multi doc yaml could not be split: {where}: {text}") from error


def yaml_text(value: object) -> str:
    """Return a document of plain values as text, keys in order."""
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=False))


def _merge(config: Config, table: dict[str, object], path: str) -> Config:
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _KEYS:
            raise UsageError(
                f"configuration {path}: unknown key {key!r}", remedy=f"known: {', '.join(_KEYS)}"
            )
        config = _set(config, name, value, f"{path}: {key}")
    return config._replace(sources=(*config.sources, path))


def _set(config: Config, key: str, value: object, where: str) -> Config:
    values: dict[str, object] = config._asdict()
    if read := _readers().get(key):
        values[key] = read(value, where)
        return Config(**values)  # type: ignore[arg-type]  # `read` returns what the key has
    if not isinstance(value, str):
        raise UsageError(f"{where}: must be a string, not {type(value).__name__}")
    if key == "pull":
        _check_choice(value, _PULL_POLICIES, where)
    elif key == "storage_driver":
        _check_choice(value, _STORAGE_DRIVERS, where)
    elif key in ("root", "runroot", "node_root"):
        value = _absolute(value, where)
    values[key] = value
    return Config(**values)  # type: ignore[arg-type]  # every other key is a string


def _readers() -> "dict[str, Callable[[object, str], object]]":
    """Return what reads the keys that are no plain text."""
    return {
        "stop_timeout": _seconds,
        "max_layer_size": _size,
        "max_layer_ratio": _count,
        "max_layer_files": _count,
        "additional_stores": _directories,
        "cdi_directories": _directories,
        "inject": _names,
        "trusted_publishers": _names,
    }


def _seconds(value: object, where: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{where}: must be a number of seconds, not {value!r}")
    return value


def _count(value: object, where: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{where}: must be a positive number, not {value!r}")
    return value


def _size(value: object, where: str) -> int:
    """Read a number of bytes, with a unit of 1024 as for `--memory`: 512m, 20g."""
    if isinstance(value, str) and value[-1:].lower() in _UNITS and value[:-1].isdecimal():
        value = int(value[:-1]) * _UNITS[value[-1].lower()]
    return _count(value, where)


def _directories(value: object, where: str) -> tuple[str, ...]:
    """Read a list of directories; in the environment they are separated by colons."""
    if isinstance(value, str):
        value = [part for part in value.split(":") if part]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise UsageError(f"{where}: must be a list of directories")
    return tuple(_absolute(part, where) for part in value)


def _names(value: object, where: str) -> tuple[str, ...]:
    """Read a list of names; in the environment they are separated by commas."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise UsageError(f"{where}: must be a list of names")
    return tuple(value)


def _check_choice(value: str, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        choices = ", ".join(filter(None, allowed))
        raise UsageError(f"{where}: {value!r} is none of {choices}")


def _absolute(value: str, where: str) -> str:
    if value.startswith("~/"):
        value = os.path.expanduser(value)
    if not value.startswith("/"):
        raise UsageError(f"{where}: {value!r} must be an absolute path")
    return os.path.normpath(value)
