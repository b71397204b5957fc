"""Body of the forked monitor: start the container, then keep it.

It is a fork of the command that started the container, so what it needs is already in memory. It
holds the lock in the run root for exactly as long as it lives, and the container dies with it.
"""

import os
import time

from rootless.container import frames
from rootless.container.client import Client
from rootless.container.keeper import end_of_failed_start, hand_over, keep
from rootless.container.logfile import timestamp
from rootless.container.starting import start_container
from rootless.linux import signals as signal
from rootless.linux.syscalls import close_range
from storage import event_log
from storage.containers import ContainerState, ContainerView, MonitorLock, write_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.starting import StartOptions
    from rootless.host.paths import Host


def run_monitor(
    host: "Host", view: ContainerView, options: "StartOptions", lock: MonitorLock, first: Client
) -> None:
    """Body of the forked monitor; reports to `first`. Never returns."""
    code = 1
    try:
        _detach_from_caller({first.fileno(), lock.fd, *range(3, 3 + options.listen_fds)})
        code = _monitor(host, view, options, lock, first)
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        first.queue(frames.frame_json(frames.FAILED, describe_error(error)))
        first.finish()
    finally:
        os._exit(code)


def describe_error(error: BaseException) -> list[str]:
    """Return [module, class, message, remedy]; the client raises it again."""
    kind = type(error)
    message = getattr(error, "message", None) or f"{kind.__name__}: {error}"
    if not hasattr(error, "message") and os.environ.get("RPOD_DEBUG"):
        import traceback

        message += "\n" + "".join(traceback.format_exception(error))
    return [kind.__module__, kind.__name__, message, getattr(error, "remedy", "")]


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
    host: "Host", view: ContainerView, options: "StartOptions", lock: MonitorLock, first: Client
) -> int:
    started_at = timestamp(time.time_ns())
    try:
        container = start_container(host, view, options)
    except BaseException as error:
        end_of_failed_start(host, view, ContainerState(started_at=started_at), error)
        raise
    container.lock_fd = lock.fd
    state = ContainerState(
        started_at=started_at,
        pid=container.pid,
        pid_start_time=container.start_time,
        monitor_pid=os.getpid(),
        boot_id=options.boot_id,
        ports=tuple(container.ports),
        cgroup=container.cgroup,
        restart_count=options.restart_count,
    )
    write_state(view.paths, state, sync=False)
    event_log.container_event(host.layout.run_root, "start", view.record)
    if "NOTIFY_SOCKET" in os.environ:
        from rootless.container.activation import tell_started

        mode = str(view.record.request.get("sdnotify", "container"))
        tell_started(mode, detached=not options.attach)
    first.queue(frames.frame_json(frames.STARTED, {"pid": container.pid}))
    if options.attach:
        keep(host, view, container, first)
        return 0
    first.finish()
    first.close()
    hand_over(host, view, container)
    keep(host, view, container, None)  # only where the interpreter cannot be started again
    return 0
