"""The process that forwards published ports of one container; no asyncio, no threads.

It listens with sockets that were bound on the host and lives in the container's network
namespace, where it connects. Commands come over a socket from the monitor; when that closes, the
listening sockets are closed at once, and what is under way gets a little time. When nobody has
been there for a while it ends: the monitor keeps the sockets, and forks another for whoever comes.

    add KEY PROTOCOL PORT   with the descriptor (SCM_RIGHTS)
    rm KEY
    routes                  the interface was lost, and with it the routes
"""

import _socket
import os
import select
import time

from slirp import forward_routes as routes
from slirp.forward_target import Attempt, Target
from slirp.forward_tcp import Connection, Pipes, TcpPort
from slirp.forward_traffic import Traffic
from slirp.forward_udp import UdpPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SWEEP_S = 10.0
# How long an address stays known after its last connection: for segments that are sent again.
_CLIENT_S = 60.0
_CLIENT_LIMIT = 4096
_LINGER_S = 5.0
_IDLE_S = 30.0
_RETRY_S = 0.05
_CLOSE_S, _SPIN_S = 150e-6, 100e-6
_REST_S = 1.0
_COMMAND_BYTES = 512
# Two sockets, and a pipe for every second connection: there one side does not read just now.
_DESCRIPTORS_EACH = 3
_OTHER_DESCRIPTORS = 128


