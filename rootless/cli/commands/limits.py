"""update, stats, pause, unpause."""

import sys
import time

from rootless.cli.commands.selection import chosen_containers, exit_code, for_each, one_container
from rootless.cli.output import Row, Table, print_formatted, write, write_json
from rootless.errors import UsageError
from rootless.human import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.container.stats import Stats
    from rootless.host.paths import Host
    from storage.containers import ContainerView

_SHORT_ID = 12
_TABLE = Table(
    ("ID", False), ("NAME", True), ("CPU %", False), ("MEM USAGE / LIMIT", False), ("MEM %", False),
    ("NET IO", False), ("BLOCK IO", False), ("PIDS", False), ("CPU TIME", False),
    ("AVG CPU %", False),
)  # fmt: skip
_KEYS: tuple[str, ...] = (
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDS", "UpTime", "AvgCPU",
)  # fmt: skip
_POD_COLUMNS = (
    ("POD", "Pod"), ("CID", "CID"), ("NAME", "Name"), ("CPU %", "CPUPerc"),
    ("MEM USAGE/ LIMIT", "MemUsage"), ("MEM %", "MemPerc"), ("NET IO", "NetIO"),
    ("BLOCK IO", "BlockIO"), ("PIDS", "PIDS"),
)  # fmt: skip
_HEADINGS = {
    "Pod": "POD", "CID": "CID",
    "ID": "ID", "ContainerID": "ID", "Container": "ID", "Name": "NAME", "CPUPerc": "CPU %",
    "CPU": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemUsageBytes": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %", "NetIO": "NET IO", "BlockIO": "BLOCK IO", "PIDS": "PIDS", "PIDs": "PIDS",
    "UpTime": "CPU TIME", "CPUTime": "CPU TIME", "AvgCPU": "AVG CPU %",
}  # fmt: skip
_NUMBERS = ("CPUNano", "SystemNano", "NetInput", "NetOutput", "BlockInput", "BlockOutput",
            "MemLimit", "Duration", "UsedMemory")  # fmt: skip


def update(invocation: "Invocation") -> int:
    """Change the limits and settings of a container and print its id."""
    from rootless.container.request import LIMITS
    from rootless.container.update import update as change
    from rootless.container.update_settings import SETTINGS

    host = invocation.host()
    name = one_container(invocation, "container", host)
    fields = (*LIMITS, *SETTINGS)
    changes = {key: value for key, value in invocation.given.items() if key in fields}
    if not changes:
        raise UsageError(
            "update: nothing to change was given",
            remedy="such as --memory 1g, --cpus 2 or --restart always",
        )
    write(change(host, name, changes) + "\n")
    return 0


def pause(invocation: "Invocation") -> int:
    """Pause containers."""
    from rootless.container.freezer import pause as stop_all

    return _each(invocation, stop_all, "running")


def unpause(invocation: "Invocation") -> int:
    """Let paused containers go on."""
    from rootless.container.freezer import unpause as go_on

    return _each(invocation, go_on, "paused")


def _each(invocation: "Invocation", action: "Callable[[Host, str], str]", status: str) -> int:
    host = invocation.host()
    names = chosen_containers(invocation, host, is_wanted=lambda view: view.status == status)

    def act(name: str) -> None:
        action(host, name)
        write(f"{name}\n")
        sys.stdout.flush()

    return exit_code(for_each(names, act))


def stats(invocation: "Invocation") -> int:
    """Show what containers use, again and again unless --no-stream."""
    host = invocation.host()
    return show_stats(invocation, host, lambda: [("", v) for v in _views(invocation, host)])


def show_stats(
    invocation: "Invocation",
    host: "Host",
    views: "Callable[[], list[tuple[str, ContainerView]]]",
) -> int:
    """Show what the containers that `views` returns use; each with the id of its pod, or "".

    Raises UsageError.
    """
    from rootless.container.stats import look

    interval_s = invocation.number("interval") or 0
    if interval_s < 1:
        raise UsageError("--interval must be at least 1 second")
    before: dict[str, Stats] = {}
    once = invocation.flag("no_stream")
    while True:
        looks = [(pod, look(view)) for pod, view in views()]
        rows = [(pod, row) for pod, row in looks if row is not None]
        if not once and not invocation.flag("no_reset") and sys.stdout.isatty():
            write("\033[2J\033[H")
        _print(invocation, rows, before)
        if any(row.from_proc for _, row in rows):
            host.note("no memory controller here: memory is added up from the processes")
        if once:
            return 0
        sys.stdout.flush()
        before = {row.container_id: row for _, row in rows}
        try:
            time.sleep(interval_s)
        except KeyboardInterrupt:
            return 0


def _views(invocation: "Invocation", host: "Host") -> "list[ContainerView]":
    from rootless.container.query import find_view, list_views

    names: list[str] = list(invocation.texts("containers"))
    if invocation.flag("latest"):
        names = chosen_containers(invocation, host, is_wanted=lambda view: True)
    if names:
        return [find_view(host, name) for name in names]
    return list_views(host, all_states=invocation.flag("all"))


