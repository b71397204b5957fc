"""The published ports of a running container, as its monitor holds them.

The monitor keeps the bound sockets. The first client wakes a forwarder (`slirp.forward_loop`) that
serves them, and ends when nobody has been there for a while: ports that nobody uses cost nothing
but their sockets. When it is killed, the next client wakes another, and no connection that waits is
lost. It is a fork, which shares the memory of the bare interpreter that keeps a detached container;
a second interpreter would not.
"""

import _socket
import errno
import gc
import os
import select
import time
from sys import intern

from rootless.errors import HostError
from rootless.linux import signals as signal
from rootless.linux.footprint import release_start_memory
from slirp.forward_target import Target
from slirp.model import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.container.monitor import Monitor

_END_MS = 500
_SHORT_LIFE_S = 1.0
_CAP_NET_BIND_SERVICE, _CAP_NET_ADMIN = 10, 12


class Published:
    """Bound ports and their forwarder."""

    def __init__(self, target: Target, ports: list[tuple[PortMapping, _socket.socket]]) -> None:
        self.target = target
        self.ports = ports
        self._pid = 0
        self._since_s = 0.0
        self._wait_s = 0.0
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
            inside = open_entrance(monitor.container.pid)
            _forward(theirs, inside, self.target, traffic, self._wait_s)
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
        from slirp.forward import send_add

        assert self._control is not None
        try:
            send_add(self._control, mapping, sock.fileno())
        except OSError:
            return  # it has just been killed; the next one is told

    def _forwarder_ended(self, fd: int, event: int) -> None:
        """Nobody was there for a while, or it was killed: the next client wakes another."""
        self._reap()
        lived_s = time.monotonic() - self._since_s
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

    def add(self, mapping: PortMapping, sock: _socket.socket) -> None:
        """Publish one more; `sock` is bound."""
        self.ports.append((mapping, sock))
        if self._control is not None:
            self._send(mapping, sock)
        elif self._monitor is not None:
            self._monitor.watch(sock.fileno(), self._wake)

    def remove(self, mapping: PortMapping) -> bool:
        """Take one back; False when there is no such port."""
        from slirp.forward import send_remove

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


def _enter(pidfd: int) -> None:
    """Join the container's network and keep only what sockets with foreign addresses need."""
    from rootless.linux import syscalls

    syscalls.setns(pidfd, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
    # Nobody in the container may look into this process, whatever it shares with it.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    kept = 1 << _CAP_NET_ADMIN | 1 << _CAP_NET_BIND_SERVICE
    syscalls.capset(kept, kept, 0)


def _close_all_but(kept: list[int]) -> None:
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 31 - 1)


def _forward(
    control: _socket.socket, pidfd: int, target: Target, traffic: int, wait_s: float
) -> None:
    """Body of the forwarder. Never returns. `wait_s` keeps one that cannot work from busy turns."""
    code = 1
    try:
        _close_all_but([control.fileno(), pidfd, traffic])
        time.sleep(wait_s)
        _enter(pidfd)
        os.close(pidfd)
        from slirp.forward_loop import Loop

        Loop(control, target, traffic, release_start_memory).run()
        code = 0
    finally:
        os._exit(code)


def open_entrance(pid: int) -> int:
    """Return a pidfd of the process through which the container's network is joined."""
    from rootless.linux.procfs import entrance

    return os.pidfd_open(entrance(pid))


def can_forward(pidfd: int, target: Target) -> bool:
    """Whether this kernel lets the forwarder work; tried in a forked child."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _enter(pidfd)
            from slirp.forward_loop import probe

            probe(target)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0


def handler(
    monitor: "Monitor", network: str, save: "Callable[[list[dict[str, object]]], None]"
) -> "Callable[[bytes], bytes]":
    """Return what answers `rpod port add` and `rm`; `save` writes the ports that there are now."""
    from rootless.container import frames
    from storage import lightjson as json

    def publish(payload: bytes) -> bytes:
        number, raw = 0, None
        try:
            verb, raw = json.loads(payload)
            mapping = PortMapping.from_json(raw)
            mapping = _add(monitor, network, mapping) if verb == "add" else _take(monitor, mapping)
            published = monitor.container.published
            assert published is not None
            save([entry.to_json() for entry, _ in published.ports])
            raw = mapping.to_json()
        except OSError as error:
            number = error.errno or -1
        except (ValueError, KeyError, TypeError, HostError):
            number = -1
        return frames.frame_json(frames.PUBLISHED, [number, raw])

    return publish


def _add(monitor: "Monitor", network: str, mapping: PortMapping) -> PortMapping:
    from slirp.errors import PortUnavailable
    from slirp.forward import listen_all

    container = monitor.container
    try:
        ((mapping, sock),) = listen_all([mapping])
    except PortUnavailable as error:
        cause = error.__cause__
        raise cause if isinstance(cause, OSError) else OSError(-1, str(error)) from error
    if container.published is None:
        uses = container.uses
        target = target_of(network) if uses is None else uses.target()
        inside = open_entrance(container.pid)
        works = can_forward(inside, target)
        os.close(inside)
        if not works:
            sock.close()
            raise OSError(errno.EOPNOTSUPP, "this kernel lets no forwarder work")
        container.published = Published(target, [(mapping, sock)])
        container.published.start(monitor)
    else:
        container.published.add(mapping, sock)
    return mapping


def _take(monitor: "Monitor", mapping: PortMapping) -> PortMapping:
    published = monitor.container.published
    if published is None or not published.remove(mapping):
        raise FileNotFoundError(2, "no such port")
    return mapping


def target_of(network: str) -> Target:
    """Return where the forwarder reaches a container. Raises HostError."""
    from slirp.settings import parse_network
    from slirp.slirp4netns import forward_target

    settings = parse_network(network)
    if settings.mode != "slirp4netns":
        raise HostError(f"publish ports: not possible with --network={settings.mode}")
    return forward_target(settings.slirp)
