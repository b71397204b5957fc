"""From the bytes of a Containerfile to its logical lines: directives, continuations, heredocs.

The rules are those of BuildKit's parser (docs.docker.com, Dockerfile reference): directives stand
in the very first lines; comments and empty lines within an instruction are passed over; a heredoc
belongs to the RUN, COPY or ADD in whose line it is named.
"""

import re

from rootless.build.errors import BuildError
from rootless.build.model import Heredoc, Range
from storage.record import NamedTuple

DIRECTIVES = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.*?)[ \t]*\Z")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)\Z")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
SIZE_LIMIT_BYTES = 32 << 20
_LINE_LIMIT = 1 << 20
_INSTRUCTIONS_LIMIT = 5000
_CARET_LIMIT = 200


class Containerfile(NamedTuple):
    """The text of a Containerfile and what it is called in messages."""

    name: str
    lines: tuple[str, ...]

    def fail(
        self, message: str, line: int, column: int = -1, *, width: int = 1, remedy: str = ""
    ) -> BuildError:
        """Return the error for a place; `column` counts from 0, -1 marks the whole line."""
        return BuildError(
            f"{self.name}:{line}: {message}",
            remedy=remedy,
            excerpt=self.excerpt(Range(line, line), column, width),
        )

    def excerpt(self, where: Range, column: int = -1, width: int = 1) -> str:
        """Return the lines of a range as people read them, with a caret below the first."""
        shown = []
        for number in range(where.first, min(where.last, where.first + 20, len(self.lines)) + 1):
            text = self.lines[number - 1].replace("\t", " ")
            shown.append(f"{number:>5} | {text[:_CARET_LIMIT]}")
            if number == where.first and 0 <= column < _CARET_LIMIT:
                shown.append(f"      | {' ' * column}{'^' * max(1, min(width, 80))}")
        return "\n".join(shown)


class Logical(NamedTuple):
    """One instruction as it stands: its joined text, and from where each part of it comes.

    `segments` are (offset in text, line, column); `has_empty` tells of empty continuation lines.
    """

    text: str
    range: Range
    segments: tuple[tuple[int, int, int], ...]
    heredocs: tuple[Heredoc, ...] = ()
    has_empty: bool = False

    def at(self, offset: int) -> tuple[int, int]:
        """Return line (from 1) and column (from 0) of a character of the text."""
        for start, line, column in reversed(self.segments):
            if offset >= start:
                return line, column + offset - start
        return self.range.first, 0


class Lines(NamedTuple):
    """A Containerfile cut into instructions."""

    file: Containerfile
    directives: dict[str, str]
    escape: str
    instructions: tuple[Logical, ...]


def read_lines(data: bytes, name: str) -> Lines:
    """Cut a Containerfile into logical lines. Raises BuildError."""
    file = Containerfile(name, _decode(data, name))
    directives, begin = _directives(file)
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise file.fail(
            f'the escape character must be \\ or `, not "{escape[:20]}"',
            1 + list(directives).index("escape"),
        )
    reader = _Reader(file, escape, begin)
    instructions = tuple(reader.read())
    if len(instructions) > _INSTRUCTIONS_LIMIT:
        raise BuildError(f"{name}: it has more than {_INSTRUCTIONS_LIMIT} instructions")
    return Lines(file, directives, escape, instructions)


