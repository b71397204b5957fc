"""ps: the list of containers."""

import time

from rootless.cli.output import Row, Table, print_formatted, write
from rootless.container.query import filter_views, list_views, ports_text
from rootless.errors import UsageError
from rootless.human import ago_text, duration_text, go_time, parse_rfc3339, unix_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.container.sizes import ContainerSize
    from rootless.host.paths import Host
    from storage.containers import ContainerView

_TABLE = Table(
    ("CONTAINER ID", False),
    ("IMAGE", True),
    ("COMMAND", True),
    ("CREATED", False),
    ("STATUS", False),
    ("PORTS", True),
    ("NAMES", False),
)
_HEADINGS = {
    "ID": "CONTAINER ID",
    "CreatedHuman": "CREATED",
    "RunningFor": "CREATED",
    "Labels": "LABELS",
    "Pod": "POD ID",
    "PodName": "PODNAME",
    "IsInfra": "IS INFRA",
}
# What takes a look at more than the records: empty without --size or --ns.
_ON_REQUEST = ("Size", "CGROUPNS", "IPC", "MNT", "NET", "PIDNS", "USERNS", "UTS")
FIELDS = (
    "AutoRemove", "Command", "Created", "CreatedAt", "CreatedHuman", "ExitCode", "Exited",
    "ExitedAt", "ID", "Image", "ImageID", "Label", "Labels", "Mounts", "Names", "Networks", "Pid",
    "IsInfra", "Pod", "PodName", "Ports", "Restarts", "RunningFor", "StartedAt", "State",
    "Status",    "Namespaces", *_ON_REQUEST,
)  # fmt: skip
_SHORT_ID = 12
_COMMAND_LETTERS = 20


def ps(invocation: "Invocation") -> int:
    """List containers."""
    if invocation.flag("size") and invocation.flag("ns"):
        raise UsageError("size and namespace options conflict")
    host = invocation.host()
    interval_s = invocation.number("watch") or 0
    if interval_s < 0:
        raise UsageError(f"--watch {interval_s}: a number of seconds from 1 on was expected")
    if interval_s:
        from rootless.cli.commands.ps_columns import watch

        return watch(lambda: _show(invocation, host), interval_s)
    _show(invocation, host)
    return 0


def _chosen(invocation: "Invocation", host: "Host") -> "list[ContainerView]":
    last = invocation.number("last") or -1
    if invocation.flag("latest"):
        last = 1
    filters = invocation.texts("filter")
    # A filter on the state decides itself which containers are looked at.
    by_state = any(one.partition("=")[0].strip() in ("status", "exited") for one in filters)
    views = list_views(host, all_states=invocation.flag("all") or last > 0 or by_state)
    if filters:
        views = filter_views(views, filters)
    if last > 0:
        views = views[:last]
    return _sorted(views, invocation.text("sort"))


def _show(invocation: "Invocation", host: "Host") -> None:
    views = _chosen(invocation, host)
    full = invocation.flag("no_trunc")
    if invocation.flag("quiet"):
        write("".join(f"{_id(view, full=full)}\n" for view in views))
        return
    now_s = time.time()
    sizes: dict[str, ContainerSize] = {}
    if invocation.flag("size"):
        from rootless.container.sizes import container_sizes

        sizes = container_sizes(host, views)
    text = invocation.text("format")
    if not text or text == "table":
        _show_table(invocation, host, views, sizes, now_s)
        return
    rows = [_row(host, view, now_s, full=full) for view in views]
    if sizes or invocation.flag("ns"):
        from rootless.cli.commands.ps_columns import extend

        for view, row in zip(views, rows, strict=True):
            extend(row, view, sizes.get(view.record.id), ns=invocation.flag("ns"))
    print_formatted(
        rows,
        text,
        headings=_HEADINGS,
        valid=FIELDS,
        noheading=invocation.flag("noheading"),
    )


def _show_table(
    invocation: "Invocation",
    host: "Host",
    views: "list[ContainerView]",
    sizes: "dict[str, ContainerSize]",
    now_s: float,
) -> None:
    full = invocation.flag("no_trunc")
    columns = list(_TABLE.columns)
    lines = [_cells(host, view, now_s, full=full) for view in views]
    if invocation.flag("ns"):
        from rootless.cli.commands.ps_columns import NAMESPACE_COLUMNS, namespaces

        columns = [(name, False) for name in NAMESPACE_COLUMNS]
        lines = [
            (_id(view, full=full), view.record.name, str(view.pid), *namespaces(view).values())
            for view in views
        ]
    if invocation.flag("pod"):
        columns += [("POD ID", False), ("PODNAME", False)]
        lines = [
            (*line, _pod_id(view, full=full), _pod_name(host, view))
            for line, view in zip(lines, views, strict=True)
        ]
    if invocation.flag("size"):
        from rootless.cli.commands.ps_columns import size_cell

        columns.append(("SIZE", False))
        lines = [
            (*line, size_cell(sizes[view.record.id]))
            for line, view in zip(lines, views, strict=True)
        ]
    Table(*columns).print(lines, noheading=invocation.flag("noheading"), full=full)


def _sorted(views: "list[ContainerView]", order: str) -> "list[ContainerView]":
    keys: dict[str, Callable[[ContainerView], object]] = {
        "command": lambda view: view.record.command,
        "created": lambda view: view.record.created_at,
        "runningfor": lambda view: view.record.created_at,
        "id": lambda view: view.record.id,
        "image": lambda view: view.record.image_name,
        "names": lambda view: view.record.name,
        "status": lambda view: view.status,
    }
    key = keys[order]
    return sorted(views, key=key)  # type: ignore[arg-type]  # one key, so one kind of value


