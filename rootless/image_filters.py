"""Names of images, and which images a filter or a pattern means."""

import time

from rootless.container.moments import parse_moment
from rootless.errors import UsageError
from rootless.filters import is_true, matches_label, passes
from rootless.human import parse_rfc3339
from storage.images import find_image, image_users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storage.images import ImageRecord
    from storage.layout import Layout

    Test = Callable[[Layout, ImageRecord, str], bool]

NONE = "<none>"


def split_name(name: str) -> tuple[str, str]:
    """Return repository and tag of a full name; a name with a digest has no tag."""
    if "@" in name:
        return name.partition("@")[0], NONE
    repository, _, tag = name.rpartition(":")
    return repository, tag


def name_matches(name: str, pattern: str) -> bool:
    """Say whether a full name is meant by a pattern: in whole, by its end, without its tag."""
    repository, _ = split_name(name)
    options = (name, repository)
    if any(option == pattern or option.endswith(f"/{pattern}") for option in options):
        return True
    if not any(letter in pattern for letter in "*?["):
        return False
    from fnmatch import fnmatchcase

    return any(
        fnmatchcase(option, pattern) or fnmatchcase(option, f"*/{pattern}") for option in options
    )


def repo_digests(record: "ImageRecord") -> list[str]:
    """Return NAME@DIGEST for each repository that the image is known by."""
    repositories = sorted({split_name(name)[0] for name in record.names})
    return [f"{repository}@{record.manifest_digest}" for repository in repositories]


def passes_filters(
    layout: "Layout", record: "ImageRecord", filters: "Sequence[tuple[str, str]]"
) -> bool:
    """Say whether an image passes checked filters. Raises UsageError, ImageNotFound."""

    def test(key: str, value: str) -> bool:
        name = key.removesuffix("!")
        return _TESTS[name](layout, record, value) == (name == key)

    return passes(filters, test)


def _created_s(record: "ImageRecord") -> float:
    return parse_rfc3339(record.created) or 0.0


def _is_true(value: str) -> bool:
    return is_true(value, "image filter")


def _is_older_than(layout: "Layout", record: "ImageRecord", value: str) -> bool:
    moment_s = parse_moment(value, time.time())
    if moment_s is None:
        raise UsageError(f"image filter until: {value!r} is no time", remedy="until=24h, or a time")
    return _created_s(record) < moment_s


def _is_before(layout: "Layout", record: "ImageRecord", value: str) -> bool:
    return _created_s(record) < _created_s(find_image(layout, value))


def _is_since(layout: "Layout", record: "ImageRecord", value: str) -> bool:
    return _created_s(record) > _created_s(find_image(layout, value))


def _is_never(layout: "Layout", record: "ImageRecord", value: str) -> bool:
    # No image is a step of a build.
    return not _is_true(value)


_TESTS: dict[str, "Test"] = {
    "after": _is_since,
    "before": _is_before,
    "containers": lambda layout, record, value: (
        _is_true(value) == bool(image_users(layout, record))
    ),
    "dangling": lambda _, record, value: _is_true(value) == (not record.names),
    "digest": lambda _, record, value: record.manifest_digest.startswith(value),
    "id": lambda _, record, value: record.image_id.startswith(value.removeprefix("sha256:")),
    "intermediate": _is_never,
    "label": lambda _, record, value: matches_label(record.labels, value),
    "manifest": lambda _, record, value: _is_true(value) == record.is_index,
    "readonly": lambda _, record, value: _is_true(value) == bool(record.store),
    "reference": lambda _, record, value: any(name_matches(name, value) for name in record.names),
    "since": _is_since,
    "until": _is_older_than,
}
FILTERS = tuple(sorted((*_TESTS, *(f"{key}!" for key in _TESTS))))
