"""Patterns of .dockerignore files and of COPY sources, as Go's libraries read them.

Two languages: `filepath.Match` of Go for the sources of COPY and ADD, and moby's patternmatcher for
ignore files and `--exclude`, in which `**` crosses directories, a parent's match counts for what is
below it, and the last pattern that matches decides.
"""

import posixpath
import re
from collections.abc import Iterable

from storage.build.errors import InvalidPattern

_PATTERNS_LIMIT = 10_000
_LENGTH_LIMIT = 4096
_WILD = frozenset("*?[\\")


def read_ignore_file(data: bytes) -> tuple[str, ...]:
    """Return the patterns of an ignore file, cleaned; `!` in front of exceptions is kept.

    Raises InvalidPattern for a file that is no text.
    """
    if b"\0" in data:
        raise InvalidPattern("ignore file: it is not a text file")
    found = []
    text = data.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    for line in text.split("\n"):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        if not pattern:
            continue
        exception = pattern.startswith("!")
        if exception:
            pattern = pattern[1:].strip()
        if pattern:
            pattern = _clean(pattern)
            if len(pattern) > 1 and pattern.startswith("/"):
                pattern = pattern[1:]
        found.append(f"!{pattern}" if exception else pattern)
    return tuple(found)


def _clean(path: str) -> str:
    """Return what filepath.Clean of Go returns."""
    cleaned = posixpath.normpath(path)
    # POSIX lets two leading slashes mean something; Go does not.
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def is_wild(text: str) -> bool:
    """Tell whether a source of COPY has wildcards (or escapes) in it."""
    return not _WILD.isdisjoint(text)


def compile_glob(pattern: str) -> "re.Pattern[str]":
    """Compile a pattern of Go's filepath.Match: `*`, `?`, `[a-z]`, `[^a]`, backslash escapes.

    No wildcard matches a slash. Raises InvalidPattern.
    """
    return _compile(_tokens(pattern, any_depth=False))


_STAR, _ANY, _REST = "*", "**/", "**"


def _tokens(pattern: str, *, any_depth: bool) -> list[str]:
    """Cut a pattern into wildcards and expressions for one character each.

    Raises InvalidPattern.
    """
    tokens = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if any_depth and pattern[position : position + 1] == "*":
                position += 1
                if pattern[position : position + 1] == "/":
                    position += 1
                tokens.append(_REST if position == len(pattern) else _ANY)
            else:
                tokens.append(_STAR)
        elif character == "?":
            tokens.append("[^/]")
        elif character == "[":
            piece, position = _character_class(pattern, position)
            tokens.append(piece)
        elif character == "\\":
            if position == len(pattern):
                raise _bad(pattern)
            tokens.append(re.escape(pattern[position]))
            position += 1
        else:
            tokens.append(re.escape(character))
    return tokens


def _compile(tokens: list[str]) -> "re.Pattern[str]":
    """Compile without backtracking over more than one wildcard: a pattern comes from strangers.

    What follows a wildcard, up to the next one, is taken where it is found first. A later place
    would leave less for the rest, so no other has to be tried: hence the atomic groups.
    """
    chunks: list[list[str]] = [[]]
    rest = ""
    for token in tokens:
        if token == _ANY:
            chunks.append([])
        elif token == _REST:
            rest = ".*"
        else:
            chunks[-1].append(token)
    parts = []
    for number, chunk in enumerate(chunks):
        is_last = number == len(chunks) - 1
        text = _compile_chunk(chunk, at_end=is_last and not rest)
        if number:
            text = f"(?:|.*?/){text}"
            text = text if is_last and not rest else f"(?>{text})"
        parts.append(text)
    return re.compile(f"(?s:{''.join(parts)}{rest})\\Z")


