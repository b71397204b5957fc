"""Between a client's bare connection and a child that has pipes or a terminal as its streams.

The child runs what the command line runs (attach, exec, logs): to that it looks like a shell's
pipe, or a terminal. docker's form of two streams in one: one byte of stream, three of nothing, four
of length, then the data.
"""

import errno
import os
import select
import struct
import tty

from rootless.container.attach import send_signal
from rootless.linux import signals as signal
from rootless.linux.terminal import set_window_size
from rootless.service.http import ClientGone, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 16
_PENDING_LIMIT_BYTES = 1 << 20
_HEADER = struct.Struct("!BxxxI")


class Child:
    """A forked process with streams of ours; `outputs` says which stream comes from which."""

    __slots__ = ("outputs", "pid", "stdin", "terminal_path")

    def __init__(
        self,
        work: "Callable[[], int]",
        *,
        stdin: bool,
        size: tuple[int, int] | None = None,
        close: tuple[int, ...] = (),
    ) -> None:
        """`size` (rows, columns) asks for a terminal; `close` are descriptors the child must not
        have."""
        self.terminal_path = ""
        theirs = self._open_pipes(stdin=stdin) if size is None else self._open_terminal(size)
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(work, theirs, (self.stdin, *self.outputs, *close))
        for fd in set(theirs):
            os.close(fd)

    def _open_terminal(self, size: tuple[int, int]) -> tuple[int, int, int]:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        if all(size):
            set_window_size(theirs, *size)
        self.terminal_path = os.ttyname(theirs)
        self.stdin, self.outputs = os.dup(ours), {ours: 1}
        return theirs, theirs, theirs

    def _open_pipes(self, *, stdin: bool) -> tuple[int, int, int]:
        source, self.stdin = os.pipe2(os.O_CLOEXEC)
        if not stdin:
            os.close(self.stdin)
            os.close(source)
            source, self.stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self.outputs = {out_read: 1, err_read: 2}
        return source, out_write, err_write

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def _be_child(
    work: "Callable[[], int]", streams: tuple[int, int, int], ours: tuple[int, ...]
) -> None:
    """Body of the forked process. Never returns."""
    code = 125
    try:
        os.setsid()
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        for fd in {*streams, *ours}:
            if fd > 2:
                os.close(fd)
        try:
            code = work()
        except BaseException as error:  # noqa: BLE001 - top of a forked child
            code = int(getattr(error, "exit_code", 125))
            message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
            os.write(2, f"{message}\r\n".encode())
    finally:
        os._exit(code & 0xFF)


class Relay:
    """Copies until the child's streams have ended; `run` returns the child's exit code.

    With `outlives` the child goes on without its client, as a command of `exec` does; otherwise it
    is ended: it is only a reader.
    """

    def __init__(
        self,
        connection: Connection,
        child: Child,
        *,
        first: bytes = b"",
        is_raw: bool = False,
        outlives: bool = False,
        streams: tuple[int, ...] = (1, 2),
        write: "Callable[[bytes], None] | None" = None,
    ) -> None:
        self._connection = connection
        self._child = child
        self._is_raw = is_raw
        self._outlives = outlives
        self._streams = streams
        self._write = write or connection.send
        self._pending = bytearray(first)
        self._at_end = child.stdin < 0
        self._has_client = True
        self._poll = select.poll()

    def run(self) -> int:
        child = self._child
        for fd in child.outputs:
            self._poll.register(fd, select.POLLIN)
        self._poll.register(self._connection, select.POLLIN if child.stdin >= 0 else 0)
        if child.stdin >= 0:
            os.set_blocking(child.stdin, False)
            self._feed()
        try:
            while child.outputs:
                for fd, _ in self._poll.poll():
                    if fd in child.outputs:
                        self._output(fd)
                    elif fd == self._connection.fileno():
                        self._from_client()
                    elif fd == child.stdin:
                        self._feed()
        except ClientGone:
            send_signal(child.pid, signal.SIGKILL)
        return child.wait()

    def _output(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # the last process has closed the terminal
                raise
            data = b""
        stream = self._child.outputs[fd]
        if not data:
            del self._child.outputs[fd]
            self._poll.unregister(fd)
            os.close(fd)
        elif self._has_client and stream in self._streams:
            if not self._is_raw:
                data = _HEADER.pack(stream, len(data)) + data
            try:
                self._write(data)
            except ClientGone:
                self._lose_client()

    def _from_client(self) -> None:
        if self._child.stdin < 0 or self._at_end:
            if self._connection.is_gone():
                self._lose_client()
            return
        try:
            data = self._connection.socket.recv(_CHUNK_BYTES)
        except OSError:
            data = b""
        if data:
            self._pending += data
            self._feed()
            return
        if self._connection.is_gone():
            self._lose_client()
            return
        self._at_end = True  # it has sent all, and goes on reading
        self._poll.modify(self._connection, 0)
        self._feed()

    def _lose_client(self) -> None:
        if not self._outlives:
            raise ClientGone
        if self._has_client:
            self._has_client = False
            self._at_end = True
            self._poll.unregister(self._connection)
            self._feed()

    def _feed(self) -> None:
        """Pass on what the client has sent; read no more of it while the child does not."""
        fd = self._child.stdin
        while self._pending and fd >= 0:
            try:
                written = os.write(fd, self._pending[:_CHUNK_BYTES])
            except BlockingIOError:
                self._poll.register(fd, select.POLLOUT)
                if self._has_client and not self._at_end:
                    is_full = len(self._pending) > _PENDING_LIMIT_BYTES
                    self._poll.modify(self._connection, 0 if is_full else select.POLLIN)
                return
            except OSError:
                self._close_stdin()
                return
            del self._pending[:written]
        if fd >= 0:
            try:
                self._poll.unregister(fd)
            except KeyError:
                pass  # it was never full
        if self._at_end and not self._child.terminal_path:
            self._close_stdin()
        elif self._has_client and not self._at_end:
            self._poll.modify(self._connection, select.POLLIN)

    def _close_stdin(self) -> None:
        """Whoever reads is at the end of it, or does not read any more."""
        self._pending.clear()
        if self._child.stdin >= 0:
            try:
                self._poll.unregister(self._child.stdin)
            except KeyError:
                pass
            os.close(self._child.stdin)
            self._child.stdin = -1
        if self._has_client and not self._at_end:
            self._at_end = True
            self._poll.modify(self._connection, 0)
