"""The variables of a container's process.

Later wins: rpod's defaults, the image, the caller's proxy variables, `--env-host`, `--env-file`,
`--env`, `--env-merge`; then HOME and HOSTNAME where nobody has set them.
"""

import os

from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from rootless.sandbox.defaults import ENV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROXY = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def make_environment(
    request: ContainerRequest,
    image_env: "Iterable[str]",
    caller: "Mapping[str, str]",
    *,
    home: str,
    hostname: str,
) -> dict[str, str]:
    """Return the variables in the order in which they were first set.

    Raises UsageError.
    """
    result = {} if request.unsetenv_all else dict(ENV)
    if not request.unsetenv_all:
        for entry in image_env:
            name, _, value = entry.partition("=")
            result[name] = value
    if request.as_caller:
        from rootless.container import personal

        personal.add_variables(result, caller, home)
    if request.http_proxy:
        for name in _PROXY:
            for spelling in (name, name.upper()):
                if spelling in caller:
                    result[spelling] = caller[spelling]
    if request.env_host:
        result.update(caller)
    for name in request.unsetenv:
        result.pop(name, None)
    before = dict(result) if request.env_merge else {}
    add_variables(result, request.env, request.env_file, caller)
    for entry in request.env_merge:
        name, separator, value = entry.partition("=")
        if not name or not separator or "\0" in entry:
            raise UsageError(f'invalid --env-merge "{entry}"', remedy="use NAME=TEXT${NAME}TEXT")
        result[name] = _expand(value, before)
    result.setdefault("HOME", home)
    result.setdefault("HOSTNAME", hostname)
    return result


def add_variables(
    result: dict[str, str],
    env: "Iterable[str]",
    env_files: "Iterable[str]",
    caller: "Mapping[str, str]",
) -> None:
    """Add what `--env-file` and `--env` say: NAME=VALUE, NAME from the caller, PREFIX*."""
    for path in env_files:
        for line in read_lines(path, "--env-file"):
            _add(result, line, caller, f"{path}: ")
    for entry in env:
        _add(result, entry, caller, "")


def _add(result: dict[str, str], entry: str, caller: "Mapping[str, str]", where: str) -> None:
    name, separator, value = entry.partition("=")
    if not name or "\0" in entry:
        raise UsageError(f'{where}invalid environment variable "{entry}"')
    if separator:
        result[name] = value
    elif name.endswith("*"):
        result.update(
            {key: text for key, text in caller.items() if key.startswith(name.removesuffix("*"))}
        )
    elif name in caller:
        result[name] = caller[name]


def _expand(text: str, known: "Mapping[str, str]") -> str:
    """Put the values of the image's variables where `${NAME}` and `$NAME` stand."""
    import re

    def value(found: "re.Match[str]") -> str:
        return known.get(found[1] or found[2], "")

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, text)


def read_lines(path: str, option: str) -> list[str]:
    """Return the lines of an env or label file without comments; nothing is unquoted.

    Raises UsageError.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"read {option} {path}: {error.strerror}") from error
    lines = [line.lstrip() for line in text.split("\n")]
    return [line.removesuffix("\r") for line in lines if line.strip() and not line.startswith("#")]


def caller_environment() -> "Mapping[str, str]":
    return os.environ