class Loop:
    """Everything that the forwarder of one container has open."""

    def __init__(
        self,
        control: _socket.socket,
        target: Target,
        traffic_fd: int = -1,
        on_rest: "Callable[[], None] | None" = None,
    ) -> None:
        """`on_rest` is called when nothing has happened for a moment: it may give memory back."""
        self.control = control
        self._on_rest = on_rest
        self._is_resting = on_rest is None
        self.traffic = Traffic(traffic_fd)
        self.target = target
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.ports: dict[str, TcpPort | UdpPort] = {}
        self.rules: dict[str, tuple[str, int]] = {}
        self.connections: set[Connection] = set()
        self.now_s = self._used_s = self._last_s = time.monotonic()
        self.idle_s = _IDLE_S
        self._later: list[Connection] = []
        self._paused: set[int] = set()
        self._prepared: set[int] = set()
        self._resume_s = 0.0
        self._ending = False
        self._is_close = False
        self._may_spin = len(os.sched_getaffinity(0)) > 1
        self._end_s = 0.0
        self._sweep_s = self.now_s + _SWEEP_S
        self._starved: set[Connection] = set()
        self.limit = _connection_limit()
        self.pipes = Pipes(self.limit // 2)
        control.setblocking(False)
        self.watch(control.fileno(), self._command, select.EPOLLIN)
        self._clients: dict[routes.Client, float] = {}
        for client in routes.clients():
            routes.remove_client(*client)

    def watch(self, fd: int, handler: "Callable[[int], None]", events: int) -> None:
        self.handlers[fd] = handler
        self.epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)
        self._paused.discard(fd)

    def later(self, connection: Connection) -> None:
        """Give a connection another turn after the others had theirs."""
        self._later.append(connection)

    def starve(self, connection: Connection) -> None:
        """Give a connection another turn when a pipe is given back."""
        self._starved.add(connection)

    def pause(self, listener: int) -> None:
        """Accept nothing until a descriptor is free again; the kernel keeps the queue."""
        if listener not in self._paused:
            self._paused.add(listener)
            self.epoll.modify(listener, 0)
            self._resume_s = self.now_s + _RETRY_S

    def resume(self) -> None:
        while self._paused:
            self.epoll.modify(self._paused.pop(), select.EPOLLIN)

    def prepare(self, family: int) -> None:
        """Make the routes of a family when its first client comes. Raises OSError."""
        if family in self._prepared:
            return
        prepare_routes(self.target, family)
        for protocol, port in set(self.rules.values()):
            routes.add_rule(family, protocol, port)
        self._prepared.add(family)

    def expect(self, attempt: Attempt) -> None:
        """Let what the server answers to the source of an attempt come here. Raises OSError."""
        self.prepare(attempt.family)
        client = (attempt.family, attempt.source)
        if client not in self._clients:
            if len(self._clients) >= _CLIENT_LIMIT:
                self._forget_clients(0.0)
            routes.add_client(*client, own_address(self.target, attempt.family))
        self._clients[client] = self.now_s

    def _forget_clients(self, after_s: float) -> None:
        """Take away the routes of those who have not been there for a while."""
        used = {connection.source for connection in self.connections}
        for port in self.ports.values():
            if isinstance(port, UdpPort):
                used.update(flow.source for flow in port.flows.values())
        for client, last_s in list(self._clients.items()):
            if client not in used and self.now_s - last_s >= after_s:
                routes.remove_client(*client)
                del self._clients[client]

    # --- commands

    def _command(self, events: int) -> None:
        try:
            data, ancillary, _, _ = self.control.recvmsg(_COMMAND_BYTES, _socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        words = data.decode().split()
        if not words:
            self._end()
        elif words[0] == "add":
            import sys

            sock = _socket.socket(fileno=int.from_bytes(ancillary[0][2][:4], sys.byteorder))
            self._add(words[1], words[2], int(words[3]), sock)
        elif words[0] == "rm":
            self._remove(words[1])
        elif words[0] == "routes":
            for family in self._prepared:
                prepare_routes(self.target, family)
            for client in self._clients:
                routes.add_client(*client, own_address(self.target, client[0]))

    def _add(self, key: str, protocol: str, port: int, sock: _socket.socket) -> None:
        for family in self._prepared:
            routes.add_rule(family, protocol, port)
        self.rules[key] = (protocol, port)
        self.ports[key] = (TcpPort if protocol == "tcp" else UdpPort)(self, sock, port)

    def _remove(self, key: str) -> None:
        port = self.ports.pop(key, None)
        if port is not None:
            # The rule stays: connections of this port that are under way need it.
            port.close()

    def _end(self) -> None:
        self._ending, self._end_s = True, time.monotonic() + _LINGER_S
        for key in list(self.ports):
            self._remove(key)
        self.forget(self.control.fileno())
        self.control.close()

    # --- the loop

    def run(self) -> None:
        """Forward until nobody is there, or the monitor lets go and the last bytes are out."""
        while not (self._ending and (not self.connections or self.now_s > self._end_s)):
            if self._is_idle():
                break
            ready = self._poll()
            for fd, events in ready:
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler(events)
            self.now_s = time.monotonic()
            if ready:
                self._used_s = self._last_s = self.now_s
                self._is_resting = self._on_rest is None
            elif not self._is_resting:
                self._rest()
            self.traffic.write(self.now_s)
            if self._later or self._starved:
                self._turns()
            if self._paused and self.now_s >= self._resume_s:
                self.resume()
            if self.now_s > self._sweep_s:
                self._sweep()
        self.traffic.write(self.now_s, at_once=True)

    def _sweep(self) -> None:
        self._sweep_s = self.now_s + _SWEEP_S
        for port in self.ports.values():
            if isinstance(port, UdpPort):
                port.sweep()

    def _poll(self) -> list[tuple[int, int]]:
        """Wait for events.

        Questions and answers that follow each other closely are waited for without going to sleep:
        waking up takes longer than all else. What comes later ends that until it is close again.
        """
        wait_s = self._wait_s()
        if self._is_close and wait_s:
            end_s = time.monotonic() + _SPIN_S
            while time.monotonic() < end_s:
                if ready := self.epoll.poll(0, 256):
                    return ready
            self._is_close = False
            return self.epoll.poll(self._wait_s(), 256)
        began_s = time.monotonic()
        ready = self.epoll.poll(wait_s, 256)
        self._is_close = self._may_spin and time.monotonic() - began_s < _CLOSE_S
        return ready

    def _turns(self) -> None:
        """Give another turn to those who had more than their share, or no pipe."""
        waiting, self._later = self._later, []
        for _ in range(min(len(self._starved), self.pipes.room())):
            waiting.append(self._starved.pop())
        for connection in waiting:
            if connection in self.connections:
                connection.event(0)

    def _rest(self) -> None:
        if self.now_s - self._last_s >= _REST_S:
            self._is_resting = True
            if self._on_rest is not None:
                self._on_rest()

    def _is_idle(self) -> bool:
        """Whether nobody has been there for a while; who comes now waits in the kernel's queue."""
        if self.connections or self._has_flows():
            self._used_s = self.now_s
        return self.now_s - self._used_s > self.idle_s

    def _has_flows(self) -> bool:
        return any(isinstance(port, UdpPort) and port.flows for port in self.ports.values())

    def _wait_s(self) -> float:
        if self._later or (self._starved and self.pipes.room()):
            return 0
        if (due_s := self.traffic.wait_s(self.now_s)) >= 0:
            return min(due_s, _RETRY_S) if self._paused else due_s
        if self._paused:
            return _RETRY_S
        if self._ending:
            return 1.0
        if not self._is_resting:
            return min(_REST_S, self.idle_s)
        if self._has_flows():
            return _SWEEP_S
        return -1 if self.connections else self.idle_s


def _connection_limit() -> int:
    """Raise the limit of descriptors and return for how many connections it is enough."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard if hard != resource.RLIM_INFINITY else 1 << 20
    return max(16, (most - _OTHER_DESCRIPTORS) // _DESCRIPTORS_EACH)


def prepare_routes(target: Target, family: int) -> None:
    """Have an address of the family in this network namespace. Raises OSError."""
    if family == _socket.AF_INET6 and not target.address6:
        routes.add_address(target.lazy6)


def own_address(target: Target, family: int) -> str:
    """Return the container's address."""
    return target.address if family == _socket.AF_INET else target.address6 or target.lazy6


def probe(target: Target) -> None:
    """Do once what the forwarder will do. Raises OSError where this kernel cannot."""
    from slirp.forward_target import Attempt, transparent_socket

    family = _socket.AF_INET if target.address else _socket.AF_INET6
    prepare_routes(target, family)
    routes.add_rule(family, "tcp", 1)
    routes.remove_rule(family, "tcp", 1)
    foreign = "198.51.100.1" if target.address else "2001:db8::1"  # RFC 5737, RFC 3849
    own = target.address or target.address6
    routes.add_client(family, foreign, own)
    routes.remove_client(family, foreign)
    transparent_socket(Attempt(family, foreign, own), _socket.SOCK_STREAM, 0).close()
