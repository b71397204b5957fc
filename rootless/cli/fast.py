"""Parse an argument vector with the table of commands, as pflag does for podman, without click.

What this module does not understand, and every --help, it leaves to `rootless.cli.clickapp`, which
explains it: `parse` then returns None.
"""

from rootless.cli import table
from rootless.cli.invocation import Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.cli.table import Argument, Option

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_SUFFIXES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


class _NotUnderstood(Exception):
    pass


def parse(argv: "Sequence[str]") -> Invocation | None:
    """Return what `argv` (without the program's name) asks for, None when click must explain."""
    try:
        settings, rest = _split(table.GLOBALS, argv, interspersed=False)
        if settings.get("version"):
            return Invocation(_VERSION, {}, settings)
        if not rest:
            return None
        name = rest.pop(0)
        if name in table.GROUPS:
            if between := table.group_options(name):
                own, rest = _split(between, rest, interspersed=False)
                settings |= own
                if settings.pop(f"{name}_version", False):
                    rest = ["version"]
            if not rest:
                return None
            name = f"{name} {rest.pop(0)}"
        command = table.find_command(name)
        if command is None:
            return None
        options = (*table.PERSISTENT, *command.options)
        values, words = _split(options, rest, interspersed=command.interspersed)
        for option in table.PERSISTENT:
            if option.field in values:
                settings[option.field] = values.pop(option.field)
        _assign(command.arguments, words, values)
    except (_NotUnderstood, ValueError):
        return None
    return Invocation(command, values, settings)


_VERSION = table.Command("version", "", "system:short_version")


def _split(
    options: "Sequence[Option]", argv: "Sequence[str]", *, interspersed: bool
) -> tuple[dict[str, object], list[str]]:
    """Return the values of the options that were given, and the other words."""
    names: dict[str, Option] = {}
    for option in options:
        names[f"--{option.name}"] = option
        if option.short:
            names[option.short] = option
        for alias in option.aliases:
            names[f"--{alias}"] = option
    values: dict[str, object] = {}
    words: list[str] = []
    rest = list(argv)
    rest.reverse()
    while rest:
        word = rest.pop()
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            if not interspersed:
                break
        elif word == "--":
            break
        elif word.startswith("--"):
            name, separator, value = word.partition("=")
            chosen = names.get(name)
            if chosen is None:
                raise _NotUnderstood
            _store(values, chosen, value if separator else None, rest)
        else:
            _read_shorts(values, names, word[1:], rest)
    rest.reverse()
    return values, words + rest


def _read_shorts(
    values: dict[str, object], names: "dict[str, Option]", letters: str, rest: list[str]
) -> None:
    """Read the letters after one dash: `-it`, `-vA:B`, `-v=A:B`, `-t=false`."""
    while letters:
        option = names.get(letters[0])
        if option is None:
            raise _NotUnderstood
        if len(letters) > 2 and letters[1] == "=":
            _store(values, option, letters[2:], rest)
            return
        if option.kind != table.BOOL:
            _store(values, option, letters[1:] or None, rest)
            return
        values[option.field] = True
        letters = letters[1:]


def _store(values: dict[str, object], option: "Option", value: str | None, rest: list[str]) -> None:
    if value is None:
        if option.kind == table.BOOL:
            values[option.field] = True
            return
        if not rest:
            raise _NotUnderstood
        value = rest.pop()
    if option.kind in (table.LIST, table.COMMAS):
        before = values.get(option.field, ())
        assert isinstance(before, tuple)
        values[option.field] = before + split_value(option, value)
    else:
        values[option.field] = convert(option, value)


def split_value(option: "Option", value: str) -> tuple[str, ...]:
    """Return what one value of a repeatable option adds. Raises ValueError."""
    if option.kind == table.LIST:
        parts: tuple[str, ...] = (value,)
    else:
        parts = tuple(value.split(",")) if value else ()
    return tuple([_chosen(option, part) for part in parts]) if option.choices else parts


def convert(option: "Option", value: str) -> object:
    """Return the value of an option that counts once. Raises ValueError with a reason."""
    if option.kind == table.BOOL:
        return parse_bool(value)
    if option.kind == table.INTEGER:
        return parse_integer(value)
    if option.kind == table.SIZE:
        return parse_size(value)
    return _chosen(option, value) if option.choices else value


def _chosen(option: "Option", value: str) -> str:
    # Programs write STDOUT and Always, too.
    for choice in (value, value.lower()):
        if choice in option.choices:
            return choice
    raise ValueError(f"{value!r} is not one of {', '.join(option.choices)}")


def parse_bool(value: str) -> bool:
    """Read a switch's value as Go's strconv.ParseBool does. Raises ValueError."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def parse_integer(value: str) -> int:
    """Read a decimal number. Raises ValueError."""
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def parse_size(value: str) -> int:
    """Read NUMBER[b|k|m|g|t|p] as bytes, with powers of 1024. Raises ValueError."""
    text = value.strip().lower()
    digits = text.rstrip("bikmgtp")
    suffix = text[len(digits) :]
    unit = suffix.removesuffix("ib").removesuffix("b") if len(suffix) > 1 else suffix
    digits = digits.rstrip(" ")
    whole, _, fraction = digits.partition(".")
    plain = f"{whole}{fraction}"
    if not (plain.isascii() and plain.isdigit()) or len(plain) > 18 or unit not in _SUFFIXES:
        raise ValueError(f"{value!r} is not a size: NUMBER[b|k|m|g]")
    if not fraction:
        return int(whole) << _SUFFIXES[unit]
    return int(float(digits) * (1 << _SUFFIXES[unit]))


def _assign(arguments: "Sequence[Argument]", words: list[str], values: dict[str, object]) -> None:
    """Give the words to the arguments in order; only the last one takes many."""
    for argument in arguments:
        if argument.most == 1:
            if not words:
                if argument.least:
                    raise _NotUnderstood
                continue
            values[argument.name] = words.pop(0)
            continue
        if len(words) < argument.least:
            raise _NotUnderstood
        taken = len(words) if argument.most == table.UNLIMITED else argument.most
        values[argument.name] = tuple(words[:taken])
        del words[:taken]
    if words:
        raise _NotUnderstood
