"""What filters of lists have in common, whoever shows the list."""

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Go's strconv.ParseBool.
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def is_true(value: str, what: str) -> bool:
    """Read the value of a filter that is a switch. Raises UsageError."""
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise UsageError(f"{what}: {value!r} is neither true nor false")


def matches_label(labels: "Mapping[str, str]", wanted: str) -> bool:
    """Say whether labels have KEY, or KEY=VALUE."""
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def passes(filters: "Sequence[tuple[str, str]]", test: "Callable[[str, str], bool]") -> bool:
    """Say whether an object passes: values of one key are alternatives, labels are not."""
    by_key: dict[str, list[bool]] = {}
    for key, value in filters:
        by_key.setdefault(key, []).append(test(key, value))
    return all(
        all(results) if key in ("label", "label!") else any(results)
        for key, results in by_key.items()
    )
