"""start, stop, restart, kill, pause, rename, update, resize, remove, prune of containers."""

import socket

from rootless.container import ending
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from rootless.service.naming import container_of

_ANSWER_S = 5.0
RUNNING = ("running", "paused", "stopping")


def start(exchange: Exchange) -> None:
    from rootless.service.starting import start_for_clients

    exchange.body.drain()
    found = container_of(exchange)
    if exchange.text("checkpoint"):
        raise HttpError(501, "checkpoint: it takes privilege over the host (CRIU)")
    if found.status in RUNNING:
        exchange.done(304)
        return
    start_for_clients(exchange.host, found)
    exchange.done()


def stop(exchange: Exchange) -> None:
    found = container_of(exchange)
    timeout_s = exchange.number("t")
    if found.status not in RUNNING:
        ending.mark_stopped(found)  # no restart policy starts it again
        exchange.done(304)
        return
    _use_signal(exchange, found.record.id)
    ending.stop(exchange.host, found.record.id, timeout_s)
    exchange.done()


def _use_signal(exchange: Exchange, container_id: str) -> None:
    """Send another signal than the container's own, where the client names one."""
    if name := exchange.text("signal"):
        from rootless.container.limits import parse_signal

        parse_signal(name)
        ending.kill(exchange.host, container_id, name)


def restart(exchange: Exchange) -> None:
    from rootless.container import lifecycle

    found = container_of(exchange)
    if found.status in RUNNING:
        _use_signal(exchange, found.record.id)
    lifecycle.restart(exchange.host, found.record.id, timeout_s=exchange.number("t"))
    exchange.done()


def kill(exchange: Exchange) -> None:
    found = container_of(exchange)
    if found.status not in RUNNING:
        raise HttpError(
            409, f"Cannot kill container: {found.record.name}: the container is not running"
        )
    ending.kill(exchange.host, found.record.id, exchange.text("signal") or "KILL")
    exchange.done()


def remove(exchange: Exchange) -> None:
    found = container_of(exchange)
    if exchange.flag("link"):
        raise HttpError(400, "there are no links: containers find each other by name")
    if found.status in RUNNING and not exchange.flag("force"):
        raise HttpError(
            409,
            f'cannot remove container "/{found.record.name}": container is {found.status}: '
            "stop the container before removing or force remove",
        )
    ending.remove(
        exchange.host, found.record.id, force=exchange.flag("force"), volumes=exchange.flag("v")
    )
    exchange.done()


def pause(exchange: Exchange) -> None:
    from rootless.container.freezer import pause as stop_all

    stop_all(exchange.host, container_of(exchange).record.id)
    exchange.done()


def unpause(exchange: Exchange) -> None:
    from rootless.container.freezer import unpause as go_on

    go_on(exchange.host, container_of(exchange).record.id)
    exchange.done()


def rename(exchange: Exchange) -> None:
    from rootless.container.names import check_name
    from storage import event_log
    from storage.containers import rename_container

    found = container_of(exchange)
    name = check_name(exchange.text("name").removeprefix("/"))
    rename_container(exchange.host.layout, found.record.id, name, sync=True)
    if found.pid and found.record.networks:
        from rootless.container.networks_names import rename_endpoints

        rename_endpoints(exchange.host.layout, found.record, name)
    renamed = found.record._replace(name=name)
    event_log.container_event(exchange.host.layout.run_root, "rename", record=renamed)
    exchange.done()


def update(exchange: Exchange) -> None:
    from rootless.container.request import LIMITS
    from rootless.container.update import update as change
    from rootless.service.fields import Fields
    from rootless.service.limits import limits

    found, body = container_of(exchange), Fields(exchange.json())
    policy = body.part("RestartPolicy").text("Name")
    if policy and policy != (found.record.restart.partition(":")[0] or "no"):
        raise HttpError(501, "RestartPolicy: it belongs to the container from the start")
    changes = {key: value for key, value in limits(body).items() if key in LIMITS}
    if changes:
        change(exchange.host, found.record.id, changes)
    exchange.send({"Warnings": None})


def resize(exchange: Exchange) -> None:
    from rootless.container import frames
    from rootless.container.attach import connect

    rows, columns = exchange.size()
    found = container_of(exchange)
    if found.status not in RUNNING:
        raise HttpError(409, f"container {found.record.id} is not running")
    if found.record.tty:
        connection = connect(found)
        connection.sendall(frames.frame_resize(rows, columns))
        # Whoever hangs up at once may be taken for gone before what it said is read.
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_ANSWER_S)
        while connection.recv(1 << 16):
            continue
        connection.close()
    exchange.done(200)


def top(exchange: Exchange) -> None:
    from rootless.container.top import top as make_rows

    found = container_of(exchange)
    rows = make_rows(exchange.host, found.record.id, exchange.text("ps_args").split())
    exchange.send({"Titles": rows[0], "Processes": rows[1:]})


def prune(exchange: Exchange) -> None:
    from rootless.container.query import list_views
    from rootless.service.containers import filtered
    from storage.errors import ContainerNotFound

    host, pairs = exchange.host, exchange.filters()
    for key, _ in pairs:
        if key not in ("until", "label", "label!"):
            raise HttpError(400, f"invalid filter '{key}'")
    views = [
        view
        for view in list_views(host, all_states=True)
        if view.status not in RUNNING and not view.record.is_infra
    ]
    moments = [f"until={value}" for key, value in pairs if key == "until"]
    if moments:
        from rootless.container.query import filter_views

        views = filter_views(views, moments)
    gone = []
    for view in filtered(views, [pair for pair in pairs if pair[0] != "until"]):
        try:
            ending.remove(host, view.record.id, volumes=True)
        except ContainerNotFound:
            continue  # somebody else was faster
        gone.append(view.record.id)
    exchange.send({"ContainersDeleted": gone or None, "SpaceReclaimed": 0})
