"""Variables in the words of instructions: `$v`, `${v}`, and the modifiers of a shell.

POSIX shell, parameter expansion: `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%`, and `/` `//` of
bash. Quotes go, single ones keep what is inside; the escape character keeps the next one.
"""

import re

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEPTH_LIMIT = 50
_LENGTH_LIMIT = 1 << 20


class Expander:
    """Expands words with one set of variables; `unknown` collects names that had no value."""

    def __init__(self, variables: "Mapping[str, str]", escape: str = "\\") -> None:
        self._variables = variables
        self._escape = escape
        self.unknown: list[str] = []
        self.used: set[str] = set()

    def word(self, text: str) -> str:
        """Return a word without its quotes and with its variables. Raises UsageError."""
        if not any(character in text for character in ("$", "'", '"', self._escape)):
            return text
        return "".join(piece for piece, _ in self._run(_Scanner(text), "", quotes=True))

    def words(self, text: str) -> list[str]:
        """Return what a text comes to, split at blanks that no quotes protect."""
        words: list[str] = []
        current: str | None = None
        for piece, is_quoted in self._run(_Scanner(text), "", quotes=True):
            if is_quoted:
                current = (current or "") + piece
                continue
            parts = re.split(r"\s+", piece)
            for number, part in enumerate(parts):
                if number and current is not None:
                    words.append(current)
                    current = None
                if part:
                    current = (current or "") + part
        return words if current is None else [*words, current]

    def document(self, text: str) -> str:
        """Expand a heredoc: quotes are characters like others, an escape protects `$` only."""
        if "$" not in text:
            return text
        return "".join(piece for piece, _ in self._run(_Scanner(text), "", quotes=False))

    def _run(
        self, scanner: "_Scanner", end: str, *, quotes: bool, depth: int = 0
    ) -> list[tuple[str, bool]]:
        """Return pieces of text and whether quotes protect each; stops before `end`."""
        pieces: list[tuple[str, bool]] = []
        if depth > _DEPTH_LIMIT:
            raise UsageError("variables are nested too deeply")
        while scanner.more() and scanner.peek() != end:
            character = scanner.take()
            if character == "'" and quotes:
                pieces.append((self._single(scanner), True))
            elif character == '"' and quotes:
                pieces.append((self._double(scanner, depth), True))
            elif character == "$":
                pieces.append((self._dollar(scanner, depth), False))
            elif character == self._escape and scanner.more():
                following = scanner.take()
                if not quotes and following != "$":
                    following = character + following
                pieces.append((following, True))
            else:
                pieces.append((character, False))
        return pieces

    def _single(self, scanner: "_Scanner") -> str:
        text = scanner.until("'")
        if text is None:
            raise UsageError("a single quote has no end")
        return text

    def _double(self, scanner: "_Scanner", depth: int) -> str:
        result = ""
        while scanner.more():
            character = scanner.take()
            if character == '"':
                return result
            if character == "$":
                result += self._dollar(scanner, depth)
            elif character == self._escape and scanner.more():
                following = scanner.take()
                result += following if following in f'"${self._escape}' else character + following
            else:
                result += character
        raise UsageError("a double quote has no end")

    def _dollar(self, scanner: "_Scanner", depth: int) -> str:
        if not scanner.more():
            return "$"
        if scanner.peek() != "{":
            name = scanner.name()
            return self._value(name) if name else "$"
        scanner.take()
        name = scanner.name()
        if not name:
            raise UsageError("after ${ the name of a variable is expected")
        if not scanner.more():
            raise UsageError(f"${{{name} has no closing brace")
        text = self._modified(name, scanner, depth)
        if not scanner.more() or scanner.take() != "}":
            raise UsageError(f"${{{name} has no closing brace")
        if len(text) > _LENGTH_LIMIT:
            raise UsageError(f"${{{name}}} comes to more than {_LENGTH_LIMIT} characters")
        return text

    def _modified(self, name: str, scanner: "_Scanner", depth: int) -> str:
        character = scanner.peek()
        if character == "}":
            return self._value(name)
        scanner.take()
        if character in "#%/":
            return self._matched(name, character, scanner, depth)
        counts_empty = character == ":"
        if counts_empty:
            character = scanner.take() if scanner.more() else ""
        if character not in ("-", "+", "?"):
            raise UsageError(
                f"${{{name}: unknown modifier {':' if counts_empty else ''}{character}",
                remedy="known: :- - :+ + :? ? # ## % %% / //",
            )
        word = self._text(scanner, "}", depth)
        self.used.add(name)
        value = self._variables.get(name)
        is_set = value is not None and (value != "" or not counts_empty)
        if character == "+":
            return word if is_set else ""
        if is_set:
            return value or ""
        if character == "?":
            raise UsageError(f"{name}: {word or 'it is not set'}")
        return word

    def _matched(self, name: str, kind: str, scanner: "_Scanner", depth: int) -> str:
        is_double = scanner.more() and scanner.peek() == kind
        if is_double:
            scanner.take()
        value = self._value(name)
        if kind == "/":
            pattern = self._text(scanner, "/}", depth)
            replacement = ""
            if scanner.more() and scanner.peek() == "/":
                scanner.take()
                replacement = self._text(scanner, "}", depth)
            found = _glob(pattern, greedy=True)
            if not pattern:
                return value
            return re.sub(found, lambda _: replacement, value, count=0 if is_double else 1)
        found = _glob(self._text(scanner, "}", depth), greedy=is_double)
        if kind == "#":
            match = re.match(found, value, re.DOTALL)
            return value[match.end() :] if match else value
        starts = range(len(value) + 1) if is_double else range(len(value), -1, -1)
        whole = re.compile(found, re.DOTALL)
        for start in starts:
            if whole.fullmatch(value, start):
                return value[:start]
        return value

    def _text(self, scanner: "_Scanner", ends: str, depth: int) -> str:
        pieces = []
        if depth > _DEPTH_LIMIT:
            raise UsageError("variables are nested too deeply")
        while scanner.more() and scanner.peek() not in ends:
            before = scanner.position
            pieces += self._run_one(scanner, depth)
            assert scanner.position > before
        return "".join(pieces)

    def _run_one(self, scanner: "_Scanner", depth: int) -> list[str]:
        character = scanner.take()
        if character == "'":
            return [self._single(scanner)]
        if character == '"':
            return [self._double(scanner, depth + 1)]
        if character == "$":
            return [self._dollar(scanner, depth + 1)]
        if character == self._escape and scanner.more():
            return [scanner.take()]
        return [character]

    def _value(self, name: str) -> str:
        self.used.add(name)
        value = self._variables.get(name)
        if value is None and name not in self.unknown:
            self.unknown.append(name)
        return value or ""


class _Scanner:
    """A text and how far it has been read."""

    __slots__ = ("position", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def more(self) -> bool:
        return self.position < len(self.text)

    def peek(self) -> str:
        return self.text[self.position]

    def take(self) -> str:
        self.position += 1
        return self.text[self.position - 1]

    def until(self, end: str) -> str | None:
        stop = self.text.find(end, self.position)
        if stop < 0:
            return None
        text = self.text[self.position : stop]
        self.position = stop + 1
        return text

    def name(self) -> str:
        """Take the name of a variable; a digit is one by itself, as in a shell."""
        match = _NAME.match(self.text, self.position)
        if match is None:
            if self.more() and self.peek().isdecimal():
                return self.take()
            return ""
        self.position = match.end()
        return match[0]


def _glob(pattern: str, *, greedy: bool) -> str:
    """Return a regular expression for a shell pattern with `*` and `?`."""
    words = {"*": ".*" if greedy else ".*?", "?": "."}
    return "".join(words.get(character) or re.escape(character) for character in pattern)