def _decode(data: bytes, name: str) -> tuple[str, ...]:
    if len(data) > SIZE_LIMIT_BYTES:
        raise BuildError(f"{name}: {len(data)} bytes are more than a Containerfile may have")
    if b"\0" in data:
        raise BuildError(
            f"{name}: this is no text: it has a NUL in line {data[: data.index(0)].count(10) + 1}",
            remedy="give the Containerfile with -f FILE",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BuildError(
            f"{name}:{line}: this is no UTF-8 text", remedy="give the Containerfile with -f FILE"
        ) from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    result = tuple(line.removesuffix("\r") for line in lines)
    for number, one in enumerate(result, 1):
        if len(one) > _LINE_LIMIT:
            raise BuildError(f"{name}:{number}: the line is longer than {_LINE_LIMIT} characters")
    return result


def _directives(file: Containerfile) -> tuple[dict[str, str], int]:
    """Return the parser directives, and how many lines they take."""
    found: dict[str, str] = {}
    for number, line in enumerate(file.lines):
        match = _DIRECTIVE.match(line.lstrip(" \t"))
        key = match[1].lower() if match else ""
        if match is None or key not in DIRECTIVES:
            return found, number
        if key in found:
            raise file.fail(f"the directive {key} is given twice", number + 1)
        found[key] = match[2]
    return found, len(file.lines)


class _Reader:
    """Joins continued lines and collects heredocs."""

    def __init__(self, file: Containerfile, escape: str, begin: int) -> None:
        self._file = file
        self._next = begin
        self._escape = escape
        token = re.escape(escape)
        self._continued = re.compile(rf"(?:(?<!{token})|^){token}[ \t]*\Z")

    def read(self) -> list[Logical]:
        found = []
        while self._next < len(self._file.lines):
            logical = self._instruction()
            if logical is not None:
                found.append(self._with_heredocs(logical))
        return found

    def _instruction(self) -> Logical | None:
        first = self._next + 1
        raw = self._take()
        line = raw.lstrip()
        if not line or line.startswith("#"):
            return None
        parts = []
        segments = []
        length = 0
        has_empty = False
        column = len(raw) - len(line)
        while True:
            match = self._continued.search(line)
            kept = line[: match.start()] if match else line
            segments.append((length, self._next, column))
            parts.append(kept)
            length += len(kept)
            if not match:
                break
            following = self._following()
            if following is None:
                break
            line, skipped_empty = following
            has_empty = has_empty or skipped_empty
            column = 0
            if not length:
                # Nothing but the escape character yet: the instruction begins here.
                column = len(line) - len(line.lstrip())
                line = line.lstrip()
        text = "".join(parts).rstrip()
        if not text:
            return None
        return Logical(text, Range(first, self._next), tuple(segments), (), has_empty)

    def _following(self) -> tuple[str, bool] | None:
        """Return the next line of an instruction, past comments and empty lines."""
        has_empty = False
        while self._next < len(self._file.lines):
            line = self._take()
            stripped = line.strip()
            if stripped.startswith("#"):
                continue
            if not stripped:
                has_empty = True
                continue
            return line, has_empty
        return None

    def _take(self) -> str:
        line = self._file.lines[self._next]
        self._next += 1
        return line

    def _with_heredocs(self, logical: Logical) -> Logical:
        words = logical.text.split(None, 2)
        keyword = words[0].upper()
        if keyword == "ONBUILD" and len(words) > 1:
            keyword = words[1].upper()
        if keyword not in _WITH_HEREDOCS or "<<" not in logical.text:
            return logical
        documents = []
        for word in shell_words(logical.text, self._escape):
            match = _HEREDOC.match(word)
            if match is None:
                continue
            name = unquote(match[3], self._escape)
            if not name:
                continue
            content = self._document(name, logical, strip=bool(match[2]))
            fd = int(match[1]) if match[1] else -1
            documents.append(Heredoc(name, content, name == match[3], fd))
        where = Range(logical.range.first, max(self._next, logical.range.last))
        return logical._replace(heredocs=tuple(documents), range=where)

    def _document(self, name: str, logical: Logical, *, strip: bool) -> str:
        lines: list[str] = []
        while self._next < len(self._file.lines):
            line = self._take()
            if strip:
                line = line.lstrip("\t")
            if line == name:
                return "".join(f"{kept}\n" for kept in lines)
            lines.append(line)
        number, column = logical.at(max(logical.text.find("<<"), 0))
        raise self._file.fail(
            f"the heredoc {name} has no end", number, column, width=2 + len(name),
            remedy=f"a line with nothing but {name} ends it",
        )  # fmt: skip


def shell_words(text: str, escape: str) -> list[str]:
    """Split at blanks outside of quotes; quotes and escapes stay as they are."""
    words: list[str] = []
    current = ""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'":
            current += text[position : position + 2]
            position += 2
            continue
        if quote:
            if character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character.isspace():
            if current:
                words.append(current)
            current = ""
            position += 1
            continue
        current += character
        position += 1
    if current:
        words.append(current)
    return words


def unquote(text: str, escape: str) -> str:
    """Take quotes and escapes away, without any expansion."""
    result = ""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'" and position + 1 < len(text):
            position += 1
            if quote == '"' and text[position] not in f'"${escape}':
                result += character
            result += text[position]
        elif quote:
            if character == quote:
                quote = ""
            else:
                result += character
        elif character in "\"'":
            quote = character
        else:
            result += character
        position += 1
    return result
