"""start, stop, restart, kill, pause, rename, update, resize, remove, prune of containers."""

from rootless.container import ending
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from rootless.service.naming import container_of

RUNNING = ("running", "paused", "stopping")


def start(exchange: Exchange) -> None:
    from rootless.service.starting import start_for_clients

    exchange.body.drain()
    found = container_of(exchange)
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
