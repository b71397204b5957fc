"""The loop of the small process beside every container: its log, its attach socket, its end.

One poll over the container's streams, the pidfd of its first process, the attach socket and the
clients. This module and what it imports stay in memory for as long as the container runs, so they
are few (`rootless.container.keeper`).
"""

import errno
import os
import select
import time

from rootless.container import frames
from rootless.container.client import Client
from rootless.container.running import Container
from rootless.linux import signals as signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Log(Protocol):
        """Where the output goes."""

        def write(self, stream: str, data: bytes, now_ns: int) -> None: ...

    class Follower(Protocol):
        """What keeps resolv.conf in step (`rootless.container.resolv_follow`)."""

        def look(self) -> None: ...
        def reread(self) -> None: ...

    class Timer(Protocol):
        """Something that is to be done at a monotonic time, 0 for never."""

        due_s: float

        def fire(self) -> None: ...


_CHUNK_BYTES = 1 << 18
_PENDING_LIMIT_BYTES = 1 << 20
_LAST_OUTPUT_S = 1.0


class Monitor:
    """State of one running container; `serve` returns its exit code.

    `stop` is the signal that asks the container to end, and its grace time in seconds.
    """

    def __init__(self, container: Container, log: "Log | None", stop: tuple[int, int]) -> None:
        self.container = container
        self.log = log
        self.log_error = ""
        self.listener = container.listener
        self.clients: list[Client] = []
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[int, int], None]] = {}
        self.outputs: dict[int, tuple[int, str]] = {}
        self.stdin_pending = bytearray()
        self.stdin_closing = False
        self.paused = False
        self.ended = False
        self.status = 0
        self.deadline_s = container.deadline_s
        self.traffic_path = "/dev/null"
        self.stop_signal, self.stop_timeout_s = stop
        self.asked_to_stop = False
        self.timer: Timer | None = None
        self.resolv: Follower | None = None
        self.on_publish: Callable[[bytes], bytes] | None = None
        self.watch(self.listener.fileno(), self._accept)
        self.watch(container.pidfd, self._init_ended)
        for fd, kind, stream in container.outputs:
            os.set_blocking(fd, False)
            self.outputs[fd] = (kind, stream)
            self.watch(fd, self._output)
        if container.stdin >= 0:
            os.set_blocking(container.stdin, False)
        if container.uses is not None:
            container.uses.watch(self)
        self._watch_signals()

    def watch(
        self, fd: int, handler: "Callable[[int, int], None]", events: int = select.POLLIN
    ) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def add_client(self, client: Client) -> None:
        self.clients.append(client)
        self.watch(client.fileno(), self._client_event)
        for kind, payload in client.received():
            self._client_says(client, kind, payload)
        self._push_in()

    def _watch_signals(self) -> None:
        """Take SIGTERM, which a service manager sends when the machine goes down, as a request.

        It may have been blocked since before this program began (`keeper.hand_over`).
        """
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.watch(reader, self._signalled)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    # --- the loop

    def serve(self) -> int:
        """Run until the container has ended and all it wrote has been passed on."""
        self._push_out()  # the first client waits to be told that the command runs
        while not self.ended:
            self._turn(self._wait_ms())
        last_s = time.monotonic() + _LAST_OUTPUT_S
        while self.outputs and (self.paused or time.monotonic() < last_s):
            self._turn(200)
        return os.waitstatus_to_exitcode(self.status)

    def finish(self, code: int) -> None:
        """Tell all clients the end and wait until each has read it or gone."""
        for client in self.clients:
            client.queue(frames.frame(frames.EXIT, str(code).encode()))
        self.forget(self.listener.fileno())
        self.listener.close()
        while self.clients:
            for client in list(self.clients):
                if not client.flush() or not client.pending:
                    self.drop(client)
            if self.clients:
                self._turn(1000)

    def _wait_ms(self) -> int | None:
        """Do what is due and return how long nothing else will be."""
        now_s = time.monotonic()
        if self.deadline_s and self.deadline_s <= now_s:
            self.deadline_s = 0.0
            signal.pidfd_send_signal(self.container.pidfd, signal.SIGKILL)
        if self.timer is not None and self.timer.due_s and self.timer.due_s <= now_s:
            self.timer.fire()
        next_s = [self.deadline_s, self.timer.due_s if self.timer is not None else 0.0]
        waits_s = [moment_s - now_s for moment_s in next_s if moment_s]
        return int(min(waits_s) * 1000) + 1 if waits_s else None

    def _turn(self, wait_ms: int | None) -> None:
        for fd, event in self.poll.poll(wait_ms):
            handler = self.handlers.get(fd)
            if handler is not None:
                handler(fd, event)
        self._push_in()
        self._push_out()

    # --- what the container does

    def _output(self, fd: int, event: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            # EIO: the last process has closed the terminal.
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            del self.outputs[fd]
            self.forget(fd)
            os.close(fd)
            return
        kind, stream = self.outputs[fd]
        if self.log is not None:
            try:
                self.log.write(stream, data, time.time_ns())
            except OSError as error:
                # A full disk: the container goes on, and its end tells about it.
                self.log_error = f"write the log: {error.strerror}"
        if self.clients:
            packet = frames.frame(kind, data)
            for client in self.clients:
                client.queue(packet)

    def _break_output(self, kind: int) -> None:
        """Close our end, so that the writer learns that nobody reads (EPIPE)."""
        if len(self.clients) > 1:
            return  # others still do
        for fd, (output, _) in list(self.outputs.items()):
            if output == kind:
                del self.outputs[fd]
                self.forget(fd)
                os.close(fd)

    def _signalled(self, fd: int, event: int) -> None:
        numbers = os.read(fd, 64)
        if self.resolv is not None and (signal.SIGIO in numbers or signal.SIGALRM in numbers):
            self.resolv.look()
        if signal.SIGTERM in numbers:
            self._stop()

    def _stop(self) -> None:
        """Ask the container to end, and see to it after its grace time."""
        if self.asked_to_stop or self.ended:
            return
        self.asked_to_stop = True
        if self.stop_timeout_s >= 0:  # -1: for ever
            last_s = time.monotonic() + self.stop_timeout_s
            self.deadline_s = min(self.deadline_s or last_s, last_s)
        signal.pidfd_send_signal(self.container.pidfd, self.stop_signal)

    def _init_ended(self, fd: int, event: int) -> None:
        try:
            _, self.status = os.waitpid(self.container.pid, 0)
        except ChildProcessError:
            self.status = signal.SIGKILL
        self.ended = True
        self.forget(self.container.pidfd)

    # --- what the clients do

    def _accept(self, fd: int, event: int) -> None:
        try:
            client = Client.accept(self.listener)
        except OSError:
            return
        if client is not None:
            client.queue(frames.frame_json(frames.STARTED, {"pid": self.container.pid}))
            self.add_client(client)

    def _client_event(self, fd: int, event: int) -> None:
        for client in list(self.clients):
            if client.fileno() != fd:
                continue
            alive = client.ready()
            for kind, payload in client.received():
                self._client_says(client, kind, payload)
            if not alive:
                self._client_gone(client)

    def _client_says(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == frames.IN:
            client.feeds_stdin = True
            self.stdin_pending += payload
        elif kind == frames.EOF:
            client.feeds_stdin = False
            self.stdin_closing = not self.container.is_terminal
        elif kind == frames.LEAVE:
            client.feeds_stdin = False
        elif kind == frames.BROKEN and payload and not self.container.is_terminal:
            self._break_output(payload[0])
        elif kind == frames.NETWORKS and self.container.uses is not None:
            self.container.uses.refresh()
            if self.resolv is not None:
                self.resolv.reread()
            client.queue(frames.frame(frames.NETWORKS))
        elif kind == frames.PUBLISH and self.on_publish is not None:
            client.queue(self.on_publish(payload))
        elif kind == frames.ROOT:
            from rootless.container.root_lending import lend

            lend(self.container.pid, client.fileno())
        elif kind == frames.RESIZE and len(payload) == 4 and self.container.is_terminal:
            rows, columns = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")
            from rootless.linux.terminal import set_window_size

            try:
                set_window_size(self.container.terminal, rows, columns)
            except OSError:
                return  # the terminal has been hung up

    def _client_gone(self, client: Client) -> None:
        if client.feeds_stdin and not self.container.is_terminal:
            # Killed while it was the other end of the container's standard input.
            self.stdin_closing = True
        self.drop(client)

    def drop(self, client: Client) -> None:
        self.clients.remove(client)
        self.forget(client.fileno())
        client.close()

    def _push_out(self) -> None:
        """Send what is pending; stop reading the container while a client cannot follow."""
        full = False
        for client in list(self.clients):
            if not client.flush():
                self._client_gone(client)
                continue
            wanted = select.POLLOUT if client.pending else 0
            self.poll.modify(client.fileno(), wanted if client.stopped else wanted | select.POLLIN)
            full = full or len(client.pending) > _PENDING_LIMIT_BYTES
        if full != self.paused:
            self.paused = full
            for fd in self.outputs:
                if full:
                    self.forget(fd)
                else:
                    self.watch(fd, self._output)

    def _push_in(self) -> None:
        """Pass on what the clients typed; stop reading them while the container does not."""
        fd = self.container.stdin
        while self.stdin_pending and fd >= 0:
            try:
                written = os.write(fd, self.stdin_pending[:_CHUNK_BYTES])
            except BlockingIOError:
                break
            except OSError:
                # EPIPE, EIO: nobody reads any more.
                self._close_stdin()
                return
            del self.stdin_pending[:written]
        if fd < 0:
            self.stdin_pending.clear()
            return
        if self.stdin_pending:
            if fd not in self.handlers:
                self.watch(fd, self._stdin_event, select.POLLOUT)
        else:
            self.forget(fd)
            if self.stdin_closing:
                self._close_stdin()
        stopped = len(self.stdin_pending) > _PENDING_LIMIT_BYTES
        for client in self.clients:
            client.stopped = stopped

    def _stdin_event(self, fd: int, event: int) -> None:
        """The pipe takes bytes again, or nobody reads it any more; `_push_in` finds out which."""

    def _close_stdin(self) -> None:
        fd = self.container.stdin
        self.stdin_pending.clear()
        if fd >= 0:
            self.forget(fd)
            os.close(fd)
        self.container.stdin = -1
