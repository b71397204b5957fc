"""Run and start: a container is made, its monitor forked, the caller attached or let go."""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import time

from rootless.container.attach import AttachOptions, Session
from rootless.container.client import Client
from rootless.container.ending import (
    forget_stop,
    kill,
    kill_left_over,
    remove,
    stop,
    wait,
    wait_for_any,
)
from rootless.container.request import ContainerRequest
from rootless.container.terminal import parse_detach_keys, size_of
from rootless.errors import ContainerStateError, HostError
from rootless.host.paths import Host, boot_id
from storage.containers import ContainerRecord, ContainerView, MonitorLock, find_container, view
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent

__all__ = ["kill", "remove", "run", "run_created", "start", "stop", "top", "wait", "wait_for_any"]


_POLL_S = 0.01
_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "FLUX_JOB_ID")


class RunResult(NamedTuple):
    """The id of the container, and its exit code (0 for a detached one)."""

    container_id: str
    exit_code: int


def run(host: Host, request: ContainerRequest, on_event: "OnEvent | None" = None) -> RunResult:
    """Make a container and start it; attached unless `request.detach`.

    Raises what `create` and `start_container` raise.
    """
    # stop, rm and wait do without the modules that make and start containers.
    from rootless.container.create import create

    parse_detach_keys(request.detach_keys)
    return run_created(host, create(host, request, on_event), request)


def run_created(host: Host, record: ContainerRecord, request: ContainerRequest) -> RunResult:
    """Start a container that `create` has just made, attached unless `request.detach`."""
    keys = parse_detach_keys(request.detach_keys)
    made = view(host.layout, record)
    _start_required(host, record)
    if request.detach:
        _launch(host, made, AttachOptions(), attach=False)
        _note_session(host)
        return RunResult(record.id, 0)
    options = AttachOptions(
        stdin=request.interactive,
        terminal=request.tty,
        sig_proxy=request.sig_proxy,
        detach_keys=keys,
    )
    return RunResult(record.id, _launch(host, made, options, attach=True))


def start(
    host: Host,
    text: str,
    *,
    attach: bool = False,
    interactive: bool = False,
    sig_proxy: bool = True,
    detach_keys: str = "ctrl-p,ctrl-q",
    restart_count: int = 0,
) -> int:
    """Start a container that was made or has ended; a running one is left alone.

    `restart_count` says how often its restart policy has started it since the user did.
    Returns its exit code when attached, else 0. Raises ContainerNotFound and what a start raises.
    """
    keys = parse_detach_keys(detach_keys)
    found = find_container(host.layout, text)
    if found.status == "running":
        if not attach:
            return 0
        raise ContainerStateError(
            f"start container {found.record.name}: it is already running",
            remedy=f"rpod attach {found.record.name}",
        )
    kill_left_over(found)
    options = AttachOptions(
        stdin=interactive and found.record.interactive,
        terminal=found.record.tty,
        sig_proxy=sig_proxy,
        detach_keys=keys,
    )
    _start_required(host, found.record)
    return _launch(host, found, options, attach=attach, restart_count=restart_count)


def _start_required(host: Host, record: ContainerRecord) -> None:
    """Start what `--requires` names, first of all what those require. Raises what a start does."""
    required = record.request.get("requires")
    for name in required if isinstance(required, list | tuple) else ():
        start(host, str(name))


def _launch(
    host: Host,
    found: ContainerView,
    options: AttachOptions,
    *,
    attach: bool,
    restart_count: int = 0,
) -> int:
    """Fork the monitor and be its first client."""
    from rootless.container.starting import StartOptions

    os.makedirs(found.paths.run_dir, mode=0o700, exist_ok=True)
    lock = _take_lock(host, found)
    if lock is None:
        return _already_starting(found, attach=attach)
    start_options = StartOptions(
        attach=attach,
        console_size=size_of(1) if attach and options.terminal else (0, 0),
        boot_id=boot_id(),
        restart_count=restart_count,
        listen_fds=_listen_fds(host),
    )
    forget_stop(found)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        from rootless.container.supervise import run_monitor

        ours.close()
        if not attach and os.fork():
            os._exit(0)  # the monitor of a detached container is nobody's child
        run_monitor(host, found, start_options, lock, Client(theirs))
    theirs.close()
    os.close(lock.fd)
    try:
        if attach:
            return Session(ours, options).run()
        os.waitpid(pid, 0)
        return _wait_started(ours)
    finally:
        ours.close()


def _listen_fds(host: Host) -> int:
    """Return how many sockets systemd has opened for this command."""
    if "LISTEN_FDS" not in host.environ:
        return 0
    from rootless.container.activation import listen_fds

    return listen_fds(host.environ, os.getpid())


def _note_session(host: Host) -> None:
    """Say at once when a container in the background will not outlive the session."""
    is_job = any(name in host.environ for name in _JOB_VARIABLES)
    if not is_job and not os.path.isdir("/run/systemd/system"):
        return
    from rootless.host.session import session_note

    if "NOTIFY_SOCKET" not in host.environ and (
        text := session_note(host.uid, host.user_name, host.environ)
    ):
        host.note(text)


def _take_lock(host: Host, found: ContainerView) -> MonitorLock | None:
    """Take the monitor's lock; None when somebody else has started the container.

    `cp` and `export` hold it while they have the root of a stopped container mounted.
    """
    while (lock := MonitorLock.take(found.paths.lock)) is None:
        now = view(host.layout, found.record)
        if now.status == "running" or now.state.started_at != found.state.started_at:
            return None
        time.sleep(_POLL_S)
    return lock


def _wait_started(connection: _socket.socket) -> int:
    """Return once the command runs. Raises what kept it from running."""
    from rootless.container import frames
    from rootless.container.attach import revive
    from storage import lightjson as json

    reader = frames.Reader()
    while data := connection.recv(1 << 16):
        for kind, payload in reader.feed(data):
            if kind == frames.STARTED:
                return 0
            if kind == frames.FAILED:
                raise revive(json.loads(payload))
    raise HostError("start the container: its monitor was killed")


def _already_starting(found: ContainerView, *, attach: bool) -> int:
    if attach:
        raise ContainerStateError(
            f"start container {found.record.name}: it is already starting or running",
            remedy=f"rpod attach {found.record.name}",
        )
    return 0


def top(host: Host, text: str, descriptors: list[str]) -> list[list[str]]:
    """Return the heading and one row for each process of a running container."""
    from rootless.container.top import top as make_rows

    return make_rows(host, text, descriptors)
