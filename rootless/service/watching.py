"""events, stats, system df: what goes on, and what it takes."""

import os
import select
import time

from rootless.container.events import Event, read_events
from rootless.container.stats import Stats, look
from rootless.human import unix_time
from rootless.service.containers import image_id, mount_document, state_word, status_text
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from rootless.service.lifecycle import RUNNING
from rootless.service.naming import container_of
from rootless.service.streams import moment
from storage.containers import view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON = "application/json"
_INTERVAL_S = 1.0
_DAY_S = 86400.0
# podman's words in the log, and docker's for the same.
_ACTIONS = {"died": "die", "remove": "destroy", "exec": "exec_start", "exec_died": "exec_die"}
# Steps that docker does not tell of.
_OURS = ("init", "cleanup")
_IMAGE_ACTIONS = {"remove": "delete", "loadfromarchive": "load"}
_FILTERS = ("container", "event", "image", "label", "type", "volume", "network")


def events(exchange: Exchange) -> None:
    """Events since a moment, and, without an end, those that come."""
    since, until = moment(exchange, "since"), moment(exchange, "until")
    pairs = exchange.filters()
    for key, _ in pairs:
        if key not in (*_FILTERS, "scope", "daemon"):
            raise HttpError(400, f"invalid filter '{key}'")
    filters = [f"{k}={v}" for k, v in pairs if k in ("container", "image", "label", "volume")]
    now_s = time.time()
    follow = until is None or until > now_s
    found = read_events(
        exchange.host.layout.run_root,
        since_s=now_s if since is None else since,
        until_s=until,
        filters=filters,
        follow=follow,
    )
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        # It sleeps until there is something; here the client is looked after meanwhile.
        try:
            os.close(reader)
            exchange.connection.socket.close()
            _write_events(found, pairs, writer)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with exchange.stream(_JSON) as stream:
            poll = select.poll()
            poll.register(reader, select.POLLIN)
            poll.register(exchange.connection, 0)
            while True:
                ready = dict(poll.poll(_left_ms(until)))
                if reader in ready:
                    data = os.read(reader, 1 << 16)
                    if not data:
                        break
                    stream.write(data)
                elif ready:
                    stream.check()
                elif until is not None and time.time() > until:
                    break  # nothing more can come
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _left_ms(until: float | None) -> float | None:
    """Return how long to wait for an event, and a second for it to be written."""
    if until is None:
        return None
    return min(max(until - time.time() + 1, 1), _DAY_S) * 1000


def _write_events(found: "Iterator[Event]", pairs: list[tuple[str, str]], writer: int) -> None:
    import json

    for event in found:
        if event.status in _OURS:
            continue
        document = event_document(event)
        if _passes(document, pairs):
            data = json.dumps(document, separators=(",", ":")).encode() + b"\n"
            while data:
                data = data[os.write(writer, data) :]


def _passes(document: dict[str, object], pairs: list[tuple[str, str]]) -> bool:
    for key, field in (("event", "Action"), ("type", "Type")):
        values = [value for name, value in pairs if name == key]
        text = str(document[field]).partition(":")[0]
        if values and text not in [value.partition(":")[0] for value in values]:
            return False
    wanted = [value for name, value in pairs if name == "network"]
    if wanted:
        actor = document["Actor"]
        assert isinstance(actor, dict)
        attributes = actor["Attributes"]
        return document["Type"] == "network" and attributes.get("name") in wanted
    return not any(name == "daemon" for name, _ in pairs)


def event_document(event: Event) -> dict[str, object]:
    """Return an event in docker's words."""
    status, kind = event.status, event.kind
    action = (_IMAGE_ACTIONS if kind == "image" else _ACTIONS).get(status, status)
    if kind == "volume" and status == "remove":
        action = "destroy"
    if status == "health_status":
        action = f"health_status: {event.health_status}"
    attributes = dict(event.attributes)
    ident = event.ident
    if kind == "container":
        attributes |= {"image": event.image, "name": event.name}
        if status in ("died", "exec_died"):
            attributes["exitCode"] = str(event.exit_code)
    elif kind == "network":
        attributes |= {"name": event.network, "container": event.ident, "type": "bridge"}
        ident = event.network
    else:
        attributes["name"] = event.name
        ident = image_id(event.ident) if kind == "image" else event.name
    document: dict[str, object] = {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": ident, "Attributes": attributes},
        "scope": "local",
        "time": event.time_ns // 1_000_000_000,
        "timeNano": event.time_ns,
    }
    if kind in ("container", "image"):
        document |= {"status": action, "id": ident}
    if kind == "container":
        document["from"] = event.image
    return document


