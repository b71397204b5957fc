"""KEY=VALUE words of options."""

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def key_values(texts: "Iterable[str]", option: str, *, bare: bool) -> dict[str, str]:
    """Return the pairs; with `bare` a KEY alone stands for an empty value. Raises UsageError."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or (not separator and not bare):
            raise UsageError(f"--{option} {text!r}: not KEY=VALUE")
        pairs[key] = value
    return pairs
