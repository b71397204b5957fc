"""slirp4netns or pasta of a container has been killed: start it again, in the same namespaces.

A child of the monitor does it, so that the monitor goes on and stays small; it hands over the
descriptors on which the helper's life hangs. One that ends at once is started again later and
later.
"""

import _socket
import os
import select
import sys
import time

from rootless.container.monitor import Monitor
from storage import event_log
from storage.containers import ContainerView, read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slirp.model import PortMapping
    from slirp.process import Running

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_LIVED_S = 10.0
_EVENT = "network_restarted"


class WayOut:
    """Part of the monitor of a container whose helper has ended once."""

    def __init__(self, monitor: Monitor, view: ContainerView) -> None:
        self._monitor = monitor
        self._view = view
        self._since_s = 0.0
        self._wait_s = 0.0
        self._starter = 0

    def ended(self) -> None:
        """The helper is gone: reap it, and start another."""
        container = self._monitor.container
        fd, container.network_pidfd = container.network_pidfd, -1
        self._monitor.forget(fd)
        try:
            os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass  # reaped by whoever waited for it
        os.close(fd)
        container.release_network()
        if time.monotonic() - self._since_s > _LIVED_S:
            self._wait_s = 0.0
        self._start()

    def _start(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._starter = os.fork()
        if self._starter == 0:
            _be_starter(theirs, self._monitor, self._view, self._wait_s)
        theirs.close()
        self._wait_s = min(_LONGEST_WAIT_S, self._wait_s * 2 or _FIRST_WAIT_S)
        self._monitor.watch(ours.fileno(), lambda fd, event: self._started(ours))

    def _started(self, ours: _socket.socket) -> None:
        """The child has handed over a helper, or has ended without."""
        try:
            _, ancillary, _, _ = ours.recvmsg(16, _socket.CMSG_SPACE(8))
        except OSError:
            ancillary = []
        self._monitor.forget(ours.fileno())
        ours.close()
        os.waitpid(self._starter, 0)
        if not ancillary:
            self._start()
            return
        data, container = ancillary[0][2], self._monitor.container
        container.network_fd, container.network_pidfd = (
            int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4)
        )
        for fd in (container.network_fd, container.network_pidfd):
            os.set_inheritable(fd, False)
        self._since_s = time.monotonic()
        self._monitor.watch(container.network_pidfd, lambda fd, event: self.ended())
        if container.published is not None:
            container.published.renew_routes()
        # <run root>/containers/<id>
        run_root = os.path.dirname(os.path.dirname(self._view.paths.run_dir))
        event_log.container_event(run_root, _EVENT, record=self._view.record)


def _be_starter(
    control: _socket.socket, monitor: Monitor, view: ContainerView, wait_s: float
) -> None:
    """Body of the child. Never returns. It ends when the monitor does."""
    code = 1
    try:
        from rootless.container.forwarder import close_all_but
        from rootless.linux import signals as signal

        signal.set_wakeup_fd(-1)
        close_all_but([control.fileno()])
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        if not poll.poll(wait_s * 1000):
            running = _start_helper(monitor, view)
            rights = [running.exit_fd, os.pidfd_open(running.pid)]
            packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in rights)
            control.sendmsg([b"1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
            code = 0
    finally:
        os._exit(code)


def _start_helper(monitor: Monitor, view: ContainerView) -> "Running":
    """Start it as the container's start did. Raises SlirpError, OSError."""
    from rootless.container.starting_network import open_namespaces
    from rootless.linux.procfs import entrance
    from slirp import pasta, slirp4netns
    from slirp.settings import parse_network

    pid = entrance(monitor.container.pid)
    settings = parse_network(view.record.network)
    namespaces = open_namespaces(view, pid)
    ports = _forwarded_by_helper(monitor, view)
    if settings.mode == "pasta":
        running = pasta.start(pid, settings.pasta, ports=ports, namespaces=namespaces)
    else:
        socket_path = view.paths.network_socket if ports else None
        if socket_path and os.path.exists(socket_path):
            os.unlink(socket_path)
        running = slirp4netns.start(
            pid, settings.slirp, ports=ports, api_socket=socket_path, namespaces=namespaces
        )
    running.wait_ready()
    return running


def _forwarded_by_helper(monitor: Monitor, view: ContainerView) -> "tuple[PortMapping, ...]":
    from slirp.model import PortMapping

    published = monitor.container.published
    ours = [mapping for mapping, _ in published.ports] if published is not None else []
    found = (PortMapping.from_json(entry) for entry in read_state(view.paths).ports)
    return tuple(mapping for mapping in found if mapping not in ours)