def stats(exchange: Exchange) -> None:
    found = container_of(exchange)
    streams = exchange.flag("stream", default=True)
    before: Stats | None = None
    if not streams and not exchange.flag("one-shot") and found.status in RUNNING:
        before = look(found)
        time.sleep(_INTERVAL_S)
    if not streams:
        exchange.send(_stats(look(view(exchange.host.layout, found.record)), before))
        return
    with exchange.stream(_JSON) as stream:
        while os.path.exists(found.paths.record):
            now = look(view(exchange.host.layout, found.record))
            stream.write_json(_stats(now, before))
            before = now
            poll = select.poll()
            poll.register(exchange.connection, 0)
            if poll.poll(_INTERVAL_S * 1000):
                return


def _stats(now: Stats | None, before: Stats | None) -> dict[str, object]:
    """Return docker's document; what it has per cpu and per device is one sum."""
    if now is None:
        return {"read": _time(0), "preread": _time(0)}
    return {
        "id": now.container_id,
        "name": f"/{now.name}",
        "read": _time(now.at_ns),
        "preread": _time(before.at_ns if before else 0),
        "num_procs": 0,
        "pids_stats": {"current": now.pids},
        "cpu_stats": _cpu(now, now),
        "precpu_stats": _cpu(before, now),
        "memory_stats": {
            "usage": now.memory, "limit": now.memory_limit, "stats": {"inactive_file": 0},
        },
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 0, "minor": 0, "op": "read", "value": now.block_input},
                {"major": 0, "minor": 0, "op": "write", "value": now.block_output},
            ],
        },
        "storage_stats": {},
        "networks": {
            "eth0": {
                "rx_bytes": now.net_input, "tx_bytes": now.net_output, "rx_packets": 0,
                "rx_errors": 0, "rx_dropped": 0, "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
            },
        },
    }  # fmt: skip


def _cpu(one: Stats | None, now: Stats) -> dict[str, object]:
    cpus = os.cpu_count() or 1
    used = one.cpu_ns if one else 0
    # docker's clients divide by the time of all cpus together.
    system = (one.at_ns if one else now.started_ns) * cpus
    return {
        "cpu_usage": {
            "total_usage": used, "usage_in_kernelmode": 0, "usage_in_usermode": used,
        },
        "system_cpu_usage": system,
        "online_cpus": cpus,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }  # fmt: skip


def _time(ns: int) -> str:
    if not ns:
        return "0001-01-01T00:00:00Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09}Z"


def df(exchange: Exchange) -> None:
    from rootless.container.space import usage
    from storage.images import list_images
    from storage.volumes import list_volumes, mountpoint, volume_users

    host = exchange.host
    found, views = usage(host)
    now_s = time.time()
    users = volume_users(host.layout)
    exchange.send(
        {
            "LayersSize": found.images.space.size_bytes,
            "Images": [
                {
                    "Id": image_id(record.image_id),
                    "ParentId": "",
                    "RepoTags": list(record.names),
                    "RepoDigests": [],
                    "Created": unix_time(record.created),
                    "Size": record.size_bytes,
                    "SharedSize": 0,
                    "Labels": record.labels or None,
                    "Containers": sum(v.record.image_id == record.image_id for v in views),
                }
                for record in list_images(host.layout)
            ],
            "Containers": [
                {
                    "Id": one.record.id,
                    "Names": [f"/{one.record.name}"],
                    "Image": one.record.image_name,
                    "ImageID": image_id(one.record.image_id),
                    "Command": " ".join(one.record.command),
                    "Created": unix_time(one.record.created_at),
                    "SizeRw": space.size_bytes if space else 0,
                    "State": state_word(one),
                    "Status": status_text(one, now_s),
                    "Labels": one.record.labels,
                    "Mounts": [mount_document(entry) for entry in one.record.mounts],
                }
                for one in views
                for space in (found.container_spaces.get(one.record.id),)
            ],
            "Volumes": [
                {
                    "Name": record.name,
                    "Driver": "local",
                    "Mountpoint": mountpoint(host.layout, record),
                    "CreatedAt": record.created_at,
                    "Labels": record.labels,
                    "Scope": "local",
                    "Options": record.options or None,
                    "UsageData": {
                        "Size": space.size_bytes if space else 0,
                        "RefCount": len(users.get(record.name, ())),
                    },
                }
                for record in list_volumes(host.layout)
                for space in (found.volume_spaces.get(record.name),)
            ],
            "BuildCache": [],
            "BuilderSize": found.build_cache.space.size_bytes,
        }
    )


def build_prune(exchange: Exchange) -> None:
    from rootless.container.space import prune_build_cache, usage

    before = usage(exchange.host)[0].build_cache.space.size_bytes
    gone = prune_build_cache(exchange.host, None)
    after = usage(exchange.host)[0].build_cache.space.size_bytes
    exchange.send({"CachesDeleted": gone or None, "SpaceReclaimed": max(0, before - after)})
