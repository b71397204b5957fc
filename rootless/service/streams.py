"""logs, attach: what containers write, as it comes."""

import socket
import time

from rootless.container.attach import AttachOptions, Session, connect
from rootless.container.logs import write_logs
from rootless.container.terminal import parse_detach_keys
from rootless.service import meeting
from rootless.service.exchange import MULTIPLEXED, RAW, Exchange
from rootless.service.http import HttpError
from rootless.service.lifecycle import RUNNING
from rootless.service.naming import container_of
from rootless.service.relay import Child, Relay
from storage import event_log
from storage.containers import ContainerView, view

_MULTIPLEXED_SINCE = (1, 42)


def stream_kind(exchange: Exchange, *, is_raw: bool) -> str:
    """Return the media type of a stream; older clients know one for both."""
    return RAW if is_raw or exchange.version < _MULTIPLEXED_SINCE else MULTIPLEXED


def moment(exchange: Exchange, key: str) -> float | None:
    """Return a parameter that is a time, in seconds since 1970. Raises HttpError."""
    from rootless.container.moments import parse_moment

    text = exchange.text(key)
    if text in ("", "0"):
        return None
    found = parse_moment(text, time.time())
    if found is None:
        raise HttpError(400, f"{key}={text!r:.80} is no time")
    return found


def logs(exchange: Exchange) -> None:
    found = container_of(exchange)
    wanted = tuple(n for n, key in ((1, "stdout"), (2, "stderr")) if exchange.flag(key))
    if not wanted:
        raise HttpError(400, "you must choose at least one stream")
    tail = exchange.text("tail", "all")
    if tail not in ("all", "") and not tail.removeprefix("-").isdecimal():
        tail = "all"  # as docker does
    number = int(tail) if tail not in ("all", "") else -1
    since, until = moment(exchange, "since"), moment(exchange, "until")
    if found.record.log_driver in ("none", "passthrough"):
        raise HttpError(
            501, "configured logging driver does not support reading: the container has no log"
        )
    follow = exchange.flag("follow") and found.status in RUNNING
    timestamps = exchange.flag("timestamps")

    def work() -> int:
        write_logs(
            exchange.host,
            (found.record.id,),
            follow=follow,
            tail=number if number >= 0 else None,
            since=since,
            until=until,
            timestamps=timestamps,
        )
        return 0

    is_raw = found.record.tty
    child = Child(work, stdin=False, close=(exchange.connection.fileno(),))
    with exchange.stream(stream_kind(exchange, is_raw=is_raw)) as stream:
        relay = Relay(exchange.connection, child, is_raw=is_raw, streams=wanted, write=stream.write)
        relay.run()


def attach(exchange: Exchange) -> None:
    found = container_of(exchange)
    keys = parse_detach_keys(exchange.text("detachKeys") or exchange.host.config.detach_keys)
    names = [name for name in ("stdin", "stdout", "stderr") if exchange.flag(name)]
    follows = exchange.flag("stream")
    if found.status == "paused" and follows:
        raise HttpError(409, f"container {found.record.id} is paused, unpause the container first")
    record = found.record
    options = AttachOptions(
        stdin="stdin" in names and record.interactive and follows,
        terminal=record.tty,
        sig_proxy=False,
        detach_keys=keys,
        streams=tuple(names),
    )
    shows_logs = exchange.flag("logs") and record.log_driver not in ("none", "passthrough")
    if not follows or found.status in RUNNING:
        connection = None
        if follows:
            connection = socket.socket(fileno=connect(found).detach())
            event_log.container_event(exchange.host.layout.run_root, "attach", record=record)
        first = exchange.hijack(stream_kind(exchange, is_raw=record.tty))
    else:
        # Answered when the socket is there: the client starts the container after that.
        with meeting.Listener(exchange.host, record.id, meeting.ATTACH) as listener:
            first = exchange.hijack(stream_kind(exchange, is_raw=record.tty))
            connection = _wait_for_start(exchange, found, listener)
            if connection is None:
                return

    def work() -> int:
        if shows_logs:
            write_logs(exchange.host, (record.id,))
        return Session(connection, options).run() if connection is not None else 0

    child = Child(work, stdin=options.stdin, close=(exchange.connection.fileno(),))
    if connection is not None:
        connection.close()
    wanted = tuple(number for number, name in ((1, "stdout"), (2, "stderr")) if name in names)
    relay = Relay(exchange.connection, child, first=first, is_raw=record.tty, streams=wanted)
    relay.run()


def _wait_for_start(
    exchange: Exchange, found: ContainerView, listener: meeting.Listener
) -> "socket.socket | None":
    """Return the connection of the container's first client; None when it was removed.

    Who started it otherwise than through the service has that connection: then it is another one.
    """
    from rootless.errors import ContainerStateError

    before = found.state.started_at
    while True:
        received = listener.hear(exchange.connection)
        if received is not None:
            return received
        try:
            now = view(exchange.host.layout, found.record)
            if now.status in RUNNING:
                return socket.socket(fileno=connect(now).detach())
        except ContainerStateError:
            continue  # it has just begun, or ended
        import os

        if not os.path.exists(found.paths.record) or (
            now.status == "exited" and now.state.started_at != before
        ):
            return None
