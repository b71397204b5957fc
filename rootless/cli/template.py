"""Go templates (text/template), as far as --format needs them.

Values are what JSON has; a dict is a Go struct, whose fields must exist, unless it came through a
field of `_MAPS`, which Go declares as a map.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rootless.cli import template_functions as functions
from rootless.cli import template_parser as parser
from rootless.cli.template_functions import (
    NIL_MAP,
    NO_VALUE,
    GoMap,
    TemplateError,
    go_text,
    is_true,
)

__all__ = ["Template", "TemplateError"]

_MAPS = frozenset(
    ("Labels", "Annotations", "Ports", "PortBindings", "Networks", "Options", "Sysctls", "Volumes",
     "ExposedPorts", "Tmpfs", "LogOpts", "Data")
)  # fmt: skip
_ALIASES = {"src": "source", "dst": "destination"}
_MAX_OUTPUT = 64 << 20


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """One parsed template. Raises TemplateError when the text is none."""

    __slots__ = ("_nodes",)

    def __init__(self, text: str) -> None:
        self._nodes = parser.parse(text)

    def render(self, value: object) -> str:
        """Return the text for a value. Raises TemplateError, naming the valid fields."""
        out: list[str] = []
        try:
            _Rendering(value, out).run(self._nodes, value)
        except (_Break, _Continue):
            raise TemplateError("template: break or continue outside of range") from None
        return "".join(out)

    def fields(self) -> set[str]:
        """Return the fields of the value itself that the template may ask for."""
        return set(_fields_of(self._nodes))


def _fields_of(nodes: Sequence[parser.Node]) -> Iterator[str]:
    """Yield what is looked up where the dot is the whole value: not inside range and with."""
    for node in nodes:
        match node:
            case parser.Action(pipe):
                yield from _fields_of_pipe(pipe)
            case parser.If(pipe, body, other):
                yield from _fields_of_pipe(pipe)
                yield from _fields_of((*body, *other))
            case parser.With(pipe, _, other) | parser.Range(pipe, _, other):
                yield from _fields_of_pipe(pipe)
                yield from _fields_of(other)
            case parser.Text() | parser.Jump():
                pass


def _fields_of_pipe(pipe: parser.Pipe) -> Iterator[str]:
    for command in pipe.commands:
        for operand in command:
            if isinstance(operand, parser.Field):
                yield from operand.chain[:1]
            elif isinstance(operand, parser.Group):
                yield from _fields_of_pipe(operand.pipe)


class _Rendering:
    """The state of one execution: variables and what was written."""

    __slots__ = ("out", "variables", "written")

    def __init__(self, root: object, out: list[str]) -> None:
        self.variables: list[tuple[str, object]] = [("$", root)]
        self.out = out
        self.written = 0

    def run(self, nodes: Sequence[parser.Node], dot: object) -> None:
        for node in nodes:
            match node:
                case parser.Text(text):
                    self.write(text)
                case parser.Action(pipe):
                    value = self.pipe(pipe, dot)
                    if not pipe.names:
                        self.write(go_text(value))
                case parser.If(pipe, body, other):
                    mark = len(self.variables)
                    chosen = body if is_true(self.pipe(pipe, dot)) else other
                    self.run(chosen, dot)
                    del self.variables[mark:]
                case parser.With(pipe, body, other):
                    mark = len(self.variables)
                    value = self.pipe(pipe, dot)
                    if is_true(value):
                        self.run(body, value)
                    else:
                        self.run(other, dot)
                    del self.variables[mark:]
                case parser.Range():
                    self.range(node, dot)
                case parser.Jump(name):
                    raise _Break if name == "break" else _Continue

    def write(self, text: str) -> None:
        self.written += len(text)
        if self.written > _MAX_OUTPUT:
            raise TemplateError("template: the output is larger than 64 MiB")
        self.out.append(text)

    def range(self, node: parser.Range, dot: object) -> None:
        mark = len(self.variables)
        names = node.pipe.names
        items = _items(self.pipe(node.pipe._replace(names=()), dot))
        if not items:
            self.run(node.other, dot)
        for key, item in items:
            if len(names) == 2:
                self.variables.append((names[0], key))
            if names:
                self.variables.append((names[-1], item))
            try:
                self.run(node.body, item)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                del self.variables[mark:]

    def pipe(self, pipe: parser.Pipe, dot: object) -> object:
        value: object = NO_VALUE
        for position, command in enumerate(pipe.commands):
            value = self.command(command, dot, () if position == 0 else (value,))
        for name in pipe.names:
            if pipe.declares:
                self.variables.append((name, value))
            else:
                self.assign(name, value)
        return value

    def assign(self, name: str, value: object) -> None:
        for position in range(len(self.variables) - 1, -1, -1):
            if self.variables[position][0] == name:
                self.variables[position] = (name, value)
                return
        raise TemplateError(f"template: undefined variable {name}")

    def command(
        self, operands: tuple[parser.Operand, ...], dot: object, last: tuple[object, ...]
    ) -> object:
        first = operands[0]
        if isinstance(first, parser.Call):
            if first.name in ("and", "or"):
                return self.choose(first.name, operands[1:], dot, last)
            arguments = (*(self.operand(one, dot) for one in operands[1:]), *last)
            return functions.call(first.name, arguments)
        value = self.operand(first, dot)
        if callable(value):
            method: Callable[..., object] = value
            return method(*(self.operand(one, dot) for one in operands[1:]), *last)
        if len(operands) > 1 or last:
            raise TemplateError(f"template: {first} is no function and takes no arguments")
        return value

    def choose(
        self, name: str, operands: tuple[parser.Operand, ...], dot: object,
        last: tuple[object, ...],
    ) -> object:  # fmt: skip
        """Evaluate `and` and `or`, which stop at the first value that decides."""
        value: object = NO_VALUE
        for operand in operands:
            value = self.operand(operand, dot)
            if is_true(value) == (name == "or"):
                return value
        return last[0] if last else value

    def operand(self, operand: parser.Operand, dot: object) -> object:
        match operand:
            case parser.Literal(value):
                return value
            case parser.Field(chain):
                return _walk(dot, chain)
            case parser.Variable(name, chain):
                return _walk(self.variable(name), chain)
            case parser.Group(pipe, chain):
                return _walk(self.pipe(pipe, dot), chain)
            case parser.Call(name):
                return functions.call(name, ())

    def variable(self, name: str) -> object:
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise TemplateError(f"template: undefined variable {name}")


def _items(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(min(value, 1 << 20))]
    if value is None or value is NO_VALUE:
        return []
    raise TemplateError(f"template: range can't iterate over {go_text(value)}")


def _walk(value: object, chain: tuple[str, ...]) -> object:
    for name in chain:
        value = _field(value, name)
    return value


def _field(value: object, name: str) -> object:
    if isinstance(value, Mapping):
        if name in value:
            found = value[name]
        elif isinstance(value, GoMap) or not value:
            return NO_VALUE
        else:
            key = _similar(value, name)
            if key is None:
                raise no_field(name, value)
            name, found = key, value[key]
        if name in _MAPS and found is None:
            return NIL_MAP
        if name in _MAPS and isinstance(found, Mapping) and not isinstance(found, GoMap):
            return GoMap(found)
        return found
    if value is None or value is NO_VALUE:
        return NO_VALUE
    raise TemplateError(f'template: no field "{name}" in {go_text(value)!r}, which has no fields')


def no_field(name: str, valid: Iterable[str]) -> TemplateError:
    """Return the error for a field that is none of the valid ones."""
    return TemplateError(
        f'template: no field "{name}"',
        remedy=f"valid fields: {', '.join(sorted(valid))}",
    )


def check_fields(template: Template, valid: Sequence[str]) -> None:
    """Raise TemplateError when a template asks for a field that no value will have."""
    for name in sorted(template.fields()):
        if name not in valid and _similar(valid, name) is None:
            raise no_field(name, valid)


def _similar(value: Iterable[str], name: str) -> str | None:
    """Find a field in another case (`.ID` for Id), as in Go (`.DNSEnabled` for dns_enabled)."""
    wanted = _ALIASES.get(name.lower(), name.lower())  # or under docker's short name
    return next((key for key in value if wanted in _spellings(key)), None)


def _spellings(key: str) -> tuple[str, str]:
    lower = key.lower()
    return lower, lower.replace("_", "")
