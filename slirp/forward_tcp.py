"""Published TCP ports: connections passed on with splice(2).

Every descriptor is registered once, edge-triggered; bytes go from socket to pipe to socket and
never into this process, but for messages that fit a page: those are quicker copied. A pipe is
borrowed for one turn and kept only while a peer does not read, so an idle connection costs two
descriptors, and a peer that never reads one pipe. There are fewer pipes than connections: who finds
none leaves its bytes in the kernel until one is given back.
"""

import _socket
import errno
import fcntl
import os
import select

from slirp.forward_target import Attempt, attempts, transparent_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slirp.forward_loop import Loop

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_GONE = select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP
_PIPE_BYTES = 1 << 19
_PAGE_BYTES = 4096  # the smallest pipe holds them
_MUCH_BYTES = 1 << 16
_SPARE_PIPES = 8
_ROUNDS = 16
_ACCEPTS = 64
_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


class Pipes:
    """At most `limit` pipes; large ones while the user's share of pipe memory allows (pipe(7))."""

    def __init__(self, limit: int) -> None:
        self._spare: list[tuple[int, int]] = []
        self._limit = limit
        self._taken = 0
        self.page = memoryview(bytearray(_PAGE_BYTES))

    def take(self) -> tuple[int, int] | None:
        """Return an empty pipe, None when all are in use."""
        if not self.room():
            return None
        pipe = self._spare.pop() if self._spare else self._make()
        self._taken += 1
        return pipe

    def room(self) -> int:
        """Return how many may still be taken."""
        return self._limit - self._taken

    def _make(self) -> tuple[int, int]:
        pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            return pipe  # EPERM: above pipe-user-pages-soft it stays small
        return pipe

    def give(self, pipe: tuple[int, int]) -> None:
        """Take back an empty pipe."""
        self._taken -= 1
        if len(self._spare) < _SPARE_PIPES:
            self._spare.append(pipe)
        else:
            _close_pipe(pipe)

    def drop(self, pipe: tuple[int, int]) -> None:
        """Close a pipe that has bytes in it."""
        self._taken -= 1
        _close_pipe(pipe)


def _close_pipe(pipe: tuple[int, int]) -> None:
    for fd in pipe:
        os.close(fd)


