"""Commands that look at pods: ps, inspect, logs, top, stats."""

import re
import sys
import time

from rootless.cli.commands.pod import chosen_pods, latest_pod
from rootless.cli.output import (
    Row,
    Table,
    format_table,
    print_documents,
    print_formatted,
    split_filters,
    write,
    write_json,
)
from rootless.container.pods import ALIVE, STATES, PodView, find_view, list_views
from rootless.errors import ContainerStateError, UsageError
from rootless.filters import matches_label, passes
from rootless.human import ago_text, parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.containers import ContainerView

_SHORT_ID = 12
_FILTERS = (
    "id", "name", "label", "label!", "status", "ctr-ids", "ctr-names", "ctr-number", "ctr-status",
    "network", "until",
)  # fmt: skip
FIELDS = (
    "Cgroup", "ContainerIds", "ContainerNames", "ContainerStatuses", "Containers", "Created", "ID",
    "Id", "InfraID", "InfraId", "Label", "Labels", "Name", "Namespace", "Networks",
    "NumberOfContainers", "Restarts", "Status",
)  # fmt: skip
_HEADINGS = {
    "ID": "POD ID", "Id": "POD ID", "InfraID": "INFRA ID", "InfraId": "INFRA ID",
    "NumberOfContainers": "# OF CONTAINERS", "ContainerIds": "IDS", "ContainerNames": "NAMES",
    "ContainerStatuses": "STATUS", "Namespace": "NAMESPACES",
}  # fmt: skip


def ps(invocation: "Invocation") -> int:
    """List pods."""
    host = invocation.host()
    filters = split_filters(invocation.texts("filter"), _FILTERS, "pod")
    for key, value in filters:
        if key == "status" and value.capitalize() not in STATES:
            raise UsageError(f"{value} is not a valid pod status", remedy=" ".join(STATES).lower())
    views = [found for found in list_views(host) if _passes(found, filters)]
    if invocation.flag("latest"):
        views = views[:1]
    views = _sorted(views, invocation.text("sort"))
    full = invocation.flag("no_trunc")
    if invocation.flag("quiet"):
        write("".join(f"{_id(found.record.id, full=full)}\n" for found in views))
        return 0
    text = invocation.text("format")
    rows = [_row(found, full=full) for found in views]
    if text and text != "table":
        print_formatted(
            rows, text, headings=_HEADINGS, valid=FIELDS, noheading=invocation.flag("noheading")
        )
        return 0
    columns = _columns(invocation)
    Table(*((title, False) for title, _ in columns)).print(
        [[str(row[key]) for _, key in columns] for row in rows],
        noheading=invocation.flag("noheading"),
        full=full,
    )
    return 0


def _columns(invocation: "Invocation") -> list[tuple[str, str]]:
    columns = [("POD ID", "ID"), ("NAME", "Name"), ("STATUS", "Status"), ("CREATED", "Created"),
               ("INFRA ID", "InfraID")]  # fmt: skip
    details = [(title, key) for flag, title, key in (
        ("ctr_ids", "IDS", "ContainerIds"),
        ("ctr_names", "NAMES", "ContainerNames"),
        ("ctr_status", "STATUS", "ContainerStatuses"),
    ) if invocation.flag(flag)]  # fmt: skip
    if invocation.flag("ns"):
        details += [("CGROUP", "Cgroup"), ("NAMESPACES", "Namespace")]
    return columns + (details or [("# OF CONTAINERS", "NumberOfContainers")])


def _id(text: str, *, full: bool) -> str:
    return text if full else text[:_SHORT_ID]


def _sorted(views: list[PodView], order: str) -> list[PodView]:
    if order == "created":
        return views
    keys = {
        "id": lambda found: found.record.id,
        "name": lambda found: found.record.name,
        "number": lambda found: len(found.members),
        "status": lambda found: found.state,
    }
    return sorted(views, key=keys[order])


def _passes(found: PodView, filters: list[tuple[str, str]]) -> bool:
    return passes(filters, lambda key, value: _test(found, key, value))


def _test(found: PodView, key: str, value: str) -> bool:
    record = found.record
    if key in ("label", "label!"):
        return matches_label(record.labels, value) is (key == "label")
    if key == "id":
        return record.id.startswith(value)
    if key == "status":
        return found.state.lower() == value.lower()
    if key == "ctr-number":
        return value == str(len(found.members))
    if key == "ctr-ids":
        return any(one.record.id.startswith(value) for one in found.members)
    if key == "ctr-status":
        return any(one.status == value for one in found.members)
    if key == "network":
        return value in _networks(found)
    if key == "until":
        return _is_older(record.created_at, value)
    names = [record.name] if key == "name" else [one.record.name for one in found.members]
    try:
        return any(re.search(value, name) for name in names)
    except re.error as error:
        raise UsageError(f'filter {key}: "{value}" is no regular expression: {error}') from error


def _is_older(created_at: str, value: str) -> bool:
    from rootless.container.moments import parse_moment

    moment_s = parse_moment(value, time.time())
    if moment_s is None:
        raise UsageError(f'filter until: "{value}" is no time')
    return (parse_rfc3339(created_at) or 0.0) < moment_s


