"""The process that keeps a shared set of namespaces for the ranks of a job step.

It is the container's first process and executes nothing. Ranks write their pid to its FIFO; it
waits for their ends, and ends itself when all that were expected have been there and are gone, or
when no rank is left and the launcher is gone, or for some seconds none has come. Nothing here
imports at run time.
"""

import errno
import fcntl
import os
import select

from rootless.linux import syscalls as sc
from rootless.sandbox.operations import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.sandbox.channel import Channel

_GRACE_MS = 10_000
_RETRY_MS = 50
_PID_BYTES = 4


class Holder(Operation):
    """Opens what it needs of the host before the root changes; `hold` is its life."""

    __slots__ = ("_fifo", "_launcher", "_lock",
        "_parent", "_place", "directory", "expected", "launcher",
                 "name")  # fmt: skip

    def __init__(self, directory: str, name: str, expected: int, launcher: int) -> None:
        self.directory = directory
        self.name = name
        self.expected = expected
        self.launcher = launcher
        self._place = self._parent = self._fifo = self._lock = self._launcher = -1

    def describe(self) -> str:
        return f"hold the namespaces for the ranks of {self.directory}"

    def open(self) -> None:
        self._place = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        name = f"{self.name}.fifo"
        try:
            os.unlink(name, dir_fd=self._place)
        except FileNotFoundError:
            pass
        os.mkfifo(name, 0o600, dir_fd=self._place)
        # For writing as well: else it would be at its end whenever no rank has it open.
        self._fifo = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._place)
        parent = os.path.dirname(self.directory)
        self._parent = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = os.open("lock", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._place)
        try:
            self._launcher = os.pidfd_open(self.launcher)
        except ProcessLookupError:
            self._launcher = -1

    def hold(self, channel: "Channel") -> None:
        """Wait until no rank is left. Never returns."""
        sc.set_process_name("rpod-ranks")
        # Ranks open its namespaces through /proc.
        sc.prctl(sc.PR_SET_DUMPABLE, 1)
        kept = {self._place, self._parent, self._fifo, self._lock, self._launcher}
        first = 3
        for fd in sorted(fd for fd in kept if fd >= 0):
            if fd > first:
                sc.close_range(first, fd - 1)
            first = fd + 1
        sc.close_range(first)  # the channel with them: that is the success
        try:
            self._serve()
        finally:
            os._exit(0)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._fifo, select.POLLIN)
        if self._launcher >= 0:
            poll.register(self._launcher, select.POLLIN)
        ranks: set[int] = set()
        joined = 0
        wait_ms: int | None = None
        while True:
            events = poll.poll(wait_ms)
            for fd, _ in events:
                if fd == self._fifo:
                    joined += self._take_in(ranks, poll)
                    continue
                poll.unregister(fd)
                os.close(fd)
                if fd == self._launcher:
                    self._launcher = -1
                ranks.discard(fd)
            wait_ms = None
            if ranks:
                continue
            complete = self.expected and joined >= self.expected
            if not complete and self._launcher >= 0 and (self.expected or events):
                # More may come. Without a number the time without one decides.
                wait_ms = None if self.expected else _GRACE_MS
                continue
            if self._end():
                return
            wait_ms = _RETRY_MS

    def _take_in(self, ranks: set[int], poll: "select.poll") -> int:
        """Watch the ranks that have registered; return how many."""
        try:
            data = os.read(self._fifo, 4096)
        except BlockingIOError:
            return 0
        count = len(data) // _PID_BYTES
        for number in range(count):
            pid = int.from_bytes(data[number * _PID_BYTES : (number + 1) * _PID_BYTES], "little")
            try:
                fd = os.pidfd_open(pid)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EINVAL):
                    raise
                continue  # it has ended already
            ranks.add(fd)
            poll.register(fd, select.POLLIN)
        return count

    def _end(self) -> bool:
        """Take the record away, unless a rank is registering at this moment."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if select.select([self._fifo], [], [], 0)[0]:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            return False
        for name in (f"{self.name}.rank", f"{self.name}.fifo"):
            try:
                os.unlink(name, dir_fd=self._place)
            except FileNotFoundError:
                continue
        if os.listdir(self._place) == ["lock"]:
            # Whoever waits for the lock sees that it has no name any more.
            os.unlink("lock", dir_fd=self._place)
            os.rmdir(os.path.basename(self.directory), dir_fd=self._parent)
        return True
