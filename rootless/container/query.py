"""Look at containers: lists, filters, published ports, what a dead monitor has left."""

from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.containers import (
    ContainerView,
    container_ids,
    find_container,
    iter_views,
    read_record,
)
from storage.errors import ContainerNotFound, InvalidDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RUNNING = ("running", "paused", "stopping")
# podman's and docker's, also those in which a container of ours never is.
_STATES = (
    "created", "initialized", "running", "paused", "stopping", "stopped", "exited", "removing",
    "unknown", "dead", "restarting",
)  # fmt: skip
_FILTERS = (
    "id", "name", "label", "label!", "status", "exited", "ancestor", "before", "since", "volume",
    "network", "until", "command", "health", "restart-policy", "should-start-on-boot",
    "pod",
)  # fmt: skip


def list_views(host: Host, *, all_states: bool = False) -> list[ContainerView]:
    """Return the running containers, or all; the newest first."""
    remove_abandoned(host)
    views = []
    damaged: list[InvalidDocument] = []
    for found in iter_views(host.layout, damaged):
        if _is_left_over(found):
            _sweep(host, found)
            continue
        if found.status == "exited" and found.state.error:
            from rootless.container.ending import kill_left_over

            kill_left_over(found)
        if all_states or found.status in RUNNING:
            views.append(found)
    for error in damaged:
        host.note(f"{error.message}; {error.remedy}")
    return views


def damaged_ids(host: Host) -> list[str]:
    """Return the ids of the containers whose records cannot be read."""
    found = []
    for container_id in container_ids(host.layout):
        try:
            read_record(host.layout, container_id)
        except ContainerNotFound:
            continue  # removed while we were looking
        except InvalidDocument:
            found.append(container_id)
    return found


def remove_abandoned(host: Host) -> None:
    """Remove what killed commands were building, if there is anything."""
    from storage.scratch import has_abandoned

    if not has_abandoned(host.layout):
        return
    from rootless.linux.userns import run_in_userns
    from storage.errors import StoreUnusable
    from storage.scratch import sweep

    try:
        # Root of the namespace may remove files of every id that a layer or a container has.
        run_in_userns(lambda _: sweep(host.layout), host.id_maps())
    except StoreUnusable:
        return  # a store that can only be read: nothing depends on it


def find_view(host: Host, text: str) -> ContainerView:
    """Return one container by name, id or id prefix. Raises ContainerNotFound, Ambiguous."""
    return find_container(host.layout, text)


def inspect_container(found: ContainerView, host: Host) -> dict[str, object]:
    """Return the document of `inspect`, with podman's field names."""
    from rootless.container.document import make_document

    return make_document(found, host)


def _is_left_over(found: ContainerView) -> bool:
    """Whether this is a container with --rm whose monitor was killed before it could remove it."""
    return found.record.auto_remove and found.status == "exited"


def _sweep(host: Host, found: ContainerView) -> None:
    from rootless.container.ending import kill_left_over
    from rootless.container.remove import remove_container

    kill_left_over(found)
    remove_container(host, found.record)


def sweep_dead(host: Host, container_id: str) -> None:
    """Remove one container if it is such a left-over."""
    found = find_container(host.layout, container_id)
    if _is_left_over(found):
        _sweep(host, found)


def ports_text(found: ContainerView, host: Host | None = None) -> str:
    """Return the PORTS column: 0.0.0.0:8080->80/tcp, ...; neighbours are one range.

    With `host`, a container that has joined another's network shows what that one publishes.
    """
    if host is not None and found.record.joins:
        from rootless.container.owner import network_owner

        found = network_owner(host, found)
    entries = found.state.ports if found.status in RUNNING else found.record.ports
    if not entries:
        return ""
    from slirp.model import PortMapping, ports_column

    return ports_column(PortMapping.from_json(entry) for entry in entries)


