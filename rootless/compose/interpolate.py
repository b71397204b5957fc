"""Variables in values: `$V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} ${V:+r} ${V+r} $$`.

Compose Specification, 12-interpolation. Defaults may hold variables themselves.
"""

import re

from rootless.compose.errors import InvalidFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Warn = Callable[[str], None]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_LIMIT_DEPTH = 20
_LIMIT_LETTERS = 1 << 20


class Variables:
    """The variables of a project; what is not set is told once."""

    def __init__(self, values: "Mapping[str, str]", warn: "Warn | None" = None) -> None:
        self.values = values
        self._warn = warn
        self._told: set[str] = set()

    def expand(self, text: str, where: str) -> str:
        """Return a text with its variables filled in. Raises InvalidFile."""
        return text if "$" not in text else self._expand(text, where, 0)

    def expand_all(self, value: object, where: str = "") -> object:
        """Return a value with all its texts expanded; keys stay as they are. Raises InvalidFile."""
        if isinstance(value, str):
            return self.expand(value, where)
        if isinstance(value, list):
            return [self.expand_all(one, f"{where}.{i}") for i, one in enumerate(value)]
        if isinstance(value, dict):
            dot = f"{where}." if where else ""
            return {key: self.expand_all(one, f"{dot}{key}") for key, one in value.items()}
        return value

    def _expand(self, text: str, where: str, depth: int) -> str:
        if depth > _LIMIT_DEPTH:
            raise InvalidFile(f"invalid interpolation format for {where}: nested too deeply")
        parts: list[str] = []
        position = 0
        while (dollar := text.find("$", position)) >= 0:
            parts.append(text[position:dollar])
            following = text[dollar + 1 : dollar + 2]
            if following == "$":
                parts.append("$")
                position = dollar + 2
            elif following == "{":
                end = _closing(text, dollar + 2)
                if end < 0:
                    raise _invalid(text, where)
                parts.append(self._braced(text[dollar + 2 : end], text, where, depth))
                position = end + 1
            else:
                match = _NAME.match(text, dollar + 1)
                if match is None:
                    raise _invalid(text, where)
                parts.append(self._get(match.group()))
                position = match.end()
        parts.append(text[position:])
        result = "".join(parts)
        if len(result) > _LIMIT_LETTERS:
            raise InvalidFile(f"invalid interpolation for {where}: the value grows too large")
        return result

    def _braced(self, inside: str, text: str, where: str, depth: int) -> str:
        match = _NAME.match(inside)
        if match is None:
            raise _invalid(text, where)
        name, rest = match.group(), inside[match.end() :]
        if not rest:
            return self._get(name)
        operator = next((one for one in _OPERATORS if rest.startswith(one)), "")
        if not operator:
            raise _invalid(text, where)
        word = rest[len(operator) :]
        value = self.values.get(name)
        is_there = bool(value) if operator.startswith(":") else value is not None
        kind = operator[-1]
        if kind == "+":
            return self._expand(word, where, depth + 1) if is_there else ""
        if is_there:
            return value or ""
        if kind == "-":
            return self._expand(word, where, depth + 1)
        reason = self._expand(word, where, depth + 1)
        raise InvalidFile(
            f"error while interpolating {where}: required variable {name} is missing a value"
            + (f": {reason}" if reason else "")
        )

    def _get(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            if self._warn is not None and name not in self._told:
                self._told.add(name)
                self._warn(f'The "{name}" variable is not set. Defaulting to a blank string.')
            return ""
        return value


def _closing(text: str, position: int) -> int:
    """Return where the brace is that closes one before `position`; -1 where none does."""
    depth = 1
    while position < len(text):
        if text.startswith("${", position):
            depth += 1
            position += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
        position += 1
    return -1


def _invalid(text: str, where: str) -> InvalidFile:
    return InvalidFile(
        f"invalid interpolation format for {where}: {text[:80]!r}",
        remedy="write $$ for a dollar sign",
    )
