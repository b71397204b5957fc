"""Files of variables: `.env`, `--env-file`, `env_file:` of a service.

Compose Specification, "Env_file format": NAME=VALUE or NAME: VALUE, `export`, comments, quotes;
single quotes keep everything, double quotes and bare values have variables filled in.
"""

import re

from rootless.compose.errors import InvalidFile, NoFile
from rootless.compose.interpolate import Variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT_BYTES = 1 << 20
_START = re.compile(r"[ \t]*(?:export[ \t]+)?([^\s=:#'\"]*)[ \t]*([=:]?)[ \t]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-\[\]]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def read_env_file(path: str) -> str:
    """Return a file's text. Raises NoFile, InvalidFile."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NoFile(f"env file {path} not found") from error
    except OSError as error:
        raise InvalidFile(f"read env file {path}: {error.strerror}") from error
    if len(data) > _LIMIT_BYTES:
        raise InvalidFile(f"read env file {path}: larger than {_LIMIT_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidFile(f"read env file {path}: it is no text") from error


def parse_env(text: str, where: str, environ: "Mapping[str, str]") -> dict[str, str | None]:
    """Return the variables of a text; None for a name without a value.

    Later lines see the values of earlier ones, the caller's environment wins. Raises InvalidFile.
    """
    found: dict[str, str | None] = {}
    position, line = 0, 1
    while position < len(text):
        match = _START.match(text, position)
        assert match is not None  # it matches the empty text
        name, separator = match.group(1), match.group(2)
        line_end = _line_end(text, position)
        if not name and text[match.start() : line_end].strip()[:1] in ("", "#"):
            position, line = line_end + 1, line + 1
            continue
        if not _NAME.fullmatch(name):
            shown = text[position:line_end].strip()[:40]
            raise InvalidFile(
                f"failed to read {where}: line {line}: unexpected character in variable name near"
                f" {shown!r}"
            )
        if not separator:
            if text[match.end() : line_end].strip()[:1] not in ("", "#"):
                raise InvalidFile(f"failed to read {where}: line {line}: {name!r} has no value")
            found[name] = None
            position, line = line_end + 1, line + 1
            continue
        known = {key: value for key, value in found.items() if value is not None}
        variables = Variables({**known, **environ})
        value, end = _value(text, match.end(), f"{where}: line {line}", variables)
        found[name] = value
        line += text.count("\n", position, end) + 1
        position = end + 1
    return found


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _value(text: str, start: int, where: str, variables: Variables) -> tuple[str, int]:
    """Return a value, and where its line ends."""
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        end = _line_end(text, start)
        bare = text[start:end]
        comment = re.search(r"(^|\s)#", bare)
        bare = bare[: comment.start()] if comment else bare
        return variables.expand(bare.strip(), where), end
    letters: list[str] = []
    position = start + 1
    while position < len(text) and text[position] != quote:
        if quote == '"' and text[position] == "\\" and position + 1 < len(text):
            following = text[position + 1]
            letters.append(_ESCAPES.get(following, f"\\{following}"))
            position += 2
            continue
        letters.append(text[position])
        position += 1
    if position >= len(text):
        raise InvalidFile(f"failed to read {where}: unterminated quoted value")
    end = _line_end(text, position)
    rest = text[position + 1 : end].strip()
    if rest and not rest.startswith("#"):
        raise InvalidFile(f"failed to read {where}: unexpected text after the value: {rest[:40]!r}")
    value = "".join(letters)
    return (value if quote == "'" else variables.expand(value, where)), end


def parse_raw(text: str) -> dict[str, str | None]:
    """Return the variables of a file of `format: raw`: NAME=VALUE lines as `docker run` has."""
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, separator, value = line.partition("=")
            found[name.strip()] = value if separator else None
    return found