class _Way:
    """One direction; `held` bytes lie in `pipe` because the sink does not take them."""

    __slots__ = ("ended", "held", "is_much", "is_starved", "moved", "pipe", "sink", "source")

    def __init__(self, source: _socket.socket, sink: _socket.socket) -> None:
        self.moved = 0
        self.source = source
        self.sink = sink
        self.pipe: tuple[int, int] | None = None
        self.held = 0
        self.ended = False
        self.is_starved = False  # there was no pipe for what may be there
        self.is_much = False  # the last turn moved more than a few messages

    def move_little(self, pipes: Pipes) -> bool:
        """Pass on a message that fits a page; False when there may be more.

        Only for an event that tells of bytes and not of an end: a short read has then taken all
        (epoll(7)), where the end would need another look. Raises OSError as `move` does.
        """
        if self.is_much or self.held or self.ended:
            return False
        # What the sink does not take goes into a pipe: no byte is read when there is none.
        self.is_starved = self.pipe is None and not pipes.room()
        if self.is_starved:
            return True
        try:
            count = self.source.recv_into(pipes.page)
        except BlockingIOError:
            return True
        if not count:
            return False  # `move` sees the end
        try:
            sent = self.sink.send(pipes.page[:count])
        except BlockingIOError:
            sent = 0
        self.moved += sent
        if sent < count:
            self.pipe = self.pipe or pipes.take()
            assert self.pipe is not None
            self.held = os.write(self.pipe[1], pipes.page[sent:count])
            return True
        return count < _PAGE_BYTES

    def move(self, pipes: Pipes) -> bool:
        """Pass on what there is, up to a fair share; True when there may be more.

        Raises OSError when one of the two connections has broken.
        """
        source, sink = self.source.fileno(), self.sink.fileno()
        before = self.moved
        try:
            return self._splice(pipes, source, sink)
        finally:
            self.is_much = self.moved - before > _MUCH_BYTES

    def _splice(self, pipes: Pipes, source: int, sink: int) -> bool:
        for _ in range(_ROUNDS):
            if not self.held:
                if self.ended:
                    return False
                if self.pipe is None:
                    self.pipe = pipes.take()
                self.is_starved = self.pipe is None
                if self.pipe is None:
                    return False
                try:
                    self.held = os.splice(source, self.pipe[1], _PIPE_BYTES, flags=_FLAGS)
                except BlockingIOError:
                    self._release(pipes)
                    return False
                if not self.held:
                    self._release(pipes)
                    self.ended = True
                    self._end_sink()
                    return False
            assert self.pipe is not None
            try:
                count = os.splice(self.pipe[0], sink, self.held, flags=_FLAGS)
            except BlockingIOError:
                return False
            self.held -= count
            self.moved += count
        if not self.held:
            self._release(pipes)
        return True

    def _end_sink(self) -> None:
        try:
            self.sink.shutdown(_socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def _release(self, pipes: Pipes) -> None:
        if self.pipe is not None:
            pipes.give(self.pipe)
            self.pipe = None

    def drop(self, pipes: Pipes) -> None:
        if self.pipe is not None:
            pipes.drop(self.pipe)
            self.pipe = None


class Connection:
    """A client, the server, and the two ways between them."""

    def __init__(self, port: "TcpPort", client: _socket.socket, address: str, number: int) -> None:
        self.loop = port.loop
        self.port = port
        self.client = client
        self.number = number
        self.todo = attempts(port.loop.target, address)
        self.server: _socket.socket | None = None
        self.source = (0, "")
        self.ways: tuple[_Way, ...] = ()
        self.loop.connections.add(self)
        self._try_next()

    def _try_next(self) -> None:
        """Connect in the next way; a client for whom none is left is reset, as by the server."""
        self._leave_server()
        while self.todo:
            attempt: Attempt = self.todo.pop(0)
            try:
                self.loop.expect(attempt)
                sock = transparent_socket(attempt, _socket.SOCK_STREAM, self.number)
            except OSError:
                continue
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            code = sock.connect_ex((attempt.destination, self.port.container_port))
            if code == errno.EADDRNOTAVAIL:
                # The last connection of this client port is in TIME_WAIT: the address is kept.
                sock.close()
                self.number, self.todo = 0, [attempt, *self.todo] if self.number else self.todo
                continue
            if code not in (0, errno.EINPROGRESS):
                sock.close()
                continue
            self.server = sock
            self.source = (attempt.family, attempt.source)
            self.loop.watch(sock.fileno(), self._connected, _EVENTS)
            return
        self.abort()

    def _connected(self, events: int) -> None:
        assert self.server is not None
        if self.server.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            self._try_next()
            return
        if not events & select.EPOLLOUT:
            return
        self.ways = (_Way(self.client, self.server), _Way(self.server, self.client))
        self.loop.handlers[self.server.fileno()] = self._server_event
        self.loop.watch(self.client.fileno(), self._client_event, _EVENTS)
        if events & ~select.EPOLLOUT:
            self.event(events)

    def _client_event(self, events: int) -> None:
        self._one_side(0, events)

    def _server_event(self, events: int) -> None:
        self._one_side(1, events)

    def _one_side(self, index: int, events: int) -> None:
        """Move what this side has sent; the other way only if it waits, or a side may be gone."""
        if events & _GONE or self.ways[1 - index].held:
            self.event(events)
            return
        way = self.ways[index]
        try:
            if not way.move_little(self.loop.pipes):
                self._move((way,), events)
                return
        except OSError:
            self.abort()
            return
        self._count()
        if way.is_starved:
            self.loop.starve(self)

    def event(self, events: int) -> None:
        """Move what can be moved in both directions."""
        self._move(self.ways, events)

    def _move(self, ways: "tuple[_Way, ...]", events: int) -> None:
        again = False
        try:
            for way in ways:
                again = way.move(self.loop.pipes) or again
        except OSError:
            self.abort()
            return
        self._count()
        there, back = self.ways
        if there.is_starved or back.is_starved:
            self.loop.starve(self)
        if there.ended and back.ended and not (there.held or back.held):
            self.close()
        elif events & select.EPOLLERR and not again:
            self.abort()  # reset, while the other side does not read
        elif again:
            self.loop.later(self)

    def _count(self) -> None:
        there, back = self.ways
        if there.moved or back.moved:
            self.loop.traffic.add(there.moved, back.moved)
            there.moved = back.moved = 0

    def abort(self) -> None:
        """Pass a reset on to both sides."""
        for sock in (self.client, self.server):
            if sock is not None:
                try:
                    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
                except OSError:
                    continue
        self.close()

    def close(self) -> None:
        self._leave_server()
        self.loop.forget(self.client.fileno())
        self.client.close()
        for way in self.ways:
            way.drop(self.loop.pipes)
        self.ways = ()
        self.loop.connections.discard(self)
        self.loop.resume()

    def _leave_server(self) -> None:
        if self.server is not None:
            self.loop.forget(self.server.fileno())
            self.server.close()
            self.server = None


class TcpPort:
    """A listening socket of the host whose connections go to a port of the container."""

    def __init__(self, loop: "Loop", listener: _socket.socket, container_port: int) -> None:
        self.loop = loop
        self.listener = listener
        self.container_port = container_port
        listener.setblocking(False)
        loop.watch(listener.fileno(), self._accept, select.EPOLLIN)

    def _accept(self, events: int) -> None:
        for _ in range(_ACCEPTS):
            if len(self.loop.connections) >= self.loop.limit:
                self.loop.pause(self.listener.fileno())
                return
            try:
                fd, address = self.listener._accept()  # type: ignore[attr-defined] # no `socket`
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.loop.pause(self.listener.fileno())
                    return
                continue  # accept(2): errors of a connection that is already gone
            client = _socket.socket(fileno=fd)
            client.setblocking(False)
            Connection(self, client, address[0], address[1])

    def close(self) -> None:
        self.loop.forget(self.listener.fileno())
        self.listener.close()
