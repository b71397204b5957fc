"""POST /containers/{id}/wait: the head of the answer at once, its body at the end."""

import os
import select
import time

from rootless.container import ending
from rootless.linux.procfs import is_same_process
from rootless.service import meeting
from rootless.service.exchange import Exchange, Stream
from rootless.service.http import HttpError
from rootless.service.lifecycle import RUNNING
from rootless.service.naming import container_of
from storage.containers import ContainerView, MonitorLock, read_state, view

_CONDITIONS = ("not-running", "next-exit", "removed")
_POLL_S = 0.01


def wait(exchange: Exchange) -> None:
    condition = exchange.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise HttpError(400, f"invalid condition: {condition!r:.80}")
    found = container_of(exchange)
    exchange.body.drain()
    with (
        meeting.Listener(exchange.host, found.record.id, meeting.WAIT) as listener,
        exchange.stream("application/json") as stream,
    ):
        if condition != "not-running" and found.status not in RUNNING:
            found = _wait_for_start(exchange, found, listener)
        code = _wait_for_end(exchange, found, stream)
        while condition == "removed" and os.path.exists(found.paths.record):
            stream.check()
            time.sleep(_POLL_S)
        stream.write_json({"StatusCode": code, "Error": None})


def _wait_for_start(
    exchange: Exchange, found: ContainerView, listener: meeting.Listener
) -> ContainerView:
    """Return the container of its next run, or as it was when it is removed."""
    before = found.state.started_at
    while os.path.exists(found.paths.record):
        state = read_state(found.paths)
        if state.started_at and state.started_at != before:
            return view(exchange.host.layout, found.record)
        received = listener.hear(exchange.connection)
        if received is not None:
            received.close()
    return found


def _wait_for_end(exchange: Exchange, found: ContainerView, stream: Stream) -> int:
    """Return the exit code, once the container does not run. Raises ClientGone."""
    if found.status in RUNNING and is_same_process(found.state.pid, found.state.pid_start_time):
        try:
            pidfd = os.pidfd_open(found.state.pid)
        except ProcessLookupError:
            pidfd = -1
        if pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(exchange.connection, 0)
            try:
                while pidfd not in dict(poll.poll()):
                    stream.check()
            finally:
                os.close(pidfd)
    while found.status in RUNNING and MonitorLock.is_held(found.paths.lock):
        if read_state(found.paths).started_at != found.state.started_at:
            break  # its restart policy was faster
        stream.check()
        time.sleep(_POLL_S)
    if not os.path.exists(found.paths.record):
        return ending.code_of_removed(exchange.host, found)
    return view(exchange.host.layout, found.record).exit_code
