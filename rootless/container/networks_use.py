"""What a monitor holds of its container's networks: their helpers run for as long as it does.

A connection to the helper says that the network is in use; its end says that the helper has been
killed, and the first monitor that sees it starts another. The descriptors of the namespaces keep
the bridge and its interfaces meanwhile.
"""

import os

from rootless.container.networks_connection import Connection, connect
from storage.containers import read_record
from storage.errors import StorageError
from storage.layout import Layout
from storage.networks import network_lock, read_endpoint, read_network, remove_endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.monitor import Monitor
    from slirp.forward_target import Target

_HELLO_BYTES = 64
_BACKOFF_S = 1.0
# As with slirp4netns (`slirp.slirp4netns`).
_LAZY6 = "fd72:706f:6400::100"


class Uses:
    """The networks of one running container. `held` is by network id."""

    def __init__(self, layout: Layout, container_id: str, held: dict[str, Connection]) -> None:
        self.layout = layout
        self.container_id = container_id
        self.held = held
        self._monitor: Monitor | None = None
        self._reviving: dict[int, tuple[int, str]] = {}

    def fds(self) -> list[int]:
        return [fd for connection in self.held.values() for fd in connection]

    def give(self) -> dict[str, object]:
        """Return what another program image needs."""
        layout = self.layout
        return {
            "store": layout.store,
            "run_root": layout.run_root,
            "id": self.container_id,
            "held": {network_id: list(c) for network_id, c in self.held.items()},
        }

    @classmethod
    def take(cls, words: dict[str, object]) -> "Uses":
        """Make it again from what `give` returned."""
        held = words["held"]
        assert isinstance(held, dict)
        layout = Layout(str(words["store"]), str(words["run_root"]))
        return cls(layout, str(words["id"]), {k: Connection(*v) for k, v in held.items()})

    def watch(self, monitor: "Monitor") -> None:
        """See the end of helpers in the monitor's loop."""
        self._monitor = monitor
        for connection in self.held.values():
            if connection.fd >= 0:
                monitor.watch(connection.fd, self._said)

    def end(self) -> None:
        """Give the addresses back, and leave the networks."""
        for network_id in list(self.held):
            self._leave(network_id)

    def refresh(self) -> None:
        """Follow what `network connect` and `disconnect` have written."""
        try:
            ids = os.listdir(self.layout.networks_run_dir)
        except FileNotFoundError:
            return
        for network_id in ids:
            directory = self.layout.network_run_dir(network_id)
            is_there = os.path.exists(f"{directory}/endpoints/{self.container_id}")
            if is_there and network_id not in self.held:
                connection = connect(self.layout, network_id)
                if connection is not None:
                    self._hold(network_id, connection)
            elif not is_there and network_id in self.held:
                self._leave(network_id)
        published = self._monitor.container.published if self._monitor is not None else None
        if published is not None:
            published.retarget(self.target())

    def _hold(self, network_id: str, connection: Connection) -> None:
        self.held[network_id] = connection
        if self._monitor is not None:
            self._monitor.watch(connection.fd, self._said)

    def _leave(self, network_id: str) -> None:
        connection = self.held.pop(network_id)
        remove_endpoint(self.layout, network_id, self.container_id)
        if self._monitor is not None and connection.fd >= 0:
            self._monitor.forget(connection.fd)
        connection.close()

    def target(self) -> "Target":
        """Return where published ports lead: the first network that has an address for it."""
        from slirp.forward_target import Target

        record = read_record(self.layout, self.container_id)
        for entry in record.networks:
            try:
                network = read_network(self.layout, str(entry["name"]))
            except StorageError:
                continue
            found = read_endpoint(self.layout, network.id, self.container_id)
            if found is not None:
                # Clients of the other IP version reach an address that only lo has.
                lazy6 = "" if found.ip6 else _LAZY6
                return Target(found.ip, found.gateway, found.ip6, found.gateway6, lazy6)
        return Target()

    # --- a helper that has been killed

    def _said(self, fd: int, event: int) -> None:
        """A greeting, or the end of the helper."""
        network_id = next((key for key, value in self.held.items() if value.fd == fd), "")
        try:
            data = os.read(fd, _HELLO_BYTES)
        except OSError:
            data = b""
        if data or not network_id or self._monitor is None:
            return
        self._monitor.forget(fd)
        os.close(fd)
        self.held[network_id] = self.held[network_id]._replace(fd=-1)
        self._revive(network_id)

    def _revive(self, network_id: str, wait_s: float = 0.0) -> None:
        """Start the helper again in a child: the monitor goes on, and stays small."""
        assert self._monitor is not None
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = _start_again(self.layout, network_id, self.held[network_id], wait_s)
            finally:
                os._exit(status)
        pidfd = os.pidfd_open(pid)
        self._reviving[pidfd] = (pid, network_id)
        self._monitor.watch(pidfd, self._revived)

    def _revived(self, pidfd: int, event: int) -> None:
        assert self._monitor is not None
        pid, network_id = self._reviving.pop(pidfd)
        self._monitor.forget(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        if network_id not in self.held:
            return
        connection = connect(self.layout, network_id)
        if connection is None:
            self._revive(network_id, _BACKOFF_S)
            return
        self.held[network_id].close()
        self._hold(network_id, connection)


def _start_again(layout: Layout, network_id: str, held: Connection, wait_s: float) -> int:
    """Body of the child; return its exit status."""
    import time

    time.sleep(wait_s)
    with network_lock(layout, network_id) as lock:
        connection = connect(layout, network_id)
        if connection is not None:
            return 0  # another container's monitor was first
        from rootless.container.networks_start import start_again

        start_again(layout, network_id, held, lock)
    return 0
