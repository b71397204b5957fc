"""RFC 9110, section 11.6.1: the WWW-Authenticate field.

challenge-list := challenge *("," challenge); challenge := scheme [1*SP (token68 / parameters)].
The comma separates parameters as well as challenges: only what follows a name tells which it is.
"""

from storage.record import NamedTuple

_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")
_TOKEN68 = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/")
_SPACE = " \t"
_LENGTH_LIMIT = 16 << 10


class Challenge(NamedTuple):
    """One way to authenticate; scheme and parameter names are lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """Read as many challenges as the field has; what follows a mistake in it is left out."""
    reader = _Reader(text[:_LENGTH_LIMIT])
    found: list[Challenge] = []
    while scheme := reader.next_scheme():
        parameters = reader.parameters()
        found.append(Challenge(scheme.lower(), parameters))
    return tuple(found)


def format_challenges(challenges: tuple[Challenge, ...]) -> str:
    """Write the field; values are quoted strings."""
    return ", ".join(
        " ".join(
            part
            for part in (
                challenge.scheme,
                ",".join(f"{key}={_quote(value)}" for key, value in challenge.parameters.items()),
            )
            if part
        )
        for challenge in challenges
    )


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Reader:
    __slots__ = ("_position", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def next_scheme(self) -> str:
        """Return the next scheme, "" at the end or at something that is none."""
        self._skip(_SPACE + ",")
        return self._token()

    def parameters(self) -> dict[str, str]:
        """Read the parameters of one challenge; a token68 is none and is skipped."""
        found: dict[str, str] = {}
        self._skip(_SPACE)
        if self._skip_token68():
            return found
        while True:
            start = self._position
            self._skip(_SPACE + ",")
            name = self._token()
            self._skip(_SPACE)
            if not name or not self._take("="):
                self._position = start
                return found
            self._skip(_SPACE)
            value = self._quoted() if self._take('"') else self._token()
            found.setdefault(name.lower(), value)

    def _skip_token68(self) -> bool:
        """Skip a token68: it ends, after its padding, with its challenge."""
        end = self._position
        while end < len(self._text) and self._text[end] in _TOKEN68:
            end += 1
        first = end
        while end < len(self._text) and self._text[end] == "=":
            end += 1
        rest = self._text[end:].lstrip(_SPACE)
        if first == self._position or (rest and not rest.startswith(",")):
            return False
        self._position = end
        return True

    def _token(self) -> str:
        start = self._position
        while self._position < len(self._text) and self._text[self._position] in _TOKEN:
            self._position += 1
        return self._text[start : self._position]

    def _quoted(self) -> str:
        """Read up to the closing quote; a missing one ends with the field."""
        found: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            self._position += 1
            if character == '"':
                break
            if character == "\\" and self._position < len(self._text):
                character = self._text[self._position]
                self._position += 1
            found.append(character)
        return "".join(found)

    def _skip(self, characters: str) -> None:
        while self._position < len(self._text) and self._text[self._position] in characters:
            self._position += 1

    def _take(self, character: str) -> bool:
        if self._text[self._position : self._position + 1] != character:
            return False
        self._position += 1
        return True
