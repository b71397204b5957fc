"""The published ports of a running container, as its monitor holds them.

The monitor keeps the bound sockets. The first client wakes a forwarder (`slirp.forward_loop`) that
serves them, and ends when nobody has been there for a while: ports that nobody uses cost nothing
but their sockets. When it is killed, the next client wakes another, and no connection that waits is
lost. It is a fork, which shares the memory of the bare interpreter that keeps a detached container;
a second interpreter would not.
"""

import _socket
import gc
import os
import select
import time
from sys import intern

from rootless.linux import signals as signal
from rootless.linux.footprint import release_start_memory
from slirp.forward_target import Target
from slirp.model import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.monitor import Monitor

_END_MS = 500
# How long a forwarder waits for the next client: long where the one before was missed soon.
_REST_S, _LONG_REST_S = 2.0, 30.0
_MISSED_SOON_S = 60.0
_SHORT_LIFE_S = 1.0


class Published:
    """Bound ports and their forwarder."""

    def __init__(self, target: Target, ports: list[tuple[PortMapping, _socket.socket]]) -> None:
        self.target = target
        self.ports = ports
        self._pid = 0
        self._since_s = 0.0
        self._wait_s = 0.0
        self._ended_s = -_MISSED_SOON_S
        self._control: _socket.socket | None = None
        self._monitor: Monitor | None = None

    def start(self, monitor: "Monitor") -> None:
        """Wait for clients in the monitor's loop."""
        self._monitor = monitor
        for _, sock in self.ports:
            monitor.watch(sock.fileno(), self._wake)

    def _wake(self, fd: int, event: int) -> None:
        """Fork the forwarder: somebody is there."""
        monitor = self._monitor
        assert monitor is not None
        self._ignore_clients()
        # What both have stays shared: the collector writes to every object that it looks at.
        gc.freeze()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._since_s = time.monotonic()
        traffic = os.open(monitor.traffic_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._pid = os.fork()
        if self._pid == 0:
            missed = self._since_s - self._ended_s < _MISSED_SOON_S
            times_s = (self._wait_s, _LONG_REST_S if missed else _REST_S)
            _forward(theirs, monitor.container.pid, self.target, traffic, times_s)
        theirs.close()
        os.close(traffic)
        self._control = ours
        monitor.watch(ours.fileno(), self._forwarder_ended)
        for mapping, sock in self.ports:
            self._send(mapping, sock)
        release_start_memory()

    def _ignore_clients(self) -> None:
        if self._monitor is not None:
            for _, sock in self.ports:
                self._monitor.forget(sock.fileno())

    def _send(self, mapping: PortMapping, sock: _socket.socket) -> None:
        from slirp.forward_control import send_add

        assert self._control is not None
        try:
            send_add(self._control, mapping, sock.fileno())
        except OSError:
            return  # it has just been killed; the next one is told

    def _forwarder_ended(self, fd: int, event: int) -> None:
        """Nobody was there for a while, or it was killed: the next client wakes another."""
        self._reap()
        self._ended_s = time.monotonic()
        lived_s = self._ended_s - self._since_s
        self._wait_s = _SHORT_LIFE_S if lived_s < _SHORT_LIFE_S else 0.0
        if self._monitor is not None:
            self.start(self._monitor)

    def _reap(self) -> None:
        if self._control is not None:
            if self._monitor is not None:
                self._monitor.forget(self._control.fileno())
            self._control.close()
            self._control = None
        if self._pid:
            try:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            except (ChildProcessError, ProcessLookupError):
                pass
            self._pid = 0

    def retarget(self, target: Target) -> None:
        """Reach the container at another address from now on: a fresh forwarder does."""
        if target != self.target:
            self.target = target
            if self._pid:
                self._since_s = 0.0
                os.kill(self._pid, signal.SIGKILL)

    def renew_routes(self) -> None:
        """The container's interface was lost and is back: connections under way may go on."""
        from slirp.forward_control import send_routes

        if self._control is not None:
            try:
                send_routes(self._control)
            except OSError:
                return  # killed: the next one makes its own

    def add(self, mapping: PortMapping, sock: _socket.socket) -> None:
        """Publish one more; `sock` is bound."""
        self.ports.append((mapping, sock))
        if self._control is not None:
            self._send(mapping, sock)
        elif self._monitor is not None:
            self._monitor.watch(sock.fileno(), self._wake)

    def remove(self, mapping: PortMapping) -> bool:
        """Take one back; False when there is no such port."""
        from slirp.forward_control import send_remove

        for entry in self.ports:
            if entry[0] == mapping:
                self.ports.remove(entry)
                if self._monitor is not None:
                    self._monitor.forget(entry[1].fileno())
                entry[1].close()
                if self._control is not None:
                    try:
                        send_remove(self._control, mapping)
                    except OSError:
                        pass  # killed: the next one is not told of this port
                return True
        return False

    def end(self) -> None:
        """Close the ports; returns once they are free. What is under way gets a little time."""
        self.close()
        control, self._control = self._control, None
        if control is None:
            return
        if self._monitor is not None:
            self._monitor.forget(control.fileno())
        control.shutdown(_socket.SHUT_WR)
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        poll.poll(_END_MS)
        control.close()

    def close(self) -> None:
        """Close the bound sockets of this process."""
        self._ignore_clients()
        for _, sock in self.ports:
            sock.close()
        self.ports = []

    def give(self) -> list[object]:
        """Return what another program image needs, and let it inherit the sockets."""
        words: list[object] = [self.target.to_text()]
        for mapping, sock in self.ports:
            os.set_inheritable(sock.fileno(), True)
            words.append(" ".join(map(str, (sock.fileno(), *mapping))))
        return words

    @classmethod
    def take(cls, words: object) -> "Published":
        """Make it again from what `give` returned."""
        assert isinstance(words, list)
        ports = []
        for text in words[1:]:
            number, address, host_port, port, protocol = text.split(" ")
            mapping = PortMapping(intern(address), int(host_port), int(port), intern(protocol))
            fd = int(number)
            os.set_inheritable(fd, False)
            ports.append((mapping, _socket.socket(fileno=fd)))
        return cls(Target.from_text(words[0]), ports)


def _forward(
    control: _socket.socket,
    pid: int,
    target: Target,
    traffic: int,
    times_s: tuple[float, float],
) -> None:
    """Body of the forwarder. Never returns."""
    try:
        from rootless.container.forwarder import forward, open_entrance

        forward(control, open_entrance(pid), target, traffic, times_s)
    finally:
        os._exit(1)