def _id(view: "ContainerView", *, full: bool) -> str:
    return view.record.id if full else view.record.id[:_SHORT_ID]


def _cells(host: "Host", view: "ContainerView", now_s: float, *, full: bool) -> tuple[str, ...]:
    record = view.record
    return (
        _id(view, full=full),
        record.image_name,
        _command(view, full=full),
        ago_text(record.created_at, now_s),
        status_text(view, now_s),
        ports_text(view, host),
        record.name,
    )


def _command(view: "ContainerView", *, full: bool) -> str:
    text = " ".join(view.record.command)
    if full or len(text) <= _COMMAND_LETTERS:
        return text
    return f"{text[: _COMMAND_LETTERS - 3]}..."


def status_text(view: "ContainerView", now_s: float) -> str:
    """Return podman's words: Up 3 minutes, Exited (137) 2 hours ago, Created."""
    if view.status in ("running", "paused", "stopping"):
        started_s = parse_rfc3339(view.state.started_at)
        up = duration_text(max(0.0, now_s - started_s)) if started_s is not None else ""
        words = {"running": "Up", "paused": "Paused", "stopping": "Stopping"}
        if view.status != "running":
            return words[view.status]
        return f"Up {up}".rstrip() + _health_text(view)
    if view.status == "exited":
        return f"Exited ({view.exit_code}) {ago_text(view.state.finished_at, now_s)}".rstrip()
    return view.status.capitalize()


def _health_text(view: "ContainerView") -> str:
    if view.record.health is None:
        return ""
    from rootless.container.health_state import health_status

    return f" ({health_status(view)})"


def _pod_id(view: "ContainerView", *, full: bool) -> str:
    return view.record.pod if full else view.record.pod[:_SHORT_ID]


def _pod_name(host: "Host", view: "ContainerView") -> str:
    if not view.record.pod:
        return ""
    from storage.errors import StorageError
    from storage.pods import read_pod

    try:
        return read_pod(host.layout, view.record.pod).name
    except StorageError:
        return ""  # it is being removed


def _row(host: "Host", view: "ContainerView", now_s: float, *, full: bool) -> Row:
    record = view.record
    created = ago_text(record.created_at, now_s)
    exited = view.status == "exited"
    mounts = [str(mount.get("Destination", "")) for mount in record.mounts]
    fields: dict[str, object] = {
        "AutoRemove": record.auto_remove,
        "Command": _command(view, full=full),
        "Created": go_time(record.created_at),
        "CreatedAt": go_time(record.created_at),
        "CreatedHuman": created,
        "ExitCode": view.exit_code,
        "Exited": exited,
        "ExitedAt": unix_time(view.state.finished_at if exited else ""),
        "ID": _id(view, full=full),
        "Image": record.image_name,
        "ImageID": record.image_id if full else record.image_id[:_SHORT_ID],
        "Label": lambda key: record.labels.get(key, ""),
        "Labels": record.labels,
        "Mounts": ",".join(mounts),
        "Names": record.name,
        "Networks": ",".join(str(entry["name"]) for entry in record.networks),
        "IsInfra": record.is_infra,
        "Pid": view.pid,
        "Pod": _pod_id(view, full=full),
        "PodName": _pod_name(host, view),
        "Ports": ports_text(view, host),
        "Restarts": view.state.restart_count,
        "RunningFor": created,
        "StartedAt": unix_time(view.state.started_at),
        "State": view.status,
        "Status": status_text(view, now_s),
        "Namespaces": {},
        **dict.fromkeys(_ON_REQUEST, ""),
    }
    owner = view
    if record.joins:
        from rootless.container.owner import network_owner

        owner = network_owner(host, view)
    return Row(fields, _document(view, owner, fields, mounts))


def _document(
    view: "ContainerView", owner: "ContainerView", fields: dict[str, object], mounts: list[str]
) -> dict[str, object]:
    """Return podman's object for one container in `ps --format json`; `owner` has its network."""
    record = view.record
    return {
        "AutoRemove": record.auto_remove,
        "Command": list(record.command),
        "CreatedAt": fields["CreatedHuman"],
        "Exited": fields["Exited"],
        "ExitedAt": fields["ExitedAt"],
        "ExitCode": view.exit_code,
        "Id": record.id,
        "Image": record.image_name,
        "ImageID": record.image_id,
        "IsInfra": record.is_infra,
        "Labels": record.labels or None,
        "Mounts": mounts,
        "Names": [record.name],
        "Namespaces": fields["Namespaces"],
        "Networks": [entry["name"] for entry in record.networks],
        "Pid": view.pid,
        "Pod": record.pod,
        "PodName": fields["PodName"],
        "Ports": [
            {
                "host_ip": port.get("host_ip") or "",
                "container_port": port.get("container_port"),
                "host_port": port.get("host_port"),
                "range": 1,
                "protocol": port.get("protocol") or "tcp",
            }
            for port in (owner.state.ports or owner.record.ports)
        ]
        or None,
        "Restarts": view.state.restart_count,
        "Size": None,
        "StartedAt": fields["StartedAt"],
        "State": view.status,
        "Status": fields["Status"],
        "Created": unix_time(record.created_at),
    }
