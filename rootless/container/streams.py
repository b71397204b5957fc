"""The standard streams of a container that starts: what it gets, what its monitor keeps."""

import errno
import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.frames import StartOptions
    from rootless.sandbox.child import Plan
    from storage.containers import ContainerRecord

_PIPE_BYTES = 1 << 18


def _large_pipe() -> tuple[int, int]:
    """Make a pipe of four times the usual size: a quarter of the reads for a busy writer."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError as error:
        # EPERM: the user's pipes together have reached pipe-user-pages-soft (pipe(7)).
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
    return reader, writer


class Streams:
    """The ends of the standard streams: what the child gets, what the monitor keeps."""

    __slots__ = ("child", "stderr", "stdin", "stdout")

    def __init__(
        self, *, interactive: bool, terminal: bool, passed: tuple[int, int, int] | None = None
    ) -> None:
        self.stdin = self.stdout = self.stderr = -1
        if passed is not None:
            self.child = passed
            return
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        first, second, third = null, null, null
        if not terminal:
            if interactive:
                first, self.stdin = os.pipe2(os.O_CLOEXEC)
            self.stdout, second = _large_pipe()
            self.stderr, third = _large_pipe()
        self.child = (first, second, third)

    def close_child(self) -> None:
        for fd in set(self.child):
            os.close(fd)


def take_streams(record: "ContainerRecord", options: "StartOptions", plan: "Plan") -> Streams:
    """Let go of the caller's streams and make those of the container, or pass the caller's on."""
    passed = _own_streams() if record.log_driver == "passthrough" else None
    _silence()
    # After that, so that no descriptor of the child is one of 0, 1, 2.
    streams = Streams(
        interactive=record.interactive or options.interactive,
        terminal=plan.process.terminal,
        passed=passed,
    )
    plan.streams, plan.streams_are_callers = streams.child, passed is not None
    return streams


def _own_streams() -> tuple[int, int, int]:
    """Return copies of the caller's streams, but never a terminal (TIOCSTI)."""
    copies = []
    for fd in (0, 1, 2):
        if os.isatty(fd):
            copies.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        else:
            copies.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
    first, second, third = copies
    return first, second, third


def _silence() -> None:
    """Let go of the caller's streams: a pipe that it reads must end when it ends."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
