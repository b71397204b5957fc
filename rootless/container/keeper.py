"""Keep a running container until it ends, then write its end or remove it.

A monitor is a fork of a command, and has all of the command's memory. A detached container may
live for months, so its monitor starts the interpreter once more, on this module: the same process
(the container's parent, the lock's holder) with 2.5 MiB less. Nobody waits for that.
"""

import os
import sys
import time

from rootless.container.client import Client
from rootless.container.logfile import LogWriter, timestamp
from rootless.container.monitor import Monitor
from rootless.container.running import Container
from rootless.linux import signals as signal
from rootless.linux.footprint import release_start_memory
from storage import event_log
from storage.containers import (
    KILLED,
    ContainerRecord,
    ContainerState,
    ContainerView,
    read_record,
    read_state,
    record_from_json,
    write_state,
)
from storage.errors import StorageError
from storage.files import read_file
from storage.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.monitor import Log
    from rootless.host.paths import Host

_EXIT_CODE_S = 300
# What health checks need, and who is told that the container is healthy.
_KEPT = ("HOME", "PATH", "NOTIFY_SOCKET")
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split(':');"
    "from rootless.container.keeper import main; main(sys.argv[2])"
)


def keep(
    host: "Host | None", view: ContainerView, container: Container, first: Client | None
) -> None:
    """Serve the container to its end; `host` is looked up again when it is None."""
    record, paths = view.record, view.paths
    log = _open_log(view)
    monitor = Monitor(container, log, (record.stop_signal, record.stop_timeout_s))
    monitor.traffic_path = paths.traffic
    if record.health is not None:
        from rootless.container.health_timer import HealthTimer

        monitor.timer = HealthTimer(monitor, view)
    if first is not None:
        monitor.add_client(first)
    _serve_network(monitor, view)
    if host is None:
        release_start_memory()
    status = monitor.serve()
    code = status if status >= 0 else 128 - status
    _end_the_rest(container)
    run_root = os.path.dirname(os.path.dirname(paths.run_dir))
    record = _renamed(view)
    event_log.container_event(run_root, "died", record=record, ContainerExitCode=code)
    state = read_state(paths)
    state = state._replace(stopped_by_user=os.path.exists(paths.stopped))
    if state.cgroup:
        from rootless.container.cgroup_use import leave

        state = state._replace(oom_killed=leave(state.cgroup, record))
        if state.oom_killed:
            event_log.container_event(run_root, "oom", record=record)
    try:
        if record.auto_remove:
            _leave_exit_code(view, code)
            _remove(host, view)
        else:
            _write_end(view, state, code, monitor.log_error)
            _remove_run_files(paths.run_dir)
            event_log.container_event(run_root, "cleanup", record=record)
    finally:
        # The container is over, so it may be started again: a client that reads slowly, or not at
        # all, must not stand in the way. Whatever became of the record, the clients are told how
        # the command ended; the next command that looks removes what is left.
        container.release_lock()
        _pursue_policies(view._replace(record=record), code, asked_to_stop=monitor.asked_to_stop)
        monitor.finish(code)


def _renamed(view: ContainerView) -> ContainerRecord:
    """Return the record with the name and the restart policy that the container has now."""
    from storage import lightjson as json

    path = view.paths.record
    try:
        now = record_from_json(json.loads(read_file(path)), path)
    except (OSError, ValueError, StorageError):
        return view.record  # it is being removed, or was damaged
    return view.record._replace(name=now.name, restart=now.restart)


def _serve_network(monitor: Monitor, view: ContainerView) -> None:
    """Forward published ports, and keep the container's resolv.conf in step with the host's."""
    if monitor.container.published is not None:
        _unlink(view.paths.traffic)  # of a start whose monitor was killed
        monitor.container.published.start(monitor)
    if monitor.container.network_pidfd >= 0:
        monitor.watch(
            monitor.container.network_pidfd, lambda _, event: _way_out_ended(monitor, view)
        )
    monitor.on_publish = lambda payload: _publish(monitor, view, payload)
    if monitor.container.resolv and view.record.network != "none":
        from rootless.container.resolv_follow import ResolvFollower

        monitor.resolv = ResolvFollower(monitor, view)


def _way_out_ended(monitor: Monitor, view: ContainerView) -> None:
    """slirp4netns or pasta was killed: what starts it again is loaded now."""
    from rootless.container.way_out import WayOut

    WayOut(monitor, view).ended()


