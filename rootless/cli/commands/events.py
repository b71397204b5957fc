"""events: what has happened to containers, pods, images, volumes and networks."""

import sys

from rootless.cli.output import Row
from rootless.container.events import Event, read_events
from rootless.errors import UsageError
from rootless.human import go_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation

FIELDS = (
    "Attributes", "ContainerExitCode", "HealthStatus", "ID", "Image", "Name", "Network", "PodID",
    "Status", "Time", "TimeNano", "Type",
)  # fmt: skip
_SHORT_ID = 12


def events(invocation: "Invocation") -> int:
    """Print events as they come, or those of a time that is over."""
    until_s = _moment(invocation, "until")
    found = read_events(
        invocation.host().layout.run_root,
        since_s=_start(invocation),
        until_s=until_s,
        filters=invocation.texts("filter"),
        follow=invocation.flag("stream") and not invocation.flag("no_stream"),
    )
    line = _formatter(invocation.text("format"), full=invocation.flag("no_trunc"))
    for event in found:
        sys.stdout.write(line(event) + "\n")
        sys.stdout.flush()
    return 0


def _start(invocation: "Invocation") -> float | None:
    """Return where to begin: a stream without --since shows only what is new."""
    import time

    since_s = _moment(invocation, "since")
    if since_s is None and invocation.flag("stream") and not invocation.flag("no_stream"):
        return None if invocation.text("until") else time.time()
    return since_s


def _moment(invocation: "Invocation", name: str) -> float | None:
    import time

    from rootless.container.moments import parse_moment

    text = invocation.text(name)
    if not text:
        return None
    moment_s = parse_moment(text, time.time())
    if moment_s is None:
        raise UsageError(f"--{name}: {text!r} is no time", remedy="say 2026-01-31T12:00:00 or 10m")
    return moment_s


def _formatter(text: str, *, full: bool) -> "Callable[[Event], str]":
    import json

    if text in ("json", "jsonl", "{{json .}}"):
        return lambda event: json.dumps(_document(event), separators=(",", ":"))
    if not text:
        return lambda event: _plain(event, full=full)
    from rootless.cli.template import Template, check_fields

    template = Template(text)
    check_fields(template, FIELDS)
    return lambda event: template.render(_row(event)).rstrip("\n")


def _time(event: Event) -> str:
    from rootless.container.logfile import timestamp

    return timestamp(event.time_ns)


def _plain(event: Event, *, full: bool) -> str:
    """Return podman's line for one event."""
    ident = event.ident if full else event.ident[:_SHORT_ID]
    tail = event.name
    if event.kind == "network":
        tail = f"(container={event.ident}, name={event.network})"
    elif event.kind in ("container", "pod"):
        words = [f"image={event.image}", f"name={event.name}"]
        if event.pod_id:
            words.append(f"pod_id={event.pod_id}")
        if event.health_status:
            words.append(f"health_status={event.health_status}")
        words += [f"{name}={value}" for name, value in sorted(event.attributes.items())]
        tail = f"({', '.join(words)})"
    first = [go_time(_time(event)), event.kind, event.status]
    return " ".join([*first, *([ident] if ident or event.kind == "image" else []), tail])


def _document(event: Event) -> dict[str, object]:
    """Return podman's object for one event: what is empty is not in it."""
    document: dict[str, object] = {
        "ContainerExitCode": event.exit_code,
        "ID": event.ident,
        "Image": event.image,
        "Name": event.name,
        "network": event.network,
        "Status": event.status,
        "Time": _time(event).replace("+00:00", "Z"),
        "Type": event.kind,
        "health_status": event.health_status,
        "PodID": event.pod_id,
    }
    document = {key: value for key, value in document.items() if value}
    return {**document, "Attributes": event.attributes or None}


def _row(event: Event) -> Row:
    fields: dict[str, object] = {
        "Attributes": event.attributes,
        "ContainerExitCode": event.exit_code,
        "HealthStatus": event.health_status,
        "ID": event.ident,
        "Image": event.image,
        "Name": event.name,
        "Network": event.network,
        "PodID": event.pod_id,
        "Status": event.status,
        "Time": go_time(_time(event)),
        "TimeNano": event.time_ns,
        "Type": event.kind,
    }
    return Row(fields, _document(event))