def _networks(found: PodView) -> list[str]:
    infra = [one.record for one in found.members if one.record.is_infra]
    return [str(entry["name"]) for record in infra for entry in record.networks]


def _row(found: PodView, *, full: bool) -> Row:
    from rootless.container.pods_document import shared_words

    record, members = found.record, found.members
    fields: dict[str, object] = {
        "Cgroup": "",
        "ContainerIds": ",".join(_id(one.record.id, full=full) for one in members),
        "ContainerNames": ",".join(one.record.name for one in members),
        "ContainerStatuses": ",".join(one.status for one in members),
        "Created": ago_text(record.created_at, time.time()),
        "ID": _id(record.id, full=full),
        "InfraID": _id(record.infra_id, full=full),
        "Label": lambda key: record.labels.get(key, ""),
        "Labels": record.labels,
        "Name": record.name,
        "Namespace": ",".join(shared_words(record)),
        "Networks": ",".join(_networks(found)),
        "NumberOfContainers": len(members),
        "Restarts": sum(one.state.restart_count for one in members),
        "Status": found.state,
    }
    containers = [
        {
            "Id": one.record.id,
            "Names": one.record.name,
            "Status": one.status,
            "RestartCount": one.state.restart_count,
        }
        for one in members
    ]
    document = {
        "Cgroup": "",
        "Containers": containers,
        "Created": record.created_at,
        "Id": record.id,
        "InfraId": record.infra_id,
        "Name": record.name,
        "Namespace": "",
        "Networks": _networks(found),
        "Status": found.state,
        "Labels": record.labels,
    }
    fields |= {"Id": fields["ID"], "InfraId": fields["InfraID"], "Containers": containers}
    return Row(fields, document)


def inspect(invocation: "Invocation") -> int:
    """Show pods: one as an object, several as an array."""
    from rootless.container.pods_document import make_document

    host = invocation.host()
    documents = [
        make_document(host, find_view(host, name)) for name in chosen_pods(invocation, host)
    ]
    text = invocation.text("format")
    if text in ("", "json"):
        write_json(documents[0] if len(documents) == 1 else documents)
    else:
        print_documents(documents, text)
    return 0


def _one_pod(invocation: "Invocation", host: "Host", name: str) -> PodView:
    if invocation.flag("latest"):
        if name:
            raise UsageError("--latest and a pod's name do not go together")
        name = latest_pod(host)
    if not name:
        raise UsageError("you must provide a pod's name or id, or --latest")
    return find_view(host, name)


def logs(invocation: "Invocation") -> int:
    """Print what the containers of a pod have written."""
    from rootless.cli.commands.container import moment
    from rootless.container.logs import write_logs

    host = invocation.host()
    found = _one_pod(invocation, host, invocation.text("pod"))
    wanted = invocation.text("container")
    members = [one for one in found.ordinary if not wanted or _is_called(one, wanted)]
    if wanted and not members:
        raise UsageError(f"container {wanted} is not in pod {found.record.name}: no such container")
    sys.stdout.flush()
    write_logs(
        host,
        [one.record.id for one in members if one.record.log_driver != "none"],
        follow=invocation.flag("follow"),
        tail=invocation.number("tail"),
        since=moment(invocation, "since"),
        until=moment(invocation, "until"),
        timestamps=invocation.flag("timestamps"),
        names=invocation.flag("names"),
        color=invocation.flag("color"),
    )
    return 0


def _is_called(one: "ContainerView", text: str) -> bool:
    return one.record.name == text or one.record.id.startswith(text)


def top(invocation: "Invocation") -> int:
    """Show the processes of all containers of a pod."""
    from rootless.container.top import top as rows_of

    host = invocation.host()
    words = list(invocation.texts("words"))
    name = "" if invocation.flag("latest") else words.pop(0) if words else ""
    found = _one_pod(invocation, host, name)
    rows: list[list[str]] = []
    for one in found.members:
        if one.status != "running" or (rows and "pid" in one.record.joins):
            continue  # with a shared pid namespace one look shows all
        try:
            heading, *lines = rows_of(host, one.record.id, words)
        except ContainerStateError:
            continue  # it has just ended
        rows += lines if rows else [heading, *lines]
    if not rows:
        raise ContainerStateError(
            f"pod top can only be used on pods with at least one running container:"
            f" {found.record.name} is {found.state}"
        )
    write(format_table(rows))
    return 0


def stats(invocation: "Invocation") -> int:
    """Show what the containers of pods use."""
    from rootless.cli.commands.limits import show_stats

    host = invocation.host()
    wants_all = invocation.flag("all")
    typed = wants_all or invocation.flag("latest") or invocation.texts("pods")
    names = chosen_pods(invocation, host) if typed else []

    def look() -> "list[tuple[str, ContainerView]]":
        views = [find_view(host, name) for name in names] if typed else list_views(host)
        if not typed:
            views = [one for one in views if any(c.status in ALIVE for c in one.members)]
        return [(found.record.id, one) for found in views for one in found.members]

    return show_stats(invocation, host, look)
