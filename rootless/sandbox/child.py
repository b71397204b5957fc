"""The process that becomes a container: executes a plan, decides nothing.

It runs in the forked child after clone(2) into the new namespaces. It imports nothing, logs
nothing and takes no lock; a failure goes back as (step, path, errno), and it ends in os._exit.
"""

import os

from rootless.linux import signals as signal
from rootless.linux import syscalls as sc
from rootless.linux.userns import become_root
from rootless.sandbox import init
from rootless.sandbox.channel import Channel
from rootless.sandbox.drivers import MOUNTED_FROM_OUTSIDE
from rootless.sandbox.operations import Operation
from rootless.sandbox.process import (
    Process,
    enter_directory,
    execute,
    open_terminal,
    reset_signals,
    set_limits,
    show_console,
    take_identity,
    use_streams,
    use_terminal,
)
from rootless.sandbox.root import Root, enter, leave_host
from rootless.sandbox.targets import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.sandbox.holder import Holder

FIRST_FREE_FD = 3


class Plan:
    """All that the child does; made by `rootless.sandbox.plan`, printed by the debug log."""

    __slots__ = (
        "clone_flags",
        "console_size",
        "holder",
        "init",
        "keyring",
        "late_flags",
        "listen_fds",
        "operations",
        "owns_cgroup",
        "process",
        "root",
        "streams",
        "streams_are_callers",
    )

    def __init__(self, root: Root, operations: list[Operation], process: Process) -> None:
        self.root = root
        self.operations = operations
        self.process = process
        self.clone_flags = 0
        self.console_size = (0, 0)
        # Waits in the program's place (rootless.sandbox.holder).
        self.holder: Holder | None = None
        self.init = False
        self.keyring = ""
        self.late_flags = 0
        self.listen_fds = 0
        self.owns_cgroup = False
        self.streams = (0, 1, 2)
        self.streams_are_callers = False

    def describe(self) -> list[str]:
        """Return one line for each step, in the order of execution."""
        return [self.root.describe(), *(step.describe() for step in self.operations)]


def run(plan: Plan, channel: Channel) -> None:
    """Become the container. Never returns."""
    try:
        _build(plan, channel)
        _become(plan, channel)
    except StepError as error:
        _report(channel, error)
    except OSError as error:
        notes = getattr(error, "__notes__", [""])
        path = error.filename if isinstance(error.filename, str) else ""
        _report(channel, StepError(notes[0] or "set up the container", path, error.errno or 0))
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        _report(channel, StepError(f"set up the container: {type(error).__name__}: {error}", "", 0))
    finally:
        os._exit(1)


def _report(channel: Channel, error: StepError) -> None:
    try:
        channel.send_error(error)
    except OSError:
        return  # the monitor is gone; nobody is left to be told


def _build(plan: Plan, channel: Channel) -> None:
    """Mount everything, inside the new namespaces, and leave the host's root behind."""
    # The container dies with its monitor: without one nobody would keep its log and its end.
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    channel.expect(b"m")
    if plan.owns_cgroup:
        from rootless.sandbox.own_cgroup import give_to_root

        give_to_root()
    if plan.late_flags:
        # By now this process is in the cgroup that becomes the root of the namespace.
        sc.unshare(plan.late_flags)
    plan.root.open()
    for step in plan.operations:
        _try(step, step.open)
    become_root()
    # Changing the id may have cleared it (prctl(2)).
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0)
    if plan.root.driver in MOUNTED_FROM_OUTSIDE:
        channel.send(b"f")
        channel.expect(b"m")
    root_fd = plan.root.mount()
    host = enter(root_fd)
    for step in plan.operations:
        _try(step, step.execute)
    leave_host(host, root_fd)


def _try(step: Operation, part: object) -> None:
    """Run a part of a step so that a failure names the step."""
    try:
        part()  # type: ignore[operator]
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else ""
        raise StepError(step.describe(), path, error.errno or 0) from error


def _become(plan: Plan, channel: Channel) -> None:
    process = plan.process
    os.setsid()
    terminal = -1
    if process.terminal:
        master, terminal = open_terminal(*plan.console_size)
        show_console(master)
        channel.send(b"t", master)
        os.close(master)
    channel.send(b"r")
    channel.expect(b"x")
    if terminal >= 0:
        use_terminal(terminal, process.uid, process.gid)
    else:
        # Files of the caller keep their owner.
        owner = (0, 0) if plan.streams_are_callers else (process.uid, process.gid)
        use_streams(plan.streams, *owner)
    if plan.keyring:
        _new_keyring(plan.keyring)
    if plan.holder is not None:
        take_identity(process, channel)
        plan.holder.hold(channel)
    close_others(channel, plan.listen_fds)
    set_limits(process)
    reset_signals()
    if plan.init:
        init.run(process, channel)
    process.dies_with_parent = True
    take_identity(process, channel)
    enter_directory(process.cwd)
    execute(process)


def _new_keyring(name: str) -> None:
    """Leave the caller's session keyring: its keys are not the container's."""
    try:
        sc.join_session_keyring(name)
    except OSError:
        # EDQUOT, or a kernel without keys: the keyring is shared, and masked in /proc.
        return


def close_others(channel: Channel, kept: int) -> None:
    """Close all but the channel, and but `kept` sockets for the program from descriptor 3 on."""
    keep = channel.fileno()
    for fd in range(FIRST_FREE_FD, FIRST_FREE_FD + kept):
        os.set_inheritable(fd, True)
    first = FIRST_FREE_FD + kept
    sc.close_range(first, keep - 1) if keep > first else None
    sc.close_range(keep + 1)
