"""Values of a JSON object from a client, checked; an error names the place."""

from rootless.service.http import HttpError


def _is_text(value: object) -> bool:
    """Whether it is a text that the kernel takes: without NUL, and UTF-8 can write it."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Fields:
    """An object at `where`; what is missing or null is the empty value of its type."""

    __slots__ = ("raw", "where")

    def __init__(self, raw: object, where: str = "") -> None:
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise HttpError(400, f"{where or 'body'}: an object was expected")
        self.raw: dict[str, object] = raw
        self.where = where

    def _wrong(self, key: str, what: str) -> HttpError:
        place = f"{self.where}.{key}" if self.where else key
        return HttpError(400, f"{place}: {what} was expected, not {self.raw.get(key)!r:.80}")

    def has(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def text(self, key: str) -> str:
        value = self.raw.get(key)
        if value is None:
            return ""
        if not _is_text(value):
            raise self._wrong(key, "a text")
        assert isinstance(value, str)
        return value

    def number(self, key: str) -> int:
        value = self.raw.get(key)
        if value is None:
            return 0
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
            raise self._wrong(key, "a number")
        return value

    def flag(self, key: str) -> bool:
        value = self.raw.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A single text counts as a list of one, as with docker."""
        value = self.raw.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(_is_text(one) for one in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def pairs(self, key: str) -> dict[str, str]:
        value = self.raw.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(map(_is_text, (*value, *value.values()))):
            raise self._wrong(key, "an object of texts")
        return {str(name): str(text) for name, text in value.items()}

    def part(self, key: str) -> "Fields":
        return Fields(self.raw.get(key), f"{self.where}.{key}" if self.where else key)

    def parts(self, key: str) -> "list[Fields]":
        value = self.raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "a list of objects")
        place = f"{self.where}.{key}" if self.where else key
        return [Fields(one, f"{place}[{number}]") for number, one in enumerate(value)]

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the keys of an object: docker's way to write a set."""
        return tuple(self.part(key).raw)