def _compile_chunk(tokens: list[str], *, at_end: bool) -> str:
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token != _STAR:
            pieces[-1].append(token)
        elif pieces[-1] or len(pieces) == 1:
            pieces.append([])
    text = "".join(pieces[0])
    for number, piece in enumerate(pieces[1:], 1):
        if at_end and number == len(pieces) - 1:
            text += "[^/]*" + "".join(piece)
        else:
            text += f"(?>[^/]*?{''.join(piece)})"
    return text


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """Read `[...]` from behind its bracket: the expression, and where it ends."""
    start = position
    negated = pattern[position : position + 1] == "^"
    if negated:
        position += 1
    ranges = []
    while position == start + negated or pattern[position : position + 1] != "]":
        low, position = _class_member(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_member(pattern, position + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    inside = "".join(ranges)
    if negated:
        return f"[^/{inside}]", position + 1
    return (f"(?!/)[{inside}]" if inside else "(?!)"), position + 1


def _class_member(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position : position + 1]
    if character in ("", "-", "]"):
        raise _bad(pattern)
    if character == "\\":
        position += 1
        character = pattern[position : position + 1]
        if not character:
            raise _bad(pattern)
    if position + 1 >= len(pattern):
        raise _bad(pattern)
    return character, position + 1


def _bad(pattern: str) -> InvalidPattern:
    return InvalidPattern(f"pattern {pattern[:100]!r}: syntax error in pattern")


class Patterns:
    """What an ignore file, or the `--exclude` options of one instruction, leave out.

    A path's verdict depends on its parents' matches: `match` returns them as a number to be handed
    on to what is below.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raise InvalidPattern for a pattern that Go's filepath.Match would refuse."""
        self._exceptions = 0
        self._exact: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._expressions: list[tuple[re.Pattern[str], int]] = []
        self._order: list[int] = []
        self._reach: list[str] = []
        for pattern in patterns:
            pattern = pattern.strip()
            if pattern:
                self._add(pattern)

    def __bool__(self) -> bool:
        return bool(self._order)

    def _add(self, pattern: str) -> None:
        if len(self._order) >= _PATTERNS_LIMIT or len(pattern) > _LENGTH_LIMIT:
            raise InvalidPattern(
                f"pattern {pattern[:60]!r}...: more than {_PATTERNS_LIMIT} patterns, or one of more"
                f" than {_LENGTH_LIMIT} characters"
            )
        pattern = _clean(pattern)
        bit = 1 << len(self._order)
        exception = pattern.startswith("!")
        if exception:
            pattern = pattern[1:]
            if not pattern:
                raise InvalidPattern('pattern "!": illegal exclusion pattern')
            self._exceptions |= bit
            self._reach.append(_fixed_part(pattern))
        compile_glob(pattern)
        self._order.append(bit)
        name = pattern[3:] if pattern.startswith("**/") else ""
        if not is_wild(pattern):
            self._exact[pattern] = self._exact.get(pattern, 0) | bit
        elif name and not is_wild(name) and "/" not in name:
            self._names[name] = self._names.get(name, 0) | bit
        else:
            self._expressions.append((_compile_ignore(pattern), bit))

    def match(self, path: str, above: int = 0) -> tuple[bool, int]:
        """Tell whether `path` is left out, and what matched it or a directory above it.

        `path` is relative, without `.` or a slash at an end; `above` came from its directory.
        """
        found = above | self._exact.get(path, 0)
        if self._names:
            found |= self._names.get(path.rpartition("/")[2], 0)
        for expression, bit in self._expressions:
            if not found & bit and expression.match(path):
                found |= bit
        if not found or not found & self._exceptions:
            return bool(found), found
        # The highest bit is the last pattern that matched.
        last = 1 << (found.bit_length() - 1)
        return self._decided(found, last), found

    def _decided(self, found: int, last: int) -> bool:
        return not last & self._exceptions

    def may_keep_below(self, path: str) -> bool:
        """Tell whether an exception could let in something below a directory that is left out."""
        prefix = f"{path}/"
        return any(
            fixed.startswith(prefix) or prefix.startswith(fixed) or not fixed
            for fixed in self._reach
        )


def _fixed_part(pattern: str) -> str:
    """Return the directories of a pattern up to its first wildcard, with a slash at the end."""
    if not is_wild(pattern):
        return f"{pattern}/"
    first = min(position for position, letter in enumerate(pattern) if letter in _WILD)
    return pattern[: pattern.rfind("/", 0, first) + 1]


def _compile_ignore(pattern: str) -> "re.Pattern[str]":
    """Compile a pattern of moby's patternmatcher."""
    if pattern.startswith("**") and not is_wild(pattern[2:]):
        # `**x` is any path that ends in x, and `**/x` that or x itself.
        rest = pattern[2:]
        if rest.startswith("/"):
            return re.compile(rf"(?s:(?:.*/)?{re.escape(rest[1:])})\Z")
        return re.compile(rf"(?s:.*{re.escape(rest)})\Z")
    return _compile(_tokens(pattern, any_depth=True))
