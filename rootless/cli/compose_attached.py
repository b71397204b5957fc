"""`compose up` without --detach: show what the services write until they end.

The first SIGINT or SIGTERM stops the services, a second one kills them.
"""

import os
import sys
import time

from rootless.cli.compose_session import Session
from rootless.compose import converge, teardown
from rootless.compose.follow import Follower, Looks
from rootless.compose.identity import Member, members
from rootless.container import ending
from rootless.container.logfile import timestamp
from rootless.container.logs import LogOptions
from rootless.errors import ContainerStateError
from rootless.linux import signals as signal
from storage.errors import ContainerNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.converge import UpOptions
    from rootless.compose.project import Project

_POLL_S = 0.02
_INTERRUPTED = 130


def run_attached(
    session: Session, project: "Project", options: "UpOptions", recreated: list[str]
) -> int:
    """Start the services, show their output, and return the exit code of `up`."""
    begin_ns = time.time_ns()
    shown = _shown_services(session, project)
    invocation = session.invocation
    log_options = LogOptions(
        follow=True, since=timestamp(begin_ns), timestamps=invocation.flag("timestamps")
    )
    looks = Looks(
        prefix=not invocation.flag("no_log_prefix"),
        coloured=session.coloured and not invocation.flag("no_color"),
    )
    watched = set(project.services)
    follower = Follower(
        session.host, project.name, log_options, looks, lambda one: one.service in shown
    )
    names = [one.name for one in members(session.host, project.name) if one.service in shown]
    sys.stderr.write(f"Attaching to {', '.join(follower.short(name) for name in names)}\n")
    sys.stderr.flush()
    with _Stopping(session, project, watched) as stopping:
        starter = _in_child(
            session, lambda: converge.start_all(
                session.host, project, options, session.tell, recreated=recreated
            )
        )  # fmt: skip
        return _Watch(session, project, follower, stopping, starter).run()


def _in_child(session: Session, work: object) -> int:
    """Do something in a child that shows its errors itself; return its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        work()  # type: ignore[operator]  # a function without arguments
        code = 0
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        from rootless.cli.reporting import report

        report(error)
    finally:
        for note in session.host.notes:
            sys.stderr.write(f"Note: {note}\n")
        sys.stderr.flush()
        os._exit(code)


def _shown_services(session: Session, project: "Project") -> set[str]:
    """Return the services whose output is shown."""
    invocation = session.invocation
    targets = invocation.texts("names")
    chosen = invocation.texts("attach")
    for name in (*chosen, *invocation.texts("no_attach")):
        if name not in project.every():
            from rootless.compose.errors import ComposeError

            raise ComposeError(f"no such service: {name}")
    if chosen:
        shown = set(chosen)
    elif targets and not invocation.flag("attach_dependencies"):
        shown = set(targets)
    else:
        shown = set(project.services)
    shown -= {name for name, one in project.services.items() if not one.flag("attach", default=True)
              and name not in chosen}  # fmt: skip
    return shown - set(invocation.texts("no_attach"))


class _Stopping:
    """Stops the services when a signal says so, in a child, while their output is shown."""

    def __init__(self, session: Session, project: "Project", watched: set[str]) -> None:
        self._session = session
        self._project = project
        self._watched = watched
        self._asked = 0
        self._stopper = 0
        self._killed = False
        self.is_interrupted = False

    def __enter__(self) -> "_Stopping":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *unused: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def _ask(self, number: int, frame: object) -> None:
        self._asked += 1

    def obey(self) -> bool:
        """Do what signals have asked for since the last call; true when they ask to stop."""
        if self._asked and not self.is_interrupted:
            self.is_interrupted = True
            sys.stderr.write("Gracefully Stopping... press Ctrl+C again to force\n")
            self.stop()
        if self._asked > 1 and not self._killed:
            self._killed = True
            for one in self._running():
                try:
                    ending.kill(self._session.host, one.id)
                except (ContainerNotFound, ContainerStateError):
                    continue
        return self.is_interrupted

    def stop(self) -> None:
        """Stop the services, once."""
        if self._stopper:
            return
        session = self._session
        self._stopper = _in_child(
            session,
            lambda: teardown.stop(
                session.host,
                self._running(),
                session.timeout_s(),
                session.tell,
                session.at_once,
                self._project,
            ),
        )

    def _running(self) -> list[Member]:
        found = members(self._session.host, self._project.name)
        return [one for one in found if one.service in self._watched and one.is_running]

    @property
    def is_stopping(self) -> bool:
        return bool(self._stopper)

    def has_stopped(self) -> bool:
        """Whether the child that stops the services has ended."""
        if self._stopper <= 0:
            return True
        pid, _ = os.waitpid(self._stopper, os.WNOHANG)
        if pid:
            self._stopper = -1
        return bool(pid)


class _Watch:
    """The loop: output, ends, signals."""

    def __init__(
        self,
        session: Session,
        project: "Project",
        follower: Follower,
        stopping: _Stopping,
        starter: int,
    ) -> None:
        invocation = session.invocation
        self._host = session.host
        self._project = project
        self._follower = follower
        self._stopping = stopping
        self._starter = starter
        self._from_service = invocation.text("exit_code_from")
        self._abort = bool(invocation.flag("abort_on_container_exit") or self._from_service)
        self._abort_on_failure = invocation.flag("abort_on_container_failure")
        self._starts: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._code = 0
        self._has_code = False

    def run(self) -> int:
        while True:
            self._stopping.obey()
            moved = self._follower.copy()
            if self._follower.broken:
                self._stopping.stop()
            if self._follower.is_due():
                self._follower.look()
                if not self._look():
                    break
            if not moved:
                time.sleep(_POLL_S)
        self._follower.copy()
        if self._stopping.is_interrupted:
            return 0
        return self._code

    def _look(self) -> bool:
        """Tell of containers that have ended; false when nothing is left to wait for."""
        if self._starter:
            pid, status = os.waitpid(self._starter, os.WNOHANG)
            if pid:
                self._starter = 0
                if os.waitstatus_to_exitcode(status) and not self._stopping.is_interrupted:
                    self._code, self._has_code = self._code or 1, True
                    self._stopping.stop()
            elif self._stopping.is_stopping:
                os.kill(self._starter, signal.SIGTERM)
        running = False
        for one in members(self._host, self._project.name):
            if one.service not in self._project.services:
                continue
            if one.is_running:
                running = True
            elif one.view.status == "exited":
                self._ended(one)
        return bool(running or self._starter or not self._stopping.has_stopped())

    def _ended(self, one: Member) -> None:
        key = (one.id, one.view.state.started_at)
        is_old = one.view.state.finished_at < self._follower.since
        if key in self._told or is_old:
            return
        self._told.add(key)
        self._follower.copy_one(one.id)
        if self._follower.shows(one):
            name = self._follower.short(one.name)
            sys.stdout.write(f"{name} exited with code {one.view.exit_code}\n")
            sys.stdout.flush()
        wants = self._abort or (self._abort_on_failure and one.view.exit_code)
        if not wants:
            return
        if not self._has_code and self._from_service in ("", one.service):
            self._code, self._has_code = one.view.exit_code, True
        if not self._stopping.is_stopping:
            sys.stderr.write("Aborting on container exit...\n")
            self._stopping.stop()
