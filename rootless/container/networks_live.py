"""Change the networks of a container: connect, disconnect, set up again.

The command does the work and the container's monitor then holds what has come and lets go what has
gone; a container that does not run only has its record changed.
"""

import _socket
import os

from rootless.container import frames
from rootless.container.inside import Job
from rootless.container.networks_addresses import take_addresses
from rootless.container.networks_connection import Connection
from rootless.container.networks_files import change_hosts, refresh_resolv_conf
from rootless.container.networks_options import (
    Attachment,
    check_alias,
    check_attachment,
    name_interfaces,
)
from rootless.container.networks_start import bring_up, user_namespace_above
from rootless.container.networks_wire import has_interface, unwire, wire
from rootless.errors import ContainerStateError, HostError, UsageError
from rootless.host.paths import Host
from rootless.linux import syscalls
from rootless.linux.procfs import entrance
from storage import event_log
from storage.containers import ContainerView, find_container, read_config, read_record, write_record
from storage.files import Lock
from storage.networks import (
    Endpoint,
    NetworkRecord,
    find_network,
    network_lock,
    read_endpoint,
    read_network,
    remove_endpoint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[int], object]

_ANSWER_S = 10.0


def connect(
    host: Host,
    network: str,
    container: str,
    *,
    aliases: tuple[str, ...] = (),
    ip: str = "",
    ip6: str = "",
    mac: str = "",
) -> None:
    """Put a container into a further network, at once when it runs.

    Raises NetworkNotFound, ContainerNotFound, UsageError, InvalidNetwork, HostError.
    """
    names = tuple(check_alias(name) for name in aliases)
    with Lock(host.layout.lock("networks")):
        record = find_network(host.layout, network)
        found = _find(host, container)
        entries = _entries(found)
        if any(entry.name == record.name for entry in entries):
            raise ContainerStateError(
                f"container {found.record.name} is already connected to network {record.name}:"
                " network is already connected"
            )
        wanted = Attachment(record.name, ip=ip, ip6=ip6, mac=mac, aliases=names)
        *_, wanted = name_interfaces([*entries, check_attachment(wanted, record)])
        if found.pid:
            endpoint = _attach(host, found, record, wanted, len(entries))
            change_hosts(found.paths, found.record, _hostname(found), add=endpoint)
        _write_entries(host, found, [*entries, wanted])
        _refresh(host, found)
    _tell(host, "connect", found, record)


def _tell(host: Host, status: str, found: ContainerView, network: NetworkRecord) -> None:
    event_log.append(
        host.layout.run_root,
        "network",
        status,
        ID=found.record.id,
        Name=found.record.name,
        network=network.name,
    )


def disconnect(host: Host, network: str, container: str, *, force: bool = False) -> None:
    """Take a container out of a network, at once when it runs.

    Raises NetworkNotFound, ContainerNotFound, UsageError, ContainerStateError, HostError.
    """
    with Lock(host.layout.lock("networks")):
        record = find_network(host.layout, network)
        found = _find(host, container)
        entries = _entries(found)
        if all(entry.name != record.name for entry in entries):
            if force:
                return
            raise ContainerStateError(
                f"container {found.record.name} is not connected to network {record.name}:"
                " network is not connected"
            )
        endpoint = read_endpoint(host.layout, record.id, found.record.id) if found.pid else None
        if endpoint is not None:
            _in_networks(found, endpoint, lambda there: unwire(endpoint, there))
            remove_endpoint(host.layout, record.id, found.record.id)
            change_hosts(found.paths, found.record, _hostname(found), drop=endpoint)
        _write_entries(host, found, [entry for entry in entries if entry.name != record.name])
        _refresh(host, found)
    _tell(host, "disconnect", found, record)


def reload(host: Host, container: str) -> str:
    """Set the networks of a running container up as they should be; return its id.

    Raises ContainerNotFound, ContainerStateError, HostError.
    """
    found = _find(host, container)
    if not found.pid:
        raise ContainerStateError(
            f"reload networks of container {found.record.name}: it does not run"
        )
    for position, entry in enumerate(_entries(found)):
        record = read_network(host.layout, entry.name)
        endpoint = read_endpoint(host.layout, record.id, found.record.id)
        if endpoint is None:
            _attach(host, found, record, entry, position)
            continue
        if _in_networks(found, endpoint, lambda there, e=endpoint: has_interface(e, there)):  # type: ignore[misc]
            continue
        lock = network_lock(host.layout, record.id)
        lock.acquire()
        starting = bring_up(host.layout, record, host.id_maps, lock)
        starting.wait_ready()
        _wire(found, record, endpoint, starting.connection, position)
        starting.connection.close()
    _tell_monitor(found)
    return found.record.id


