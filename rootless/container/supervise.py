"""Body of the forked monitor: wait for a container, start it, then keep it.

It holds the lock in the run root for exactly as long as it lives, and the container dies with it.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import time

from rootless.container import frames
from rootless.container.client import Client
from rootless.container.frames import START_BYTES, StartOptions
from rootless.container.keeper import end_of_failed_start, hand_over, keep
from rootless.container.logfile import timestamp
from rootless.container.starting import start_container, state_of
from rootless.errors import words_of
from rootless.linux import signals as signal
from rootless.linux.syscalls import close_range
from storage import event_log
from storage import lightjson as json
from storage.containers import (
    ContainerState,
    ContainerView,
    MonitorLock,
    read_record,
    view,
    write_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.host.paths import Host


def run_monitor(host: "Host", end: _socket.socket, listen_fds: int) -> None:
    """Body of the forked monitor; reports to the client at the other end. Never returns."""
    code = 1
    try:
        _detach_from_caller({end.fileno(), *range(3, 3 + listen_fds)})
        _load_ahead(host)
        lock, words = _receive(end)
        if lock is not None:
            code = _start_and_keep(host, lock, words, Client(end))
    finally:
        os._exit(code)


def _load_ahead(host: "Host") -> None:
    """Import, while there is time, what most containers need later."""
    import slirp.hosts
    import slirp.resolv
    import slirp.settings
    import slirp.slirp4netns  # noqa: F401
    from rootless.container.own_cgroup import load_ahead
    from rootless.errors import RootlessError
    from rootless.sandbox import seccomp

    load_ahead(host)
    try:
        seccomp.default_filter(os.uname().machine, [])
    except RootlessError:
        return  # said when a container needs it


def _receive(end: _socket.socket) -> "tuple[MonitorLock | None, list[Any]]":
    """Wait for the container's lock and what `StartOptions` has; None when the client has gone."""
    size = _socket.CMSG_SPACE(4)
    data, rights, _, _ = end.recvmsg(START_BYTES, size, _socket.MSG_CMSG_CLOEXEC)
    if not data or not rights:
        return None, []
    return MonitorLock(int.from_bytes(rights[0][2][:4], "little")), json.loads(data)


def _start_and_keep(host: "Host", lock: MonitorLock, words: "list[Any]", first: Client) -> int:
    try:
        container_id, *values = words
        options = StartOptions(*values)
        made = view(host.layout, read_record(host.layout, container_id))
        return _monitor(host, made, options, lock, first)
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        first.queue(frames.frame_json(frames.FAILED, describe_error(error)))
        first.finish()
        return 1


def describe_error(error: BaseException) -> list[str]:
    """Return [module, class, message, remedy]; the client raises it again."""
    kind = type(error)
    message, remedy = words_of(error)
    if not hasattr(error, "message") and os.environ.get("RPOD_DEBUG"):
        import traceback

        message += "\n" + "".join(traceback.format_exception(error))
    return [kind.__module__, kind.__name__, message, remedy]


def _detach_from_caller(keep: set[int]) -> None:
    """Lead a session of its own, so that no terminal's signals reach the monitor.

    Descriptors that the caller inherited go: a pipe to a script must end when the command ends.
    """
    os.setsid()
    os.chdir("/")
    first = 3
    for fd in sorted(keep):
        if fd > first:
            close_range(first, fd - 1)
        first = fd + 1
    close_range(first)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def _monitor(
    host: "Host", made: ContainerView, options: StartOptions, lock: MonitorLock, first: Client
) -> int:
    started_at = timestamp(time.time_ns())
    held = None
    if options.hold:
        from rootless.container.held import Held

        held = Held(host, made, first)
    try:
        container = start_container(host, made, options, held)
    except BaseException as error:
        end_of_failed_start(host, made, ContainerState(started_at=started_at), error)
        raise
    if held is not None:
        options = options._replace(attach=held.attach)
        started_at = timestamp(time.time_ns())
    container.lock_fd = lock.fd
    write_state(made.paths, state_of(container, options, started_at), sync=False)
    steps = [*(["init"] if held is None else []), "start", *(["attach"] if options.attach else [])]
    event_log.container_event(host.layout.run_root, *steps, record=made.record)
    if "NOTIFY_SOCKET" in os.environ:
        from rootless.container.activation import tell_started

        mode = str(made.record.request.get("sdnotify", "container"))
        tell_started(mode, detached=not options.attach)
    started = {"pid": container.pid, "notes": container.notes}
    first.queue(frames.frame_json(frames.STARTED, started))
    if options.attach:
        keep(host, made, container, first)
        return 0
    first.finish()
    first.close()
    hand_over(host, made, container)
    keep(host, made, container, None)  # only where the interpreter cannot be started again
    return 0
