"""Typed access to the values of a model, which the readers have checked."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Part:
    """A mapping of a model."""

    __slots__ = ("raw",)

    def __init__(self, raw: object = None) -> None:
        self.raw: dict[str, object] = raw if isinstance(raw, dict) else {}

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def __iter__(self) -> "Iterator[str]":
        return iter(self.raw)

    def part(self, key: str) -> "Part":
        return Part(self.raw.get(key))

    def parts(self, key: str) -> "list[Part]":
        """Return the mappings of a list."""
        value = self.raw.get(key)
        return [Part(one) for one in value] if isinstance(value, list) else []

    def each(self) -> "Iterator[tuple[str, Part]]":
        """Go through a mapping of mappings."""
        return ((key, Part(value)) for key, value in self.raw.items())

    def text(self, key: str, default: str = "") -> str:
        value = self.raw.get(key)
        return default if value is None else str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key)
        return tuple(str(one) for one in value) if isinstance(value, list) else ()

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.raw.get(key)
        return default if value is None else bool(value)

    def number(self, key: str) -> int | None:
        value = self.raw.get(key)
        return value if isinstance(value, int) else None

    def pairs(self, key: str) -> dict[str, str | None]:
        """Return a mapping of texts; None for a name without a value."""
        return {
            name: None if value is None else str(value)
            for name, value in self.part(key).raw.items()
        }

    def words(self, key: str) -> dict[str, str]:
        """Return a mapping of texts, where every name has one."""
        return {name: value or "" for name, value in self.pairs(key).items()}
