"""From a template's text to its tree: text/template's grammar without define and template."""

import re

from rootless.cli.template_functions import FUNCTION_NAMES, TemplateError
from storage.record import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\.)+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<symbol>:=|[|()=,])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a",
            "b": "\b", "f": "\f", "v": "\v"}  # fmt: skip
_MAX_DEPTH = 50


class Token(NamedTuple):
    kind: str
    text: str
    spaced: bool


class Literal(NamedTuple):
    value: object


class Field(NamedTuple):
    chain: tuple[str, ...]


class Variable(NamedTuple):
    name: str
    chain: tuple[str, ...]


class Call(NamedTuple):
    name: str


class Group(NamedTuple):
    pipe: "Pipe"
    chain: tuple[str, ...]


Operand = Literal | Field | Variable | Call | Group


class Pipe(NamedTuple):
    """`names` are the variables that get the value; new ones when it `declares`."""

    commands: tuple[tuple[Operand, ...], ...]
    names: tuple[str, ...] = ()
    declares: bool = True


class Text(NamedTuple):
    text: str


class Action(NamedTuple):
    pipe: Pipe


class If(NamedTuple):
    pipe: Pipe
    body: tuple["Node", ...]
    other: tuple["Node", ...]


class With(NamedTuple):
    pipe: Pipe
    body: tuple["Node", ...]
    other: tuple["Node", ...]


class Range(NamedTuple):
    pipe: Pipe
    body: tuple["Node", ...]
    other: tuple["Node", ...]


class Jump(NamedTuple):
    name: str


Node = Text | Action | If | With | Range | Jump


def parse(text: str) -> tuple[Node, ...]:
    """Return the tree. Raises TemplateError."""
    reader = _Reader(_split(text))
    nodes, end = reader.block(0)
    if end:
        raise TemplateError(f"template: unexpected {{{{{end}}}}}")
    return nodes


def _split(text: str) -> list[str | list[Token]]:
    """Cut a template into texts and the tokens of its actions."""
    parts: list[str | list[Token]] = []
    position = 0
    trim = False
    while position <= len(text):
        start = text.find("{{", position)
        plain = text[position:] if start < 0 else text[position:start]
        plain = plain.lstrip() if trim else plain
        if start < 0:
            parts.append(_unescape(plain))
            return parts
        start += 2
        if text.startswith("-", start) and text[start + 1 : start + 2].isspace():
            plain = plain.rstrip()
            start += 1
        parts.append(_unescape(plain))
        tokens, position, trim = _action(text, start)
        parts.append(tokens)
    return parts


