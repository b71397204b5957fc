"""compose ps, ls, version: what there is."""

import time

from rootless.cli.commands.ps import status_text
from rootless.cli.compose_session import Session, run
from rootless.cli.output import Row, Table, print_formatted, split_filters, write, write_json
from rootless.compose import identity, teardown
from rootless.compose.errors import ComposeError
from rootless.compose.identity import Member
from rootless.container.health_state import health_status
from rootless.container.query import ports_text
from rootless.human import ago_text, unix_time
from rootless.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_TABLE = Table(
    ("NAME", False), ("IMAGE", False), ("COMMAND", False), ("SERVICE", False), ("CREATED", False),
    ("STATUS", False), ("PORTS", False),
)  # fmt: skip
FIELDS = (
    "Command", "CreatedAt", "ExitCode", "Health", "ID", "Image", "Labels", "Name", "Names",
    "Networks", "Ports", "Project", "Publishers", "RunningFor", "Service", "State", "Status",
)  # fmt: skip
_HEADINGS = {"ID": "CONTAINER ID", "RunningFor": "CREATED"}
_COMMAND_LETTERS = 20
_SHORT_ID = 12
_STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")


def ps(invocation: "Invocation") -> int:
    """List containers."""
    return run(invocation, _ps)


def _ps(session: Session) -> int:
    invocation = session.invocation
    name, project = session.named()
    services = invocation.texts("names")
    if project is not None:
        project.chosen(services, dependencies=False)
    states = list(invocation.texts("status"))
    states += [value for _, value in split_filters(invocation.texts("filter"), ("status",), "ps")]
    for state in states:
        if state not in _STATES:
            raise ComposeError(f"unknown status {state!r}", remedy="use " + ", ".join(_STATES))
    found = teardown.chosen(session.host, name, () if project is not None else services)
    known = project.every() if project is not None else {}
    keeps_orphans = invocation.flag("orphans") or project is None
    shown = [
        one
        for one in found
        if (not services or one.service in services)
        and (keeps_orphans or one.service in known)
        and (one.view.status in states if states else one.is_running or invocation.flag("all"))
    ]
    if invocation.flag("services"):
        write("".join(f"{name}\n" for name in dict.fromkeys(one.service for one in shown)))
    elif invocation.flag("quiet"):
        write("".join(f"{one.id}\n" for one in shown))
    else:
        _show(shown, invocation.text("format"), full=invocation.flag("no_trunc"))
    return 0


def _show(found: list[Member], form: str, *, full: bool) -> None:
    now_s = time.time()
    if form in ("", "table", "pretty"):
        _TABLE.print([_cells(one, now_s, full=full) for one in found], noheading=False, full=True)
        return
    rows = [_row(one, now_s, full=full) for one in found]
    # docker compose prints an object on each line.
    form = "jsonl" if form == "json" else form
    print_formatted(rows, form, headings=_HEADINGS, valid=FIELDS)


def _command(one: Member, *, full: bool) -> str:
    text = " ".join(one.view.record.command)
    if not full and len(text) > _COMMAND_LETTERS:
        text = f"{text[: _COMMAND_LETTERS - 1]}\u2026"
    return f'"{text}"'


def _cells(one: Member, now_s: float, *, full: bool) -> tuple[str, ...]:
    view = one.view
    return (
        one.name,
        view.record.image_name,
        _command(one, full=full),
        one.service,
        ago_text(view.record.created_at, now_s),
        status_text(view, now_s),
        ports_text(view),
    )


def _row(one: Member, now_s: float, *, full: bool) -> Row:
    view = one.view
    record = view.record
    publishers = [
        {
            "URL": str(entry.get("host_ip") or "0.0.0.0"),  # noqa: S104 - it is only printed
            "TargetPort": entry["container_port"],
            "PublishedPort": entry["host_port"],
            "Protocol": str(entry.get("protocol") or "tcp"),
        }
        for entry in (view.state.ports or record.ports if one.is_running else ())
    ]
    fields = {
        "Command": _command(one, full=full),
        "CreatedAt": record.created_at,
        "ExitCode": view.exit_code,
        "Health": health_status(view) if one.is_running else "",
        "ID": record.id if full else record.id[:_SHORT_ID],
        "Image": record.image_name,
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(record.labels.items())),
        "Name": one.name,
        "Names": one.name,
        "Networks": ",".join(str(entry["name"]) for entry in record.networks),
        "Ports": ports_text(view),
        "Project": record.labels[identity.PROJECT],
        "Publishers": publishers,
        "RunningFor": ago_text(record.created_at, now_s),
        "Service": one.service,
        "State": view.status,
        "Status": status_text(view, now_s),
    }
    return Row(fields, {**fields, "Created": unix_time(record.created_at)})


def ls(invocation: "Invocation") -> int:
    """List projects."""
    return run(invocation, _ls)


def _ls(session: Session) -> int:
    from storage.containers import iter_views

    invocation = session.invocation
    names = [value for _, value in split_filters(invocation.texts("filter"), ("name",), "ls")]
    states: dict[str, dict[str, int]] = {}
    files: dict[str, str] = {}
    for view in iter_views(session.host.layout):
        labels = view.record.labels
        project = labels.get(identity.PROJECT, "")
        if not project or identity.SERVICE not in labels:
            continue
        if names and not any(name in project for name in names):
            continue
        counts = states.setdefault(project, {})
        counts[view.status] = counts.get(view.status, 0) + 1
        files.setdefault(project, labels.get(identity.FILES, ""))
    shown = sorted(
        name for name, counts in states.items() if "running" in counts or invocation.flag("all")
    )
    if invocation.flag("quiet"):
        write("".join(f"{name}\n" for name in shown))
        return 0
    rows = [(name, _states_text(states[name]), files[name]) for name in shown]
    if invocation.text("format") == "json":
        write_json(
            [dict(zip(("Name", "Status", "ConfigFiles"), row, strict=True)) for row in rows],
            indent=2,
        )
        return 0
    table = Table(("NAME", False), ("STATUS", False), ("CONFIG FILES", False))
    table.print(rows, noheading=False, full=True)
    return 0


def _states_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{state}({count})" for state, count in sorted(counts.items()))


def version(invocation: "Invocation") -> int:
    """Print the version."""
    if invocation.flag("short"):
        write(f"{VERSION}\n")
    elif invocation.text("format") == "json":
        write_json({"version": VERSION}, indent=2)
    else:
        write(f"rpod compose version {VERSION}\n")
    return 0
