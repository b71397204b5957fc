"""`--log-driver` and `--log-opt`: where a container's output goes, checked before it is made."""

import os

from rootless.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage.containers import ContainerView

DRIVERS = {
    "k8s-file": "k8s-file", "json-file": "k8s-file", "none": "none", "journald": "journald",
    "passthrough": "passthrough",
}  # fmt: skip
JOURNAL_SOCKET = "/run/systemd/journal/socket"
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MOST_FILES = 100


def read_options(driver: str, texts: "Iterable[str]", *, tty: bool) -> dict[str, str]:
    """Return `path`, `max_size` in bytes, `max_file` and `tag`, those that were given.

    Raises UsageError, HostError.
    """
    if driver not in DRIVERS:
        raise UsageError(
            f'unknown log driver "{driver}"', remedy="use " + ", ".join(sorted(DRIVERS))
        )
    result: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        key = {"max-size": "max_size", "max-file": "max_file"}.get(key, key)
        if key not in ("path", "max_size", "max_file", "tag") or not value:
            raise UsageError(
                f"--log-opt {text}: unknown option",
                remedy="use path=FILE, max-size=SIZE, max-file=NUMBER or tag=TEXT",
            )
        result[key] = _check(key, value, text)
    if DRIVERS[driver] != "k8s-file":
        for key in ("path", "max_size", "max_file"):
            if key in result:
                raise UsageError(
                    f"--log-opt {key.replace('_', '-')}: the log driver {driver} has no file",
                    remedy="use --log-driver=k8s-file",
                )
    if driver == "journald" and not os.path.exists(JOURNAL_SOCKET):
        raise HostError(
            f"--log-driver=journald: no journal listens at {JOURNAL_SOCKET}",
            remedy="use --log-driver=k8s-file",
        )
    if driver == "passthrough" and (tty or any(map(os.isatty, (0, 1, 2)))):
        # A program that has the caller's terminal could type into it (TIOCSTI).
        raise UsageError(
            "the '--log-driver passthrough' option cannot be used on a TTY",
            remedy="redirect the streams, or use --log-driver=k8s-file",
        )
    return result


def _check(key: str, value: str, text: str) -> str:
    if key == "max_size":
        return str(_size_bytes(value, text))
    if key == "max_file":
        if not value.isdecimal() or not 0 < int(value[:9]) <= _MOST_FILES:
            raise UsageError(f"--log-opt {text}: use a number from 1 to {_MOST_FILES}")
    elif key == "path":
        path = os.path.abspath(value)
        if not os.access(os.path.dirname(path), os.W_OK | os.X_OK) or os.path.isdir(path):
            raise UsageError(f"--log-opt {text}: a file cannot be written there")
        return path
    elif not value.isprintable():
        raise UsageError(f"--log-opt {text!r}: control characters are not possible")
    return value


def _size_bytes(value: str, text: str) -> int:
    number = value.lower().removesuffix("b") if value[-2:-1].isalpha() else value.lower()
    unit = number[-1:] if number[-1:] in _UNITS else "b"
    digits = number.removesuffix(unit)
    if value == "-1":
        return 0
    try:
        size = float(digits) * _UNITS[unit]
    except ValueError:
        size = -1
    if not 0 <= size < 2**60:
        raise UsageError(f"--log-opt {text}: not a size", remedy="use NUMBER[b|k|m|g], such as 10m")
    return int(size)


def log_path(view: "ContainerView") -> str:
    """Return the file of a container's log."""
    return view.record.log_options.get("path") or view.paths.log


def describe(view: "ContainerView") -> dict[str, object]:
    """Return LogConfig of inspect."""
    options = view.record.log_options
    has_file = view.record.log_driver == "k8s-file"
    size = int(options.get("max_size", "0"))
    return {
        "Type": view.record.log_driver,
        "Config": None,
        "Path": log_path(view) if has_file else "",
        "Tag": options.get("tag", ""),
        "Size": f"{size}B",
    }
