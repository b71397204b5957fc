"""Put a container into its user-defined networks while it starts.

Its first process is cloned by a child of the monitor that has entered the networks' user namespace
(CLONE_PARENT makes it the monitor's own child all the same). That child writes the id maps, which
takes no newuidmap there, and makes the pairs of interfaces, beside the container's mounts.
"""

import os

from rootless.container.networks_addresses import take_addresses
from rootless.container.networks_options import Attachment
from rootless.container.networks_start import Starting, bring_up
from rootless.container.networks_use import Uses
from rootless.container.networks_wire import wire, write_maps
from rootless.errors import HostError, IdMapError
from rootless.linux import syscalls
from rootless.sandbox.channel import Channel
from storage.networks import (
    Endpoint,
    NetworkRecord,
    network_lock,
    read_network,
    remove_endpoint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from storage.containers import ContainerRecord

CLONE_PARENT = 0x00008000


class Joining:
    """The networks of a container that starts; `endpoints` in the order of its record."""

    def __init__(self, host: "Host", record: "ContainerRecord", hostname: str) -> None:
        """Bring the networks up and take addresses. Raises HostError, SlirpError, StorageError."""
        self._layout = host.layout
        self._record = record
        self._starting: dict[str, Starting] = {}
        self._networks: dict[str, NetworkRecord] = {}
        self._channel: Channel | None = None
        self._worker = 0
        self.endpoints: list[Endpoint] = []
        wanted = [Attachment.from_json(entry) for entry in record.networks]
        for entry in wanted:
            self._networks[entry.name] = read_network(host.layout, entry.name)
        try:
            # In the order of ids: two containers in the same networks never wait for each other.
            for entry in sorted(wanted, key=lambda entry: self._networks[entry.name].id):
                self._join(host, entry, hostname)
        except BaseException:
            self.abandon()
            raise
        order = list(self._networks)
        self.endpoints.sort(key=lambda endpoint: order.index(endpoint.network))

    def _join(self, host: "Host", entry: Attachment, hostname: str) -> None:
        network = self._networks[entry.name]
        lock = network_lock(self._layout, network.id)
        lock.acquire()
        try:
            endpoint = take_addresses(self._layout, network, entry, self._record, hostname)
            self._starting[network.id] = bring_up(self._layout, network, host.id_maps, lock)
        except BaseException:
            remove_endpoint(self._layout, network.id, self._record.id)
            lock.release()
            raise
        self.endpoints.append(endpoint)

    @property
    def networks(self) -> list[NetworkRecord]:
        """The networks, in the order of the record."""
        return list(self._networks.values())

    def clone(self, flags: int) -> int:
        """Fork into new namespaces below the networks' one: 0 in the child, its pid here.

        Raises OSError, HostError.
        """
        if not self._starting:
            return syscalls.clone(flags)
        userns = next(iter(self._starting.values())).connection.userns
        ours, theirs = Channel.pair()
        self._worker = os.fork()
        if self._worker == 0:
            ours.close()
            try:
                syscalls.setns(userns, syscalls.CLONE_NEWUSER)
                pid = syscalls.clone(flags | CLONE_PARENT)
            except OSError as error:
                theirs.send(b"c%d" % (error.errno or 1))
                os._exit(1)
            if pid == 0:
                theirs.close()
                return 0
            self._work(pid, theirs)
        theirs.close()
        self._channel = ours
        message, _ = ours.receive()
        if message[:1] == b"c":
            number = int(message[1:])
            raise OSError(number, os.strerror(number))
        if message[:1] != b"p":
            raise HostError("start the container: the process that makes it was killed")
        return int(message[1:])

    def wait_mapped(self) -> None:
        """Return once the id maps are written. Raises IdMapError, HostError."""
        self._expect(b"m")
        settings = self._record.request.get("sysctl", ())
        if isinstance(settings, list | tuple) and any(".conf." in str(one) for one in settings):
            # The container is about to set what the interfaces have to be there for.
            self._wait_wired()

    def _wait_wired(self) -> None:
        if self._channel is not None:
            self._expect(b"w")
            self._end_worker()

    def wait_ready(self) -> None:
        """Return once the container is in its networks. Raises HostError, SlirpError."""
        self._wait_wired()
        for starting in self._starting.values():
            starting.wait_ready()

    def uses(self) -> Uses:
        """Return what the monitor holds from now on."""
        held = {key: starting.connection for key, starting in self._starting.items()}
        self._starting = {}
        return Uses(self._layout, self._record.id, held)

    def abandon(self) -> None:
        """Give everything back: the start has failed."""
        self._end_worker()
        for network_id, starting in self._starting.items():
            remove_endpoint(self._layout, network_id, self._record.id)
            starting.release()
            starting.connection.close()
        self._starting = {}

    def _end_worker(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            os.waitpid(self._worker, 0)

    def _expect(self, kind: bytes) -> None:
        if self._channel is None:
            return
        message, _ = self._channel.receive()
        if message[:1] == kind:
            return
        text = message[1:].decode(errors="replace") or "its process was killed"
        if message[:1] == b"i":
            raise IdMapError(f"map user and group ids: {text}")
        raise HostError(f"connect the container to its networks: {text}")

    def _work(self, pid: int, channel: Channel) -> None:
        """Body of the child in the networks' user namespace. Never returns."""
        step = b"i"
        try:
            channel.send(b"p%d" % pid)
            container = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            write_maps(pid, self._record)
            channel.send(b"m")
            step = b"e"
            for position, endpoint in enumerate(self.endpoints):
                netns = self._starting[endpoint.network_id].connection.netns
                network = self._networks[endpoint.network]
                wire(network, endpoint, netns, container, position)
            channel.send(b"w")
        except BaseException as error:  # noqa: BLE001 - top of a forked child
            tell_error(channel, step, error)
        finally:
            os._exit(0)


def tell_error(channel: Channel, step: bytes, error: BaseException) -> None:
    """Send the words of an error to the other end, if anybody is there."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        text = "; ".join([*getattr(error, "__notes__", ()), error.strerror or str(error)])
    try:
        channel.send(step + text.encode(errors="replace")[:4000])
    except OSError:
        return