def _print(
    invocation: "Invocation", rows: "list[tuple[str, Stats]]", before: "dict[str, Stats]"
) -> None:
    text = invocation.text("format")
    full = invocation.flag("no_trunc")
    made = []
    for pod, one in rows:
        row = _row(one, before.get(one.container_id), full=full)
        row["Pod"] = pod if full else pod[:_SHORT_ID]
        row["CID"] = row["ID"]
        made.append(row)
    is_of_pods = invocation.command.name == "pod stats"
    if text and text != "table":
        if is_of_pods and text == "json":
            write_json([_with_pod(row) for row in made], indent=1)
            return
        valid = (*_HEADINGS, *_NUMBERS)
        print_formatted(made, text, headings=_HEADINGS, valid=valid, indent=1)
        return
    table, keys = _TABLE, _KEYS
    if is_of_pods:
        table = Table(*((title, False) for title, _ in _POD_COLUMNS))
        keys = tuple(key for _, key in _POD_COLUMNS)
    table.print([[str(row[key]) for key in keys] for row in made], noheading=False, full=full)


def _with_pod(row: Row) -> dict[str, object]:
    document = row.document
    assert isinstance(document, dict)
    return {"Pod": row["Pod"], **document}


def _row(now: "Stats", before: "Stats | None", *, full: bool) -> Row:
    cpu = now.cpu_percent(before)
    pids = str(now.pids)
    fields: dict[str, object] = {
        "ID": now.container_id if full else now.container_id[:_SHORT_ID],
        "Name": now.name,
        "CPUPerc": f"{cpu:.2f}%",
        "MemUsage": f"{_compact(now.memory)} / {_compact(now.memory_limit)}",
        "MemUsageBytes": f"{_binary(now.memory)} / {_binary(now.memory_limit)}",
        "MemPerc": f"{now.memory_percent:.2f}%",
        "NetIO": f"{_compact(now.net_input)} / {_compact(now.net_output)}",
        "BlockIO": f"{_compact(now.block_input)} / {_compact(now.block_output)}",
        "PIDS": pids,
        "UpTime": _go_duration(now.cpu_ns),
        "AvgCPU": f"{now.average_cpu:.2f}%",
    }
    document: dict[str, object] = {
        "id": now.container_id[:_SHORT_ID],
        "name": now.name,
        "cpu_time": fields["UpTime"],
        "cpu_percent": fields["CPUPerc"],
        "avg_cpu": fields["AvgCPU"],
        "mem_usage": fields["MemUsage"],
        "mem_percent": fields["MemPerc"],
        "net_io": fields["NetIO"],
        "block_io": fields["BlockIO"],
        "pids": pids,
    }
    fields |= {
        "ContainerID": fields["ID"], "Container": fields["ID"], "CPU": cpu, "PIDs": pids,
        "CPUTime": fields["UpTime"], "CPUNano": now.cpu_ns, "SystemNano": now.at_ns,
        "NetInput": now.net_input, "NetOutput": now.net_output, "BlockInput": now.block_input,
        "BlockOutput": now.block_output, "MemLimit": now.memory_limit, "UsedMemory": now.memory,
        "Duration": now.cpu_ns,
    }  # fmt: skip
    return Row(fields, document)


def _compact(size_bytes: int) -> str:
    """Return "1.23MB", as docker's units.HumanSize."""
    return size_text(size_bytes).replace(" ", "")


def _binary(size_bytes: int) -> str:
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.4g}{unit}"
        value /= 1024
    raise AssertionError("unreachable")


def _go_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: 1m2.5s, 12.3ms."""
    if nanoseconds == 0:
        return "0s"
    for limit, unit in ((1_000_000, "\u00b5s"), (1_000_000_000, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds * 1000 / limit:.6f}".rstrip("0").rstrip(".") + unit
    minutes, seconds_ns = divmod(nanoseconds, 60 * 1_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds_ns / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def clone(invocation: "Invocation") -> int:
    """Make a container like another and print its id."""
    from rootless.cli.progress import Reporter
    from rootless.container import clone as cloning
    from rootless.container import ending, lifecycle
    from rootless.container.request import LIMITS
    from storage.containers import find_container

    host = invocation.host()
    name, word = invocation.text("name"), invocation.text("new_name")
    if name and word:
        raise UsageError("--name and a second word both name the new container")
    if invocation.flag("force") and not invocation.flag("destroy"):
        raise UsageError("cannot set --force without --destroy")
    changes = {field: value for field, value in invocation.given.items() if field in LIMITS}
    other = find_container(host.layout, invocation.text("container"))
    if invocation.flag("destroy") and not invocation.flag("force") and other.pid:
        raise UsageError(
            f"container {other.record.name} is running, --destroy would remove it",
            remedy="stop it first, or add --force",
        )
    with Reporter() as on_event:
        record = cloning.clone(
            host,
            other.record.id,
            name=name or word,
            image=invocation.text("image"),
            changes=changes,
            pod=invocation.text("pod"),
            on_event=on_event,
        )
    if invocation.flag("destroy"):
        ending.remove(host, other.record.id, force=invocation.flag("force"))
    sys.stdout.write(f"{record.id}\n")
    sys.stdout.flush()
    if invocation.flag("run"):
        lifecycle.start(host, record.id)
    return 0