def _find(host: Host, text: str) -> ContainerView:
    found = find_container(host.layout, text)
    if found.record.network != "bridge":
        mode = found.record.network.partition(":")[0]
        raise UsageError(
            f'"{mode}" is not supported: invalid network mode',
            remedy="only a container that was made with --network NAME can be connected",
        )
    return found


def _entries(found: ContainerView) -> list[Attachment]:
    return [Attachment.from_json(entry) for entry in found.record.networks]


def _hostname(found: ContainerView) -> str:
    raw = read_config(found.paths)
    name = raw.get("hostname")
    return str(name or os.uname().nodename)


def _attach(
    host: Host, found: ContainerView, record: NetworkRecord, wanted: Attachment, position: int
) -> Endpoint:
    """Give a running container an interface in a network, and tell its monitor."""
    lock = network_lock(host.layout, record.id)
    lock.acquire()
    try:
        endpoint = take_addresses(host.layout, record, wanted, found.record, _hostname(found))
        starting = bring_up(host.layout, record, host.id_maps, lock)
    except BaseException:
        remove_endpoint(host.layout, record.id, found.record.id)
        lock.release()
        raise
    try:
        starting.wait_ready()
        _wire(found, record, endpoint, starting.connection, position)
        # It holds the network before this command lets go of it.
        _tell_monitor(found)
    except BaseException:
        remove_endpoint(host.layout, record.id, found.record.id)
        raise
    finally:
        starting.connection.close()
    return endpoint


def _wire(
    found: ContainerView,
    record: NetworkRecord,
    endpoint: Endpoint,
    connection: Connection,
    position: int,
) -> None:
    own = user_namespace_above(found.pid)
    try:
        if own < 0 or os.fstat(own).st_ino != os.fstat(connection.userns).st_ino:
            raise HostError(
                f"connect container {found.record.name} to network {record.name}: it was started"
                " when no network was in use",
                remedy=f"rpod restart {found.record.name}",
            )
    finally:
        if own >= 0:
            os.close(own)
    _in_networks(
        found, endpoint, lambda there: wire(record, endpoint, connection.netns, there, position)
    )


def _in_networks(found: ContainerView, endpoint: Endpoint, function: "Work") -> object:
    """Call `function` with the container's network namespace, in the networks' user namespace."""
    pid = entrance(found.pid)
    userns = user_namespace_above(pid)
    try:
        container = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerStateError(f"container {found.record.name} has just ended") from error

    def work() -> object:
        try:
            syscalls.setns(userns, syscalls.CLONE_NEWUSER)
            return function(container)
        except OSError as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            raise HostError(
                f"network {endpoint.network} of container {found.record.name}:"
                f" {notes}: {error.strerror}"
            ) from error

    try:
        return Job(work).result()
    finally:
        os.close(container)
        if userns >= 0:
            os.close(userns)


def _write_entries(host: Host, found: ContainerView, entries: list[Attachment]) -> None:
    record = read_record(host.layout, found.record.id)
    networks = tuple(entry._asdict() for entry in entries)
    sync = not record.auto_remove
    write_record(found.paths, record._replace(networks=networks), sync=sync)


def _refresh(host: Host, found: ContainerView) -> None:
    """Let the monitor and resolv.conf follow the record."""
    if found.pid:
        refresh_resolv_conf(host.layout, found.record.id)
        _tell_monitor(found)


def _tell_monitor(found: ContainerView) -> None:
    """Let the monitor look at the networks, and wait for it. Raises ContainerStateError."""
    directory = os.open(found.paths.run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(_ANSWER_S)
        sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(found.paths.attach_socket)}")
        sock.send(frames.frame(frames.NETWORKS))
        reader = frames.Reader()
        while data := sock.recv(1 << 16):
            if any(kind == frames.NETWORKS for kind, _ in reader.feed(data)):
                return
    except OSError as error:
        raise ContainerStateError(
            f"container {found.record.name}: its monitor does not answer: {error}"
        ) from error
    finally:
        sock.close()
        os.close(directory)
    raise ContainerStateError(f"container {found.record.name} has just ended")
