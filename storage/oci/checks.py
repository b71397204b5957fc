"""Reading JSON that came from outside: every wrong type is an error that names its place."""

from storage import lightjson as json
from storage.errors import InvalidDocument

DOCUMENT_LIMIT_BYTES = 4 << 20
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def parse_json(data: bytes, where: str) -> object:
    """Parse a document from outside. Raises InvalidDocument."""
    if len(data) > DOCUMENT_LIMIT_BYTES:
        raise InvalidDocument(f"{where}: larger than {DOCUMENT_LIMIT_BYTES >> 20} MiB")
    try:
        parsed: object = json.loads(data)
    except RecursionError as error:
        raise InvalidDocument(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise InvalidDocument(f"{where}: not JSON ({error})") from error
    if b"\\u" in data and _has_lone_surrogate(parsed):
        raise InvalidDocument(f"{where}: half of a surrogate pair is no character")
    return parsed


def _has_lone_surrogate(value: object) -> bool:
    """Look for text that cannot be written as UTF-8 (RFC 8259, section 8.2)."""
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(map(_has_lone_surrogate, (*value, *value.values())))
    return isinstance(value, list) and any(map(_has_lone_surrogate, value))


def wrong(where: str, expected: str, found: object) -> InvalidDocument:
    """Make the error for a value of a wrong type."""
    return InvalidDocument(
        f"{where}: {expected} is expected, found {_KINDS.get(type(found), type(found).__name__)}"
    )


def as_object(raw: object, where: str) -> dict[str, object]:
    """Return a JSON object. Raises InvalidDocument."""
    if not isinstance(raw, dict):
        raise wrong(where, "an object", raw)
    return raw


def get_object(raw: dict[str, object], key: str, where: str) -> dict[str, object]:
    """Return a member that is an object; absent and null are empty."""
    value = raw.get(key)
    return {} if value is None else as_object(value, f"{where}.{key}")


def get_list(raw: dict[str, object], key: str, where: str) -> list[object]:
    """Return a member that is an array; absent and null are empty."""
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(f"{where}.{key}", "an array", value)
    return value


def get_text(raw: dict[str, object], key: str, where: str, default: str = "") -> str:
    """Return a member that is a string; absent and null are `default`."""
    value = raw.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise wrong(f"{where}.{key}", "a string", value)
    if "\0" in value:
        raise InvalidDocument(f"{where}.{key}: a NUL character is not allowed")
    return value


def get_size(raw: dict[str, object], key: str, where: str) -> int:
    """Return a member that is a number of bytes, at least 0."""
    value = raw.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{where}.{key}", "a number", value)
    if not 0 <= value < 1 << 63:
        raise InvalidDocument(f"{where}.{key}: {value} is not a size")
    return value


def get_strings(raw: dict[str, object], key: str, where: str) -> tuple[str, ...] | None:
    """Return a member that is an array of strings; absent and null are None."""
    value = raw.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise wrong(f"{where}.{key}", "an array", value)
    for position, item in enumerate(value):
        if not isinstance(item, str):
            raise wrong(f"{where}.{key}[{position}]", "a string", item)
        if "\0" in item:
            raise InvalidDocument(f"{where}.{key}[{position}]: a NUL character is not allowed")
    return tuple(value)


def get_string_map(raw: dict[str, object], key: str, where: str) -> dict[str, str]:
    """Return a member that maps strings to strings; null values are empty strings."""
    found: dict[str, str] = {}
    for name, value in get_object(raw, key, where).items():
        if value is not None and not isinstance(value, str):
            raise wrong(f"{where}.{key}[{name!r}]", "a string", value)
        found[name] = value or ""
    return found