def _unescape(text: str) -> str:
    r"""Give \t and \n outside of actions their meaning, as podman and docker do."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


def _action(text: str, position: int) -> tuple[list[Token], int, bool]:
    """Read the tokens up to }}; return where the text goes on, and whether space is trimmed."""
    tokens: list[Token] = []
    spaced = True
    while True:
        comment = text[position:].lstrip()
        if not tokens and comment.startswith("/*"):
            end = text.find("*/", position)
            if end < 0:
                raise TemplateError("template: unclosed comment")
            position = end + 2
        if text.startswith("}}", position):
            return tokens, position + 2, False
        if spaced and text.startswith("-}}", position):
            return tokens, position + 3, True
        match = _TOKEN.match(text, position)
        if match is None:
            where = text[position : position + 20]
            reason = f"unexpected {where!r}" if where else "unclosed action"
            raise TemplateError(f"template: {reason}")
        kind = str(match.lastgroup)
        if kind == "space":
            spaced = True
        else:
            tokens.append(Token(kind, match.group(), spaced))
            spaced = False
        position = match.end()


class _Reader:
    def __init__(self, parts: list[str | list[Token]]) -> None:
        self.parts = parts
        self.position = 0

    def block(self, depth: int) -> tuple[tuple[Node, ...], str]:
        """Read nodes up to {{end}} or {{else}}; return them and the word that ended them."""
        if depth > _MAX_DEPTH:
            raise TemplateError("template: nested too deeply")
        nodes: list[Node] = []
        while self.position < len(self.parts):
            part = self.parts[self.position]
            self.position += 1
            if isinstance(part, str):
                if part:
                    nodes.append(Text(part))
                continue
            if not part:
                continue
            word = part[0].text if part[0].kind == "word" else ""
            if word == "end":
                return tuple(nodes), "end"
            if word == "else":
                # `else if` is an if of its own inside the else; its end is that of both.
                if len(part) > 1:
                    self.position -= 1
                    self.parts[self.position] = part[1:]
                    return tuple(nodes), "else if"
                return tuple(nodes), "else"
            nodes.append(self.node(word, part, depth))
        if depth:
            raise TemplateError("template: unexpected EOF: {{end}} is missing")
        return tuple(nodes), ""

    def node(self, word: str, tokens: list[Token], depth: int) -> Node:
        if word in ("break", "continue"):
            return Jump(word)
        if word not in ("if", "with", "range"):
            return Action(_Pipes(tokens).whole())
        pipe = _Pipes(tokens[1:]).whole()
        body, end = self.block(depth + 1)
        other: tuple[Node, ...] = ()
        if end == "else":
            other, _ = self.block(depth + 1)
        elif end == "else if":
            tokens = self.parts[self.position]  # type: ignore[assignment]  # put there by block()
            self.position += 1
            other = (self.node(tokens[0].text, tokens, depth + 1),)
        kinds: dict[str, type[If] | type[With] | type[Range]] = {
            "if": If, "with": With, "range": Range,
        }  # fmt: skip
        return kinds[word](pipe, body, other)


class _Pipes:
    """Reads the tokens of one action."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0

    def peek(self) -> Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def whole(self) -> Pipe:
        pipe = self.pipe(0)
        rest = self.peek()
        if rest is not None:
            raise TemplateError(f"template: unexpected {rest.text!r}")
        return pipe

    def pipe(self, depth: int) -> Pipe:
        if depth > _MAX_DEPTH:
            raise TemplateError("template: nested too deeply")
        names, declares = self.declaration()
        commands = [self.command(depth)]
        while self.take("|"):
            commands.append(self.command(depth))
        return Pipe(tuple(commands), names, declares)

    def take(self, symbol: str) -> bool:
        token = self.peek()
        if token is None or token.kind != "symbol" or token.text != symbol:
            return False
        self.position += 1
        return True

    def declaration(self) -> tuple[tuple[str, ...], bool]:
        """Read `$x :=`, `$x =`, `$i, $x :=` when it is there."""
        start = self.position
        names: list[str] = []
        while (token := self.peek()) is not None and token.kind == "variable":
            names.append(token.text)
            self.position += 1
            if self.take(":="):
                return tuple(names), True
            if self.take("="):
                return tuple(names), False
            if not self.take(","):
                break
        self.position = start
        return (), True

    def command(self, depth: int) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while (token := self.peek()) is not None:
            if token.kind == "symbol" and token.text in ("|", ")"):
                break
            operands.append(self.operand(token, depth))
        if not operands:
            raise TemplateError("template: missing value for command")
        return tuple(operands)

    def operand(self, token: Token, depth: int) -> Operand:
        self.position += 1
        match token.kind:
            case "field":
                return Field((token.text[1:], *self.chain()))
            case "dot":
                return Field(())
            case "variable":
                return Variable(token.text, self.chain())
            case "word":
                return _word(token.text)
            case "string" | "char" | "number":
                return Literal(_literal(token))
            case _:
                return self.group(token, depth)

    def group(self, token: Token, depth: int) -> Group:
        if token.text != "(":
            raise TemplateError(f"template: unexpected {token.text!r}")
        pipe = self.pipe(depth + 1)
        if not self.take(")"):
            raise TemplateError("template: unclosed left paren")
        return Group(pipe, self.chain())

    def chain(self) -> tuple[str, ...]:
        names: list[str] = []
        while (token := self.peek()) is not None and token.kind == "field" and not token.spaced:
            names.append(token.text[1:])
            self.position += 1
        return tuple(names)


def _word(name: str) -> Operand:
    constants: dict[str, object] = {"true": True, "false": False, "nil": None}
    if name in constants:
        return Literal(constants[name])
    if name not in FUNCTION_NAMES:
        raise TemplateError(
            f'template: function "{name}" not defined',
            remedy=f"functions: {', '.join(sorted(FUNCTION_NAMES))}",
        )
    return Call(name)


def _literal(token: Token) -> object:
    text = token.text
    if text[0] == "`":
        return text[1:-1]
    if token.kind == "number":
        try:
            return int(text, 0)
        except ValueError:
            return float(text)
    value = _unquote(text[1:-1])
    return value if token.kind == "string" else ord(value[0])


def _unquote(text: str) -> str:
    out: list[str] = []
    letters = iter(text)
    for letter in letters:
        if letter != "\\":
            out.append(letter)
            continue
        code = next(letters, "")
        if code not in _ESCAPES:
            raise TemplateError(f"template: unknown escape \\{code} in a string")
        out.append(_ESCAPES[code])
    return "".join(out)
