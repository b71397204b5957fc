"""A network helper that lives as long as a descriptor is open.

The helper gets the reading end of a pipe; the monitor keeps the writing end. When the monitor
closes it, or dies in any way, the helper ends: nobody has to remember its pid. So the writing end
must never reach the container or another child (it is close-on-exec; a child that does not exec
closes it).
"""

import errno
import fcntl
import os
import select
import time

from slirp.errors import HelperFailed, HelperMissing
from slirp.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}


class Running:
    """A started helper: `pid`, `exit_fd` (close it and the helper ends), `ready_fd`."""

    __slots__ = ("_explain", "_log", "_on_ready", "exit_fd", "name", "pid", "ready_fd")

    def __init__(
        self,
        name: str,
        pid: int,
        *,
        exit_fd: int,
        ready_fd: int,
        log: int,
        explain: "Callable[[str], HelperFailed]",
        on_ready: "Callable[[], None] | None" = None,
    ) -> None:
        self.name = name
        self.pid = pid
        self.exit_fd = exit_fd
        self.ready_fd = ready_fd
        self._log = log
        self._explain = explain
        self._on_ready = on_ready

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return once the network works and the ports are published.

        Raises HelperFailed, PortUnavailable; the helper has ended then.
        """
        if self.ready_fd < 0:
            return
        try:
            self._wait_ready_byte(timeout_s)
            if self._on_ready is not None:
                self._on_ready()
        except BaseException:
            self.stop()
            raise
        # From here on it can say a little, but not fill the memory.
        fcntl.fcntl(self._log, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        _close(self.ready_fd)
        _close(self._log)
        self.ready_fd = self._log = -1

    def _wait_ready_byte(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.ready_fd, select.POLLIN)
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not poll.poll(left_s * 1000):
                continue
            if os.read(self.ready_fd, 32):
                return
            raise self._explain(self.log())
        raise HelperFailed(
            f"start {self.name}: not ready after {timeout_s:g} s; it said: {self.log()}"
        )

    def log(self) -> str:
        """Return what the helper has printed until it was ready."""
        if self._log < 0:
            return ""
        return os.pread(self._log, 65536, 0).decode("utf-8", "replace").strip()

    def release(self) -> None:
        """Let the helper end, without waiting: tearing its sandbox down takes 20 ms."""
        _close(self.exit_fd)
        self.exit_fd = -1

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the helper and reap it; harmless when it has ended."""
        for fd in (self.exit_fd, self.ready_fd, self._log):
            _close(fd)
        self.exit_fd = self.ready_fd = self._log = -1
        if self.pid > 0:
            _reap(self.pid, timeout_s)
            self.pid = -1


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _reap(pid: int, timeout_s: float) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        # The monitor reaps every child of its own (it is a subreaper) and was here first.
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        pass
    finally:
        os.close(pidfd)


class Namespaces(NamedTuple):
    """Descriptors of a process's namespaces, for a helper that may not look at the process."""

    user: int
    net: int

    @classmethod
    def open(cls, pid: int) -> "Namespaces":
        """Open them while `pid` still has the caller's id: later ptrace(2) rules forbid it."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        return cls(os.open(f"/proc/{pid}/ns/user", flags), os.open(f"/proc/{pid}/ns/net", flags))

    def paths(self) -> tuple[str, str]:
        """Return paths by which a child that inherits both can open them."""
        return f"/proc/self/fd/{self.user}", f"/proc/self/fd/{self.net}"

    def close(self) -> None:
        """Close both."""
        os.close(self.user)
        os.close(self.net)


class Pipes:
    """What a helper needs: pipes for ready and exit, a memory file for what it says."""

    __slots__ = ("exit_read", "exit_write", "log", "ready_read", "ready_write")

    def __init__(self, name: str) -> None:
        self.ready_read, self.ready_write = os.pipe2(os.O_CLOEXEC)
        self.exit_read, self.exit_write = os.pipe2(os.O_CLOEXEC)
        self.log = os.memfd_create(f"{name}-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def close_helper_side(self) -> None:
        os.close(self.ready_write)
        os.close(self.exit_read)

    def close_own_side(self) -> None:
        for fd in (self.ready_read, self.exit_write, self.log):
            os.close(fd)


def spawn(
    arguments: "Sequence[str]",
    pipes: Pipes,
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    inherit: "Sequence[int]" = (),
) -> int:
    """Start a helper with a bare environment and return its pid.

    Raises HelperMissing, HelperFailed.
    """
    if stdin is None:
        first: tuple[object, ...] = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    else:
        first = (os.POSIX_SPAWN_DUP2, stdin, 0)
    second = (os.POSIX_SPAWN_DUP2, pipes.log if stdout is None else stdout, 1)
    third = (os.POSIX_SPAWN_DUP2, pipes.log, 2)
    for fd in inherit:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawnp(
            arguments[0],
            list(arguments),
            _ENVIRONMENT,
            file_actions=[first, second, third],
            setsigmask=(),
            setsigdef=range(1, 32),
        )
    except OSError as error:
        pipes.close_own_side()
        if error.errno in (errno.ENOENT, errno.EACCES):
            raise HelperMissing(
                f"start {arguments[0]}: {error.strerror}",
                remedy=f"install {arguments[0]} (`rpod doctor` has the command), "
                "or use --network=host or --network=none",
            ) from error
        raise HelperFailed(f"start {arguments[0]}: {error.strerror}") from error
    finally:
        for fd in inherit:
            os.set_inheritable(fd, False)
        pipes.close_helper_side()
