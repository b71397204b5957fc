"""Readers of values: each checks what a file says and returns the one form that the rest works on.

A reader gets the raw value and its place, and raises InvalidFile with docker compose's words:
`services.web.ports must be a list`. Texts count as numbers and booleans where those are wanted,
because interpolation makes texts.
"""

import os
import shlex
from collections.abc import Callable

from rootless.compose.errors import InvalidFile
from rootless.container.moments import parse_duration

REMOTE = ("http://", "https://", "oci://", "git://", "ssh://", "git@", "github.com/")
_UNITS = {"b": 0, "k": 10, "kb": 10, "m": 20, "mb": 20, "g": 30, "gb": 30, "t": 40, "tb": 40}


class At:
    """A place in a file; `directory` is where relative paths of the file begin."""

    __slots__ = ("directory", "file", "path")

    def __init__(self, file: str, directory: str, path: str = "") -> None:
        self.file = file
        self.directory = directory
        self.path = path

    def __truediv__(self, key: object) -> "At":
        return At(self.file, self.directory, f"{self.path}.{key}" if self.path else str(key))

    def wrong(self, text: str, remedy: str = "") -> InvalidFile:
        """Return the error about this place."""
        return InvalidFile(f"validating {self.file}: {self.path} {text}".strip(), remedy=remedy)

    def absolute(self, path: str) -> str:
        """Return a path of the file as an absolute one."""
        if path == "~" or path.startswith("~/"):
            path = os.path.expanduser(path)
        return os.path.normpath(os.path.join(self.directory, path))


Read = Callable[[object, At], object]


def text(raw: object, at: At) -> str:
    if not isinstance(raw, str):
        raise at.wrong("must be a string")
    return raw


def scalar(raw: object, at: At) -> str:
    """Read text; a number is as good."""
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise at.wrong("must be a string")
    return str(raw)


def flag(raw: object, at: At) -> bool:
    if isinstance(raw, str) and raw.lower() in ("true", "yes", "on", "y", "1"):
        return True
    if isinstance(raw, str) and raw.lower() in ("false", "no", "off", "n", "0"):
        return False
    if not isinstance(raw, bool):
        raise at.wrong("must be a boolean")
    return raw


def integer(raw: object, at: At) -> int:
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, str):
        try:
            raw = int(raw, 0) if len(raw) < 20 else raw
        except ValueError:
            pass
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise at.wrong("must be a integer")
    return raw


def count(raw: object, at: At) -> int:
    number = integer(raw, at)
    if number < 0:
        raise at.wrong("must not be negative")
    return number


def decimal(raw: object, at: At) -> str:
    """Read a number that may have a fraction; it stays as it is written."""
    try:
        if isinstance(raw, bool) or float(str(raw)) < 0 or not float(str(raw)) < 1e9:
            raise at.wrong("must be a number")
    except ValueError as error:
        raise at.wrong("must be a number") from error
    return f"{raw:g}" if isinstance(raw, float) else str(raw)


def size(raw: object, at: At) -> str:
    """Read an amount of bytes such as 64m, 1.5gb; return the number of bytes as text."""
    word = scalar(raw, at).strip().lower()
    if word == "-1":
        return word
    digits = word.rstrip("bkmgti")
    unit = word[len(digits) :].replace("i", "")
    try:
        number = float(digits)
    except ValueError:
        number = -1.0
    if (unit and unit not in _UNITS) or not 0 <= number < 1e18:
        raise at.wrong(f"must be a size such as 64m, not {raw!r}")
    return str(int(number * (1 << _UNITS.get(unit, 0))))


def duration(raw: object, at: At) -> str:
    """Read a duration such as 1m30s; it stays as it is written."""
    word = scalar(raw, at)
    if (seconds := parse_duration(word)) is None or seconds < 0:
        raise at.wrong(f"must be a duration such as 1m30s, not {word!r}")
    return word


def anything(raw: object, at: At) -> object:
    return raw


def words(raw: object, at: At) -> list[str]:
    """Read a list of texts."""
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    return [scalar(one, at / i) for i, one in enumerate(raw)]


def word_or_words(raw: object, at: At) -> list[str]:
    return [raw] if isinstance(raw, str) else words(raw, at)


def command(raw: object, at: At) -> list[str]:
    """Read a command: a line that is split as a shell does, or its words."""
    if not isinstance(raw, str):
        return words(raw, at)
    try:
        return shlex.split(raw)
    except ValueError as error:
        raise at.wrong(f"is no command line: {str(error).lower()}") from error


def mapping(raw: object, at: At) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise at.wrong("must be a mapping")
    return raw


def pairs(separator: str = "=") -> Read:
    """Return a reader of NAME=VALUE, as a list or a mapping; None for a name without a value."""

    def read(raw: object, at: At) -> dict[str, str | None]:
        if isinstance(raw, list):
            found: dict[str, str | None] = {}
            for i, one in enumerate(raw):
                name, equals, value = scalar(one, at / i).partition(separator)
                found[name] = value if equals else None
            return found
        if not isinstance(raw, dict):
            raise at.wrong("must be a mapping")
        return {key: _plain(one, at / key) for key, one in raw.items()}

    return read


def _plain(raw: object, at: At) -> str | None:
    if raw is None:
        return None
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return scalar(raw, at)


def texts_of(raw: object, at: At) -> dict[str, str]:
    """Read NAME=VALUE pairs; a name without a value has an empty one."""
    found = pairs()(raw, at)
    assert isinstance(found, dict)
    return {key: value or "" for key, value in found.items()}


def list_of(read: Read) -> Read:
    def read_list(raw: object, at: At) -> list[object]:
        if not isinstance(raw, list):
            raise at.wrong("must be a list")
        return [read(one, at / i) for i, one in enumerate(raw)]

    return read_list


def map_of(read: Read, *, optional: bool = False) -> Read:
    """Return a reader of a mapping of names; `optional` takes a name without anything as {}."""

    def read_map(raw: object, at: At) -> dict[str, object]:
        found = mapping(raw, at)
        return {
            key: read({} if one is None and optional else one, at / key)
            for key, one in found.items()
        }

    return read_map


def record(keys: dict[str, Read], refused: "dict[str, str] | None" = None) -> Read:
    """Return a reader of a mapping with these keys; `refused` says why others cannot work here.

    Keys that begin with x- are kept for nobody, and a key without a value is as if left out.
    """

    def read(raw: object, at: At) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in mapping(raw, at).items():
            if key.startswith("x-"):
                continue
            if refused and key in refused:
                raise at.wrong(f"{key!r} cannot be used here: {refused[key]}")
            if key not in keys:
                raise at.wrong(f"additional properties '{key}' not allowed", _nearest(key, keys))
            if value is not None:
                found[key] = keys[key](value, at / key)
        return found

    return read


def _nearest(key: str, keys: dict[str, Read]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(key, keys, n=1)
    return f"did you mean {close[0]}?" if close else ""


def choice(*known: str) -> Read:
    def read(raw: object, at: At) -> str:
        word = text(raw, at)
        if word not in known:
            raise at.wrong(f"must be one of {', '.join(known)}, not {word!r}")
        return word

    return read


def path(raw: object, at: At) -> str:
    """Read a path; what would have to be fetched, and others may change, is refused."""
    word = text(raw, at)
    if word.startswith(REMOTE):
        raise at.wrong(
            f"only files of this host are read, not {word}",
            "fetch it and look at it first, then name the file",
        )
    return at.absolute(word)


def one_or_many_paths(raw: object, at: At) -> list[str]:
    return [path(one, at) for one in word_or_words(raw, at)]
