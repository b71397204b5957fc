"""Instructions that change an image's configuration: `--change` of import and commit.

Containerfile(5): CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.
"""

import json
import shlex
from collections.abc import Callable, Iterable

from storage.errors import InvalidDocument

Config = dict[str, object]


def apply_changes(changes: Iterable[str], config: Config | None = None) -> Config:
    """Return a configuration with the instructions applied in order. Raises InvalidDocument."""
    found: Config = dict(config or {})
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        if "=" in instruction and not rest:
            # podman also takes CMD=/bin/sh
            instruction, _, rest = change.strip().partition("=")
        action = _ACTIONS.get(instruction.upper())
        rest = rest.strip()
        if action is None:
            raise InvalidDocument(
                f"change {change[:100]!r}: {instruction[:40]!r} is not an instruction that can"
                " be applied",
                remedy=f"use {', '.join(sorted(_ACTIONS))}",
            )
        if not rest:
            raise InvalidDocument(f"change {change[:100]!r}: {instruction} needs a value")
        action(found, rest)
    return found


def _command(config: Config, text: str) -> list[str]:
    """Read the exec form, a JSON array, or the shell form."""
    if text.startswith("["):
        try:
            words: object = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return [str(word) for word in words]
    return ["/bin/sh", "-c", text]


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(config, text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(config, text)


def _env(config: Config, text: str) -> None:
    known = config.get("Env")
    variables: dict[str, str] = {}
    for entry in known if isinstance(known, list) else []:
        name, _, value = str(entry).partition("=")
        variables[name] = value
    variables.update(_pairs("ENV", text))
    config["Env"] = [f"{name}={value}" for name, value in variables.items()]


def _label(config: Config, text: str) -> None:
    labels = config.get("Labels")
    config["Labels"] = {**(labels if isinstance(labels, dict) else {}), **_pairs("LABEL", text)}


def _pairs(instruction: str, text: str) -> dict[str, str]:
    """Read `name=value ...` with quotes, or the old form `name value`."""
    first = text.split(maxsplit=1)
    if "=" not in first[0]:
        return {first[0]: first[1] if len(first) > 1 else ""}
    pairs = {}
    for word in _words(instruction, text):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidDocument(f"change {instruction}: {word[:100]!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _words(instruction: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidDocument(f"change {instruction} {text[:100]!r}: {error}") from error


def _expose(config: Config, text: str) -> None:
    ports = config.get("ExposedPorts")
    found = dict(ports) if isinstance(ports, dict) else {}
    for word in text.split():
        number, slash, protocol = word.partition("/")
        if not number.replace("-", "").isdigit() or (slash and protocol not in _PROTOCOLS):
            raise InvalidDocument(f"change EXPOSE: {word[:60]!r} is not PORT[/PROTOCOL]")
        found[f"{number}/{protocol or 'tcp'}"] = {}
    config["ExposedPorts"] = found


def _volume(config: Config, text: str) -> None:
    volumes = config.get("Volumes")
    found = dict(volumes) if isinstance(volumes, dict) else {}
    paths = _command(config, text) if text.startswith("[") else text.split()
    for path in paths:
        if not path.startswith("/"):
            raise InvalidDocument(f"change VOLUME: {path[:100]!r} is not an absolute path")
        found[path] = {}
    config["Volumes"] = found


def _onbuild(config: Config, text: str) -> None:
    known = config.get("OnBuild")
    config["OnBuild"] = [*(known if isinstance(known, list) else []), text]


def _text(key: str) -> Callable[[Config, str], None]:
    def apply(config: Config, text: str) -> None:
        config[key] = text

    return apply


_PROTOCOLS = ("tcp", "udp", "sctp")
_ACTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _text("StopSignal"),
    "USER": _text("User"),
    "VOLUME": _volume,
    "WORKDIR": _text("WorkingDir"),
}
