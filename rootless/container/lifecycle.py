"""Run and start: a container is made, its monitor told, the caller attached or let go."""

import os

from rootless.container.frames import StartOptions
from rootless.container.launch import MonitorProcess
from rootless.errors import ContainerStateError, UsageError
from storage.containers import ContainerRecord, ContainerView, find_container, view
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.attach import AttachOptions
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host
    from rootless.images import OnEvent


_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "FLUX_JOB_ID")


class RunResult(NamedTuple):
    """The id of the container, and its exit code (0 for a detached one)."""

    container_id: str
    exit_code: int


def run(host: "Host", request: "ContainerRequest", on_event: "OnEvent | None" = None) -> RunResult:
    """Make a container and start it; attached unless `request.detach`.

    Raises what `create` and `start_container` raise.
    """
    with MonitorProcess(
        host, attach=not request.detach, preserve_fds=request.preserve_fds
    ) as monitor:
        from rootless.container.create import create

        check_request(request)
        return run_created(host, create(host, request, on_event), request, monitor)


def check_request(request: "ContainerRequest") -> None:
    """Refuse what `run` could not do after the container has been made. Raises UsageError."""
    if request.attach and request.detach:
        raise UsageError("--attach and --detach do not go together", remedy="leave one out")
    if not request.detach:
        from rootless.container.terminal import parse_detach_keys

        parse_detach_keys(request.detach_keys)


def run_created(
    host: "Host", record: ContainerRecord, request: "ContainerRequest", monitor: MonitorProcess
) -> RunResult:
    """Start a container that `create` has just made, attached unless `request.detach`."""
    made = view(host.layout, record)
    start_required(host, record)
    if request.detach:
        _launch(host, monitor, made)
        _note_session(host)
        return RunResult(record.id, 0)
    from rootless.container.attach import AttachOptions
    from rootless.container.terminal import parse_detach_keys

    options = AttachOptions(
        stdin=_wants_stdin(request.interactive, request.attach)
        and request.log_driver != "passthrough",
        terminal=request.tty,
        sig_proxy=request.sig_proxy,
        detach_keys=parse_detach_keys(request.detach_keys),
        streams=request.attach,
    )
    return RunResult(record.id, _launch_attached(host, monitor, made, options))


def start(
    host: "Host",
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
    with MonitorProcess(host, attach=attach) as monitor:
        found = find_container(host.layout, text)
        if found.status == "running":
            return 0 if not attach else _refuse_attached(found)
        if found.state.pid and found.status != "initialized":
            from rootless.container.ending import kill_left_over

            kill_left_over(found)
        start_required(host, found.record)
        if not attach:
            return _launch(host, monitor, found, restart_count)
        from rootless.container.attach import AttachOptions
        from rootless.container.terminal import parse_detach_keys

        asked = found.record.request.get("attach", ())
        streams = tuple(map(str, asked)) if isinstance(asked, list | tuple) else ()
        options = AttachOptions(
            stdin=_wants_stdin(interactive and found.record.interactive, streams),
            terminal=found.record.tty,
            sig_proxy=sig_proxy,
            detach_keys=parse_detach_keys(detach_keys),
            streams=streams,
        )
        return _launch_attached(host, monitor, found, options)


def start_connected(host: "Host", text: str, console_size: tuple[int, int] = (0, 0)) -> int:
    """Start a container; return the connection of its first client, of which nothing is read yet.

    That is a descriptor for `rootless.container.frames`; -1 when the container runs already.
    `console_size` is rows and columns of its terminal.
    Raises ContainerNotFound and what keeps it from being started.
    """
    with MonitorProcess(host, attach=True) as monitor:
        found = find_container(host.layout, text)
        if found.status == "running":
            return -1
        if found.state.pid and found.status != "initialized":
            from rootless.container.ending import kill_left_over

            kill_left_over(found)
        start_required(host, found.record)
        connection = None
        if found.status != "initialized":
            options = StartOptions(attach=True, console_size=console_size)
            connection = monitor.launch(host, found, options)
        if connection is None:
            now = view(host.layout, found.record)
            if now.status != "initialized":
                return -1
            from rootless.container.prepared import let_run

            connection = let_run(now, attach=True)
        return os.dup(connection.fileno())


def restart(host: "Host", text: str, *, timeout_s: int | None = None) -> None:
    """Stop a container that runs, and start it. Raises what both raise."""
    from rootless.container.ending import stop
    from storage import event_log

    found = find_container(host.layout, text)
    if os.path.exists(found.paths.mounted):
        from rootless.container.mounted import refuse_mounted

        refuse_mounted(found)
    event_log.container_event(host.layout.run_root, "restart", record=found.record)
    stop(host, found.record.id, timeout_s=timeout_s)
    start(host, found.record.id)


def _wants_stdin(interactive: bool, streams: tuple[str, ...]) -> bool:
    return interactive and (not streams or "stdin" in streams)


def start_required(host: "Host", record: ContainerRecord) -> None:
    """Start what `--requires` names and what it shares namespaces with, with all those need.

    Raises what a start does.
    """
    required = record.request.get("requires")
    for name in required if isinstance(required, list | tuple) else ():
        start(host, str(name))
    if record.pod and not record.is_infra:
        from rootless.container.pods_create import find_or_make_infra
        from storage.pods import read_pod

        find_or_make_infra(host, read_pod(host.layout, record.pod))
    if record.joins:
        from rootless.container.joined import owners

        for name in owners(record.joins):
            start(host, name)


def _launch(
    host: "Host", monitor: MonitorProcess, found: ContainerView, restart_count: int = 0
) -> int:
    options = StartOptions(attach=False, restart_count=restart_count)
    if found.status == "initialized" or monitor.launch(host, found, options) is None:
        now = view(host.layout, found.record)
        if now.status == "initialized":
            from rootless.container.prepared import run_prepared

            run_prepared(host, now)
        return 0
    for text in monitor.wait_started():
        host.note(text)
    return 0


def _launch_attached(
    host: "Host", monitor: MonitorProcess, found: ContainerView, options: "AttachOptions"
) -> int:
    from rootless.container.attach import Session
    from rootless.container.terminal import size_of

    size = size_of(1) if options.terminal else (0, 0)
    connection = None
    if found.status != "initialized":
        connection = monitor.launch(host, found, StartOptions(attach=True, console_size=size))
    if connection is None:
        now = view(host.layout, found.record)
        if now.status != "initialized":
            return _refuse_attached(found)
        from rootless.container.prepared import let_run

        connection = let_run(now, attach=True)
    session = Session(connection, options)
    try:
        return session.run()
    finally:
        for text in session.notes:
            host.note(text)


def _note_session(host: "Host") -> None:
    """Say at once when a container in the background will not outlive the session."""
    is_job = any(name in host.environ for name in _JOB_VARIABLES)
    if not is_job and not os.path.isdir("/run/systemd/system"):
        return
    from rootless.host.session import session_note

    if "NOTIFY_SOCKET" not in host.environ and (
        text := session_note(host.uid, host.user_name, host.environ)
    ):
        host.note(text)


def _refuse_attached(found: ContainerView) -> int:
    raise ContainerStateError(
        f"start container {found.record.name}: it is already starting or running",
        remedy=f"rpod attach {found.record.name}",
    )


def top(host: "Host", text: str, descriptors: list[str]) -> list[list[str]]:
    """Return the heading and one row for each process of a running container."""
    from rootless.container.top import top as make_rows

    return make_rows(host, text, descriptors)
