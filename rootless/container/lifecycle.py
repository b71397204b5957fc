"""Start, stop, kill, remove, wait: what happens to a container after it was made.

The state is the kernel's (the monitor's lock, the first process): these functions look, signal,
and wait on a pidfd; nobody is asked to agree.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import select
import signal
import time
from typing import NamedTuple

from rootless.container.attach import AttachOptions, Session
from rootless.container.client import Client
from rootless.container.limits import parse_signal
from rootless.container.remove import remove_container
from rootless.container.request import ContainerRequest
from rootless.container.terminal import parse_detach_keys, size_of
from rootless.errors import ContainerStateError, HostError, UsageError
from rootless.host.paths import Host, boot_id
from rootless.linux.procfs import is_same_process
from storage.containers import ContainerRecord, ContainerView, MonitorLock, find_container, view
from storage.errors import InUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent

_POLL_S = 0.01


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
    if request.detach:
        _launch(host, made, AttachOptions(), attach=False)
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
) -> int:
    """Start a container that was made or has ended; a running one is left alone.

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
    return _launch(host, found, options, attach=attach)


def _launch(host: Host, found: ContainerView, options: AttachOptions, *, attach: bool) -> int:
    """Fork the monitor and be its first client."""
    from rootless.container.starting import StartOptions

    os.makedirs(found.paths.run_dir, mode=0o700, exist_ok=True)
    lock = MonitorLock.take(found.paths.lock)
    if lock is None:
        return _already_starting(found, attach=attach)
    start_options = StartOptions(
        attach=attach,
        console_size=size_of(1) if attach and options.terminal else (0, 0),
        boot_id=boot_id(),
    )
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        from rootless.container.monitor import run_monitor

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


def _wait_started(connection: _socket.socket) -> int:
    """Return once the command runs. Raises what kept it from running."""
    import json

    from rootless.container import frames
    from rootless.container.attach import revive

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


def kill_left_over(found: ContainerView) -> None:
    """End a first process whose monitor was killed after the process had changed its user."""
    state = found.state
    if found.status == "running" or not state.pid or state.boot_id != boot_id():
        return
    if is_same_process(state.pid, state.pid_start_time):
        try:
            os.kill(state.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def stop(host: Host, text: str, timeout_s: int | None = None) -> str:
    """Ask a container to end, and kill it after the grace time; -1 waits for ever.

    Returns its name. Raises ContainerNotFound. A container that does not run is left alone.
    """
    found = find_container(host.layout, text)
    if found.status != "running":
        kill_left_over(found)
        return found.record.name
    grace_s = found.record.stop_timeout_s if timeout_s is None else timeout_s
    if grace_s != 0:
        _signal(found, found.record.stop_signal)
        if _wait_ended(found, grace_s):
            return found.record.name
        host.note(
            f"stop signal {signal.Signals(found.record.stop_signal).name} did not end container"
            f" {found.record.name} in {grace_s} seconds: killing it"
        )
    _signal(found, signal.SIGKILL)
    _wait_ended(found, -1)
    return found.record.name


def kill(host: Host, text: str, signal_text: str = "KILL") -> str:
    """Send a signal to a running container. Raises ContainerNotFound, ContainerStateError."""
    number = parse_signal(signal_text)
    found = find_container(host.layout, text)
    if found.status != "running":
        raise ContainerStateError(
            f"can only kill running containers: {found.record.id} is {found.status}"
        )
    _signal(found, number)
    if number == signal.SIGKILL:
        _wait_ended(found, -1)
    return found.record.name


def _signal(found: ContainerView, number: int) -> None:
    """Signal the first process. The caller owns its user namespace, so every id may be reached."""
    if not is_same_process(found.state.pid, found.state.pid_start_time):
        return
    try:
        os.kill(found.state.pid, number)
    except ProcessLookupError:
        return


def _wait_ended(found: ContainerView, timeout_s: float) -> bool:
    """Wait until the container has ended and its monitor has written so."""
    deadline_s = time.monotonic() + timeout_s
    if is_same_process(found.state.pid, found.state.pid_start_time):
        try:
            pidfd = os.pidfd_open(found.state.pid)
        except ProcessLookupError:
            pidfd = -1
        if pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            try:
                if not poll.poll(None if timeout_s < 0 else timeout_s * 1000):
                    return False
            finally:
                os.close(pidfd)
    while MonitorLock.is_held(found.paths.lock):
        if 0 <= timeout_s < time.monotonic() - deadline_s + timeout_s - 5:
            return False
        time.sleep(_POLL_S)
    return True


def remove(
    host: Host,
    text: str,
    *,
    force: bool = False,
    volumes: bool = False,
    timeout_s: int | None = None,
) -> str:
    """Remove a container; a running one only with `force`, which stops it first.

    Its anonymous volumes stay unless `volumes` is set.

    Returns its name. Raises ContainerNotFound, InUse.
    """
    found = find_container(host.layout, text)
    if found.status == "running":
        if not force:
            raise InUse(
                f"cannot remove container {found.record.id} as it is running - running or paused"
                " containers cannot be removed without force",
                remedy=f"stop it first, or use rpod rm --force {found.record.name}",
            )
        _end_now(host, found, timeout_s)
    kill_left_over(found)
    remove_container(host, found.record, volumes=volumes)
    return found.record.name


def _end_now(host: Host, found: ContainerView, timeout_s: int | None) -> None:
    if timeout_s:
        stop(host, found.record.id, timeout_s)
        return
    _signal(found, signal.SIGKILL)
    _wait_ended(found, -1)


def wait(host: Host, text: str, condition: str = "stopped", interval_s: float = 0.25) -> int:
    """Wait until a container is stopped (exited), or running; return its exit code.

    Raises ContainerNotFound, UsageError.
    """
    if condition not in ("stopped", "exited", "running", "created", "removing"):
        raise UsageError(f'unknown condition "{condition}"', remedy="use stopped, exited, running")
    found = find_container(host.layout, text)
    if condition in ("running", "created"):
        while found.status != condition:
            time.sleep(interval_s)
            found = view(host.layout, found.record)
        return -1
    while found.status in ("running", "paused", "stopping", "created"):
        if found.status == "created":
            time.sleep(interval_s)
        else:
            _wait_ended(found, -1)
        if not os.path.exists(found.paths.record):
            return _code_of_removed(found)
        found = view(host.layout, found.record)
    return found.exit_code


def _code_of_removed(found: ContainerView) -> int:
    """A container with --rm has gone with its end; its exit code went to its client."""
    return found.exit_code


def top(host: Host, text: str, descriptors: list[str]) -> list[list[str]]:
    """Return the heading and one row for each process of a running container."""
    from rootless.container.top import top as make_rows

    return make_rows(host, text, descriptors)