def _open_log(view: ContainerView) -> "Log | None":
    record, options = view.record, view.record.log_options
    if record.log_driver in ("none", "passthrough"):
        return None
    if record.log_driver == "journald":
        from rootless.container.journal import JournalLog

        return JournalLog(record)
    path = options.get("path") or view.paths.log
    if options.get("max_size", "0") == "0":
        return LogWriter(path)
    from rootless.container.logrotate import RotatingLog

    return RotatingLog(path, int(options["max_size"]), int(options.get("max_file", "1")))


def _end_the_rest(container: Container) -> None:
    """End what has run for or in the container besides its command."""
    if container.mounts:
        from rootless.container.orphans import end_orphans

        end_orphans(container.mounts)
    container.end_network()


def _pursue_policies(view: ContainerView, code: int, *, asked_to_stop: bool) -> None:
    if view.record.restart and not asked_to_stop:
        from rootless.container.restart import pursue

        pursue(view, code)
    if view.record.pod and not view.record.is_infra:
        from rootless.container.pods_end import after_member

        after_member(view, code)


def _publish(monitor: Monitor, view: ContainerView, payload: bytes) -> bytes:
    from rootless.container.published_changes import handler

    published = monitor.container.published
    before = [mapping.to_json() for mapping, _ in published.ports] if published else []

    def save(ports: list[dict[str, object]]) -> None:
        state = read_state(view.paths)
        # Those that slirp4netns forwards itself stay.
        others = [entry for entry in state.ports if entry not in before]
        write_state(view.paths, state._replace(ports=(*others, *ports)), sync=False)

    return handler(monitor, view.record.network, save)(payload)


def hand_over(host: "Host", view: ContainerView, container: Container) -> None:
    """Become a bare interpreter that keeps the container; returns only when that is impossible."""
    from storage import lightjson as json

    search_path = ":".join(path for path in sys.path if path)
    words = {
        "store": host.layout.store,
        "run_root": host.layout.run_root,
        "id": view.record.id,
        "container": container.give(),
    }
    program = [sys.executable, "-I", "-S", "-c", _BOOT, search_path, json.dumps(words)]
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the next program takes it
    try:
        os.execve(program[0], program, environment)
    except OSError:
        return  # the interpreter was removed: this one goes on


def main(text: str) -> None:
    """Go on where `hand_over` was. Never returns."""
    code = 1
    try:
        from storage import lightjson as json

        words = json.loads(text)
        layout = Layout(words["store"], words["run_root"])
        container = Container.take(words["container"])
        # Nobody here asks again for the ports, of which there may be thousands.
        record = read_record(layout, words["id"])._replace(ports=())
        paths = layout.container(record.id)
        state = read_state(paths)._replace(ports=())
        del words, text
        sys.argv, sys.orig_argv = [], []
        keep(None, ContainerView(record, state, "running", paths), container, None)
        code = 0
    finally:
        os._exit(code)


def _leave_exit_code(view: ContainerView, code: int) -> None:
    """Keep the exit code for those who wait; it is of no use to anybody after some minutes."""
    directory = f"{os.path.dirname(os.path.dirname(view.paths.run_dir))}/exits"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with os.scandir(directory) as entries:
            for entry in entries:
                if time.time() - entry.stat().st_mtime > _EXIT_CODE_S:
                    os.unlink(entry.path)
        with open(f"{directory}/{view.record.id}", "w", encoding="ascii") as file:
            file.write(str(code))
    except OSError:
        return  # a full disk: who waits learns that it has ended


def _remove(host: "Host | None", view: ContainerView) -> None:
    from rootless.container.remove import remove_after_end

    if host is None:
        from rootless.host.paths import open_host

        # <store>/containers/<id> and <run root>/containers/<id>
        store = os.path.dirname(os.path.dirname(view.paths.directory))
        run_root = os.path.dirname(os.path.dirname(view.paths.run_dir))
        host = open_host(store, run_root)
    remove_after_end(host, view.record)


def end_of_failed_start(
    host: "Host", view: ContainerView, state: ContainerState, error: BaseException
) -> None:
    """Write why the container never ran, or remove it."""
    if view.record.auto_remove:
        _remove(host, view)
        return
    code = int(getattr(error, "exit_code", KILLED))
    _write_end(view, state, code, str(error))


def _write_end(view: ContainerView, state: ContainerState, code: int, text: str) -> None:
    end = state._replace(exit_code=code, finished_at=timestamp(time.time_ns()), error=text)
    write_state(view.paths, end, sync=True)


def _remove_run_files(run_dir: str) -> None:
    """Leave the lock: whoever asks for it must find the same file until the monitor is gone."""
    for name in ("attach.sock", "emulation.sock", "network.sock", "traffic"):
        _unlink(f"{run_dir}/{name}")


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