def filter_views(views: "Iterable[ContainerView]", filters: "Iterable[str]") -> list[ContainerView]:
    """Keep what passes: one value of a key is enough, labels must all match, keys must all pass.

    Raises UsageError for an unknown key.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        if key == "label" and not separator:
            raise UsageError(f'invalid filter "{text}"')
        if key.endswith("!"):
            key = key.strip()
        if key not in _FILTERS or not separator:
            raise UsageError(f'invalid filter "{text}"', remedy="known: " + " ".join(_FILTERS))
        if key == "status" and value not in _STATES:
            known = " ".join(_STATES)
            raise UsageError(f'unknown container state: "{value}"', remedy=f"known: {known}")
        wanted.setdefault(key, []).append(value)
    every = list(views)
    moments = _moments(every, wanted)
    return [found for found in every if _passes(found, wanted, moments)]


def _moments(views: list[ContainerView], wanted: dict[str, list[str]]) -> dict[str, str]:
    """Return when the containers named by `before` and `since` were made."""
    result = {}
    for key in ("before", "since"):
        for text in wanted.get(key, ()):
            matches = [v for v in views if v.record.name == text or v.record.id.startswith(text)]
            if not matches:
                raise UsageError(f'filter {key}: no container with name or ID "{text}" found')
            result[key] = matches[0].record.created_at
    return result


def _passes(found: ContainerView, wanted: dict[str, list[str]], moments: dict[str, str]) -> bool:
    for key, values in wanted.items():
        results = [_matches(found, key, value, moments) for value in values]
        if not (all(results) if key in ("label", "label!") else any(results)):
            return False
    return True


def _matches(found: ContainerView, key: str, value: str, moments: dict[str, str]) -> bool:
    record = found.record
    if key in ("label", "label!"):
        name, separator, text = value.partition("=")
        has = name in record.labels and (not separator or record.labels[name] == text)
        return has is (key == "label")
    if key in ("id", "name", "command"):
        return _matches_text(key, value, record.id, record.name, " ".join(record.command))
    if key in ("before", "since"):
        older = record.created_at < moments[key]
        return older if key == "before" else record.created_at > moments[key]
    if key == "status":
        return found.status == ("exited" if value == "stopped" else value)
    if key == "exited":
        return found.status == "exited" and str(found.exit_code) == value
    if key == "ancestor":
        return _is_ancestor(found, value)
    if key == "health":
        from rootless.container.health_state import health_status

        return (health_status(found) or "none") == value
    if key == "restart-policy":
        return (record.restart.partition(":")[0] or "no") == value
    if key == "should-start-on-boot":
        policy = record.restart.partition(":")[0]
        starts = policy == "always" or (
            policy == "unless-stopped" and not found.state.stopped_by_user
        )
        return starts is (value in ("true", "1"))
    if key in ("pod", "volume", "network"):
        return _belongs(found, key, value)
    return record.created_at < _moment(value)


def _belongs(found: ContainerView, key: str, value: str) -> bool:
    """Tell whether a container has to do with a pod, volume or network."""
    record = found.record
    if key == "pod":
        return _is_in_pod(found, value)
    if key == "volume":
        return any(value in (m.get("Name"), m.get("Destination")) for m in record.mounts)
    names = [str(entry["name"]) for entry in record.networks]
    return value in (names or [record.network.partition(":")[0]])


def _matches_text(key: str, value: str, container_id: str, name: str, command: str) -> bool:
    import re

    if key == "id":
        return container_id.startswith(value)
    try:
        return re.search(value, name if key == "name" else command) is not None
    except re.error as error:
        raise UsageError(f'filter {key}: "{value}" is no regular expression: {error}') from error


def _is_ancestor(found: ContainerView, value: str) -> bool:
    name = found.record.image_name
    return (
        value in (name, name.rpartition(":")[0], name.rpartition("/")[2])
        or value == name.rpartition("/")[2].rpartition(":")[0]
        or found.record.image_id.startswith(value.removeprefix("sha256:"))
    )


def _is_in_pod(found: ContainerView, value: str) -> bool:
    """Tell by the pod's id, the beginning of it, or its name: the latter is beside the store."""
    pod = found.record.pod
    if not pod or not value:
        return False
    if pod.startswith(value):
        return True
    from storage.layout import Layout
    from storage.pods import pod_name_owner

    # <store>/containers/<id>
    store = found.paths.directory.rpartition("/containers/")[0]
    return pod_name_owner(Layout(store, ""), value) == pod


def _moment(text: str) -> str:
    """Return a moment, given as a time or as a duration before now, as records write it."""
    import time

    from rootless.container.logfile import timestamp
    from rootless.container.moments import parse_moment

    moment_s = parse_moment(text, time.time())
    if moment_s is None:
        raise UsageError(f'filter until: "{text}" is no time')
    return timestamp(int(moment_s * 1e9))
