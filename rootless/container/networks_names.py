"""Who is who in a network: what its name server answers, from the files of the run root."""

import os
import time

from slirp.dns_message import AAAA, ANY, PTR, A, encode_name
from slirp.dns_server import Unknown
from slirp.errors import InvalidNetwork
from slirp.network_address import parse_address, parse_subnet
from slirp.resolv import parse_resolv_conf
from slirp.resolv_watch import RESOLV_CONF
from storage.errors import StorageError
from storage.layout import Layout
from storage.networks import (
    Endpoint,
    NetworkRecord,
    is_attached,
    network_lock,
    read_endpoint,
    read_network,
    write_endpoint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.containers import ContainerRecord

_DOMAIN = "dns.podman"
# A directory that has changed in the same tick of the clock may change again unseen.
_SETTLED_NS = 100_000_000
_LIMIT_BYTES = 1 << 20
_FEW_SERVERS = 3


class _Table:
    """The endpoints of one network, read again when their directory has changed."""

    def __init__(self, layout: Layout, network_id: str) -> None:
        self._layout = layout
        self._network_id = network_id
        self._directory = f"{layout.network_run_dir(network_id)}/endpoints"
        self._stamp = -1
        self.by_name: dict[str, list[Endpoint]] = {}
        self.by_address: dict[str, Endpoint] = {}

    def fresh(self) -> "_Table":
        try:
            stamp = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            stamp = 0
        if stamp != self._stamp:
            self._read()
            self._stamp = stamp if time.time_ns() - stamp > _SETTLED_NS else -1
        return self

    def _read(self) -> None:
        self.by_name, self.by_address = {}, {}
        try:
            ids = os.listdir(self._directory)
        except FileNotFoundError:
            return
        for container_id in ids:
            endpoint = None
            if "." not in container_id:
                endpoint = read_endpoint(self._layout, self._network_id, container_id)
            if endpoint is None:
                continue
            for name in dict.fromkeys((*endpoint.names, *endpoint.aliases)):
                self.by_name.setdefault(name.lower(), []).append(endpoint)
            for address in (endpoint.ip, endpoint.ip6):
                # Of two that claim one, the living one has it.
                if address and (address not in self.by_address or self.lives(endpoint)):
                    self.by_address[address] = endpoint

    def lives(self, endpoint: Endpoint) -> bool:
        return is_attached(self._layout, endpoint.container_id)


class Names:
    """Looks up names and addresses, as a container of the network sees them."""

    def __init__(self, layout: Layout, record: NetworkRecord, host_file: str = RESOLV_CONF) -> None:
        self._layout = layout
        self._record = record
        self._subnets = [parse_subnet(entry["subnet"]) for entry in record.subnets]
        self._tables: dict[str, _Table] = {}
        self._host_file = host_file
        self._host_stamp: object = None
        self._host_servers: tuple[str, ...] = ()
        self._record_stamp: object = None

    def _table(self, network_id: str) -> _Table:
        if network_id not in self._tables:
            self._tables[network_id] = _Table(self._layout, network_id)
        return self._tables[network_id].fresh()

    def lookup(self, name: str, kind: int, source: str) -> list[bytes] | None:
        """Return the data of the records, None for a name that is not the network's.

        Raises Unknown for one that would be, and is not there.
        """
        tables = self._tables_of(source)
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reverse(name, kind, tables)
        bare = name.removesuffix(f".{_DOMAIN}")
        # In the source's networks, each container once.
        found = {
            endpoint.container_id + endpoint.network_id: endpoint
            for table in tables
            for endpoint in table.by_name.get(bare, ())
            if table.lives(endpoint)
        }
        if not found:
            if bare != name or name == _DOMAIN:
                raise Unknown
            return None
        if kind not in (A, AAAA, ANY):
            return []
        texts = [e.ip if kind != AAAA else e.ip6 for e in found.values()]
        data = [parse_address(text).packed for text in texts if text]
        # Who asks again gets another one first.
        turn = time.monotonic_ns() // 1000 % len(data) if data else 0
        return data[turn:] + data[:turn]

    def _tables_of(self, source: str) -> list[_Table]:
        """Return the network's table and those of the other networks of who asks."""
        own = self._table(self._record.id)
        asker = own.by_address.get(source.partition("%")[0])
        tables = [own]
        if asker is not None:
            for network_id in os.listdir(self._layout.networks_run_dir):
                path = f"{self._layout.network_run_dir(network_id)}/endpoints/{asker.container_id}"
                if network_id != self._record.id and os.path.exists(path):
                    tables.append(self._table(network_id))
        return tables

    def _reverse(self, name: str, kind: int, tables: list[_Table]) -> list[bytes] | None:
        address = address_of(name)
        for table in tables:
            endpoint = table.by_address.get(address)
            if endpoint is not None and table.lives(endpoint):
                return [encode_name(endpoint.names[0])] if kind in (PTR, ANY) else []
        if address and any(subnet.has(parse_address(address)) for subnet in self._subnets):
            raise Unknown
        return None

    def servers(self, source: str) -> tuple[str, ...]:
        """Return whom to ask for other names: --dns of the container, of the network, the host's.

        A network without a way out asks nobody.
        """
        self._read_record()
        if self._record.internal:
            return ()
        asker = self._table(self._record.id).by_address.get(source.partition("%")[0])
        if asker is not None and asker.dns_servers:
            return asker.dns_servers[:_FEW_SERVERS]
        return (self._record.dns_servers or self._read_host())[:_FEW_SERVERS]

    def _read_record(self) -> None:
        path = f"{self._layout.networks_dir}/{self._record.name}.json"
        stamp = _stamp(path)
        if stamp == self._record_stamp:
            return
        self._record_stamp = stamp
        try:
            record = read_network(self._layout, self._record.name)
        except StorageError:
            return
        if record.id == self._record.id:
            self._record = record

    def _read_host(self) -> tuple[str, ...]:
        """Return the host's servers as its file has them now: the helper is in its network."""
        stamp = _stamp(self._host_file)
        if stamp != self._host_stamp:
            self._host_stamp = stamp
            try:
                with open(self._host_file, encoding="utf-8", errors="replace") as file:
                    self._host_servers = parse_resolv_conf(file.read(_LIMIT_BYTES)).servers
            except OSError:
                self._host_servers = ()
        # resolv.conf(5): without one the server of this machine is asked.
        return self._host_servers or ("127.0.0.1",)


def rename_endpoints(layout: Layout, record: "ContainerRecord", name: str) -> None:
    """Let a running container be found by its new name. Raises StorageError."""
    for entry in record.networks:
        network_id = read_network(layout, str(entry["name"])).id
        with network_lock(layout, network_id):
            endpoint = read_endpoint(layout, network_id, record.id)
            if endpoint is not None:
                names = tuple(name if old == record.name else old for old in endpoint.names)
                write_endpoint(layout, endpoint._replace(names=names))


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size


def address_of(name: str) -> str:
    """Return the address that the name of a PTR query stands for, "" when it is none."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        text = ".".join(reversed(labels[:4]))
    elif name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    else:
        return ""
    try:
        return str(parse_address(text))
    except InvalidNetwork:
        return ""
