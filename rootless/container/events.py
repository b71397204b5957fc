"""`events`: read what `storage.event_log` has written, and follow it."""

import fcntl
import os
import time

from rootless.errors import UsageError
from rootless.linux import signals as signal
from storage import event_log
from storage import lightjson as json
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILTERS = ("container", "event", "image", "label", "pod", "type", "volume")
# What docker and podman-events(1) call some of them.
_ALIASES = {"died": "die", "remove": "rm", "loadfromarchive": "load"}
_LOOK_AGAIN_S = 1.0


class Event(NamedTuple):
    """One thing that has happened; `time_ns` since 1970. `attributes` are labels."""

    time_ns: int
    kind: str
    status: str
    ident: str
    name: str
    image: str
    attributes: dict[str, str]
    network: str = ""
    pod_id: str = ""
    exit_code: int = 0
    health_status: str = ""


def read_events(
    run_root: str,
    *,
    since_s: float | None = None,
    until_s: float | None = None,
    filters: "Iterable[str]" = (),
    follow: bool = False,
) -> "Iterator[Event]":
    """Return what happened between two moments, the oldest first; with `follow` also what will.

    Raises UsageError for a filter that there is not.
    """
    wanted = _parse_filters(filters)
    return _events(run_root, since_s, until_s, wanted, follow=follow)


def _events(
    run_root: str,
    since_s: float | None,
    until_s: float | None,
    wanted: dict[str, list[str]],
    *,
    follow: bool,
) -> "Iterator[Event]":
    for event in _lines(run_root, until_s, follow=follow):
        if since_s is not None and event.time_ns < since_s * 1e9:
            continue
        if until_s is not None and event.time_ns > until_s * 1e9:
            return
        if _passes(event, wanted):
            yield event


def _lines(run_root: str, until_s: float | None, *, follow: bool) -> "Iterator[Event]":
    path = event_log.path(run_root)
    yield from _file(f"{path}.old")
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    watch = _watch(os.path.dirname(path)) if follow else -1
    place, position = (0, 0), 0
    while True:
        try:
            with open(path, "rb") as file:
                now = os.fstat(file.fileno())
                if (now.st_dev, now.st_ino) != place:
                    place, position = (now.st_dev, now.st_ino), 0
                file.seek(position)
                data = file.read()
        except FileNotFoundError:
            data = b""
        whole, newline, _ = data.rpartition(b"\n")
        position += len(whole) + len(newline)
        yield from _parse(whole)
        if not follow or (until_s is not None and time.time() > until_s):
            break
        signal.sigtimedwait([signal.SIGIO], _LOOK_AGAIN_S)
    if watch >= 0:
        os.close(watch)


def _watch(directory: str) -> int:
    """Have SIGIO pending when something is written in a directory (fcntl(2), F_NOTIFY)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kinds = fcntl.DN_MODIFY | fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
        fcntl.fcntl(fd, fcntl.F_NOTIFY, kinds)
    except OSError:
        pass  # a network file system: it is looked at every second
    return fd


def _file(path: str) -> "Iterator[Event]":
    try:
        with open(path, "rb") as file:
            return _parse(file.read())
    except FileNotFoundError:
        return iter(())


def _parse(data: bytes) -> "Iterator[Event]":
    for line in data.split(b"\n"):
        try:
            raw = json.loads(line) if line else None
        except ValueError:
            continue  # the rest of a line that a full disk has cut
        if not isinstance(raw, dict) or not isinstance(raw.get("time_ns"), int):
            continue
        attributes = raw.get("Attributes")
        exit_code = raw.get("ContainerExitCode")
        yield Event(
            time_ns=raw["time_ns"],
            kind=str(raw.get("Type", "")),
            status=str(raw.get("Status", "")),
            ident=str(raw.get("ID", "")),
            name=str(raw.get("Name", "")),
            image=str(raw.get("Image", "")),
            attributes=(
                {str(key): str(value) for key, value in attributes.items()}
                if isinstance(attributes, dict)
                else {}
            ),
            network=str(raw.get("network", "")),
            pod_id=str(raw.get("PodID", "")),
            exit_code=exit_code if isinstance(exit_code, int) else 0,
            health_status=str(raw.get("health_status", "")),
        )


def _parse_filters(filters: "Iterable[str]") -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        key = "event" if key == "status" else key
        if key not in FILTERS or not separator:
            raise UsageError(f'invalid filter "{text}"', remedy="known: " + " ".join(FILTERS))
        wanted.setdefault(key, []).append(value)
    return wanted


def _passes(event: Event, wanted: dict[str, list[str]]) -> bool:
    for key, values in wanted.items():
        results = [_matches(event, key, value) for value in values]
        if not (all(results) if key == "label" else any(results)):
            return False
    return True


def _matches(event: Event, key: str, value: str) -> bool:
    if key == "type":
        return event.kind == value
    if key == "event":
        return value in (event.status, _ALIASES.get(event.status))
    if key == "label":
        name, separator, text = value.partition("=")
        return name in event.attributes and (not separator or event.attributes[name] == text)
    if key == "image":
        names = (event.image, event.image.rpartition(":")[0], event.image.rpartition("/")[2])
        named = event.kind == "image" and value in (event.name, event.ident)
        return value in names or value == names[2].rpartition(":")[0] or named
    if event.kind != key:
        return False
    return value == event.name or (bool(value) and event.ident.startswith(value))
