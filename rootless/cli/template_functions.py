"""The functions of templates, Go's own and docker's, and how Go prints values."""

import json
from collections.abc import Callable, Mapping

from rootless.errors import UsageError


class TemplateError(UsageError):
    """A template that is wrong, or that asks for a field that is not there."""


class GoMap(dict[str, object]):
    """A Go map: a missing key is no error."""


class _NilMap(GoMap):
    """A Go map that was never made: prints as an empty one, is null in JSON."""

    document = None


class NoValue:
    """What a missing key of a map is."""


NO_VALUE = NoValue()
NIL_MAP = _NilMap()


def is_true(value: object) -> bool:
    """Say whether Go's templates take a value for true: not zero, not empty."""
    return value is not NO_VALUE and bool(value)


def go_text(value: object) -> str:
    """Return what {{ }} prints for a value."""
    if value is None or value is NO_VALUE:
        return "<no value>"
    return _go_inner(value)


def _go_inner(value: object) -> str:
    match value:
        case None | NoValue():
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case float():
            return f"{value:g}" if abs(value) < 1e21 else f"{value:e}"
        case GoMap():
            return f"map[{' '.join(f'{key}:{_go_inner(value[key])}' for key in sorted(value))}]"
        case Mapping():
            fields = (item for item in value.values() if not callable(item))
            return f"{{{' '.join(_go_inner(item) for item in fields)}}}"
        case list() | tuple():
            return f"[{' '.join(_go_inner(item) for item in value)}]"
        case _:
            return str(value)


def call(name: str, arguments: tuple[object, ...]) -> object:
    """Call a function by name. Raises TemplateError."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise TemplateError(
            f'template: function "{name}" not defined',
            remedy=f"functions: {', '.join(sorted(FUNCTION_NAMES))}",
        )
    try:
        return function(*arguments)
    except TypeError as error:
        raise TemplateError(f"template: {name}: wrong number or kind of arguments") from error


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, NO_VALUE)
        elif isinstance(value, list | tuple | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise TemplateError(f"template: index out of range: {key}")
            value = value[key] if not isinstance(value, str) else ord(value[key])
        elif value is None or value is NO_VALUE:
            return NO_VALUE
        else:
            raise TemplateError(f"template: can't index {go_text(value)} by {go_text(key)}")
    return value


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, list | tuple | str):
        raise TemplateError(f"template: can't slice {go_text(value)}")
    numbers = [bound for bound in bounds if isinstance(bound, int)]
    start = numbers[0] if numbers else 0
    end = numbers[1] if len(numbers) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise TemplateError(f"template: slice bounds out of range: {start}:{end}")
    return value[start:end]


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | list | tuple):
        return len(value)
    if value is None or value is NO_VALUE:
        return 0
    raise TemplateError(f"template: len of {go_text(value)}")


def _same(left: object, right: object) -> bool:
    if isinstance(left, bool) != isinstance(right, bool) or (
        isinstance(left, str) != isinstance(right, str)
        and None not in (left, right)
        and NO_VALUE not in (left, right)
    ):
        raise TemplateError(
            f"template: can't compare {go_text(left)} with {go_text(right)}: different kinds"
        )
    return left == right


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise TemplateError("template: eq: missing argument for comparison")
    return any(_same(first, other) for other in others)


def _less(left: object, right: object) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left < right
    raise TemplateError(f"template: can't compare {go_text(left)} with {go_text(right)}")


def _print(*values: object) -> str:
    """Print as Go's Sprint: a space between two values when neither is a string."""
    text = ""
    for position, value in enumerate(values):
        both = position and not isinstance(value, str) and not isinstance(values[position - 1], str)
        text += (" " if both else "") + _go_inner(value)
    return text


def _println(*values: object) -> str:
    return " ".join(_go_inner(value) for value in values) + "\n"


def _printf(pattern: str, *values: object) -> str:
    """Format with Go's verbs: %v %s %q %d %t %x %f %g %e %c, flags, width and precision."""
    out: list[str] = []
    rest = list(values)
    position = 0
    while position < len(pattern):
        start = pattern.find("%", position)
        if start < 0:
            break
        out.append(pattern[position:start])
        end = start + 1
        while end < len(pattern) and pattern[end] in "+-# 0123456789.":
            end += 1
        verb = pattern[end : end + 1]
        position = end + 1
        if verb == "%":
            out.append("%")
        elif not rest:
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_format(pattern[start + 1 : end], verb, rest.pop(0)))
    out.append(pattern[position:])
    if rest:
        out.append(f"%!(EXTRA {', '.join(f'{_kind(one)}={_go_inner(one)}' for one in rest)})")
    return "".join(out)


def _format(flags: str, verb: str, value: object) -> str:
    if verb in ("v", "s"):
        return f"%{flags.replace('0', '', 1) if flags[:1] == '0' else flags}s" % _go_inner(value)
    if verb == "q" and isinstance(value, str):
        return f"%{flags}s" % json.dumps(value, ensure_ascii=False)
    if verb == "t" and isinstance(value, bool):
        return _go_inner(value)
    if verb in ("x", "X") and isinstance(value, str):
        return value.encode().hex()
    whole = isinstance(value, int) and not isinstance(value, bool)
    if verb in ("d", "x", "X", "o", "c") and whole:
        return f"%{flags}{verb}" % value
    if verb in ("f", "g", "e") and isinstance(value, int | float) and not isinstance(value, bool):
        return f"%{flags}{verb}" % value
    return f"%!{verb}({_kind(value)}={_go_inner(value)})"


def _kind(value: object) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string"}
    return names.get(type(value), "object")


def _json(value: object) -> str:
    if value is NO_VALUE:
        return "null"
    # A row of a listing shows short texts to templates and the whole object as JSON.
    value = getattr(value, "document", value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def _words(value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [_go_inner(one) for one in value]
    if value is None or value is NO_VALUE:
        return []
    raise TemplateError(f"template: join wants a list, not {go_text(value)}")


def _title(text: str) -> str:
    return "".join(
        letter.upper() if position == 0 or not text[position - 1].isalnum() else letter
        for position, letter in enumerate(text)
    )


def _pad(text: str, before: int, after: int) -> str:
    return f"{' ' * min(before, 4096)}{text}{' ' * min(after, 4096)}" if text else text


def _truncate(text: str, length: int) -> str:
    return text[:length] if length >= 0 else text


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "not": lambda value: not is_true(value),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "eq": _equal,
    "ne": lambda left, right: not _same(left, right),
    "lt": _less,
    "le": lambda left, right: not _less(right, left),
    "gt": lambda left, right: _less(right, left),
    "ge": lambda left, right: not _less(left, right),
    "print": _print,
    "printf": _printf,
    "println": _println,
    "json": _json,
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": lambda value, separator: separator.join(_words(value)),
    "title": lambda text: _title(go_text(text)),
    "lower": lambda text: go_text(text).lower(),
    "upper": lambda text: go_text(text).upper(),
    "pad": _pad,
    "truncate": _truncate,
}
FUNCTION_NAMES = frozenset((*_FUNCTIONS, "and", "or"))
