"""`--debug-on-failure`: a shell on the terminal in what a failing step has left."""

import os
import select
import signal
import sys

from rootless.build import sandbox
from rootless.container.starting import bring_up, clone_child, let_run
from rootless.container.terminal import RawTerminal, size_of
from rootless.linux.terminal import set_window_size
from storage.remove import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_CHUNK_BYTES = 1 << 16


def run_shell(host: "Host", directory: str, command: sandbox.Command, shell: str) -> None:
    """Run a shell with the mounts, user and variables of the step, until it ends.

    Raises SandboxError and its kinds.
    """
    # The files of the first execution: they are made again.
    remove_tree(f"{directory}/etc")
    os.mkdir(f"{directory}/etc", 0o711)
    command = command._replace(
        arguments=(shell,),
        environment={**command.environment, "TERM": os.environ.get("TERM", "xterm")},
        request=command.request._replace(tty=True, interactive=True),
    )
    view, plan, _ = sandbox.prepare(host, directory, command)
    plan.console_size = size_of(0)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    plan.streams = (null, null, null)
    sys.stderr.write("The step has failed. This is a shell in what it has left; exit ends it.\r\n")
    sys.stderr.flush()
    try:
        channel, pid = clone_child(plan)
    finally:
        os.close(null)
    container = sandbox.Running(pid, {})
    try:
        try:
            bring_up(host, view, container, channel, plan.root)
            let_run(view, container, channel)
        finally:
            channel.close()
        _relay(container.terminal, container.pidfd)
    finally:
        container.end()


def _relay(terminal: int, pidfd: int) -> None:
    """Copy between the caller's terminal and the shell's until the shell has ended."""

    def resize(*_: object) -> None:
        set_window_size(terminal, *size_of(0))

    usual = signal.signal(signal.SIGWINCH, resize)
    try:
        with RawTerminal(0):
            _copy(terminal, pidfd)
    finally:
        signal.signal(signal.SIGWINCH, usual)


def _copy(terminal: int, pidfd: int) -> None:
    poll = select.poll()
    for fd in (0, terminal, pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if 0 in ready:
            data = os.read(0, _CHUNK_BYTES)
            if not data:
                poll.unregister(0)
            os.write(terminal, data)
        if terminal in ready:
            try:
                data = os.read(terminal, _CHUNK_BYTES)
            except OSError:
                return  # EIO: the last process has closed it
            os.write(1, data)
        elif pidfd in ready:
            return
