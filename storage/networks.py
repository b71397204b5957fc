"""User-defined networks on disk, and who uses them now.

`networks/<name>.json` in the store is what was asked for. In the run root `networks/<id>/` has the
lock of the network, the socket of its helper and a file for each container that is attached. Such a
file counts while the monitor of its container lives, so an address is free in the moment in which
the container ends, however it ends; what a killed monitor leaves is written over.
"""

import os

from storage import lightjson as json
from storage.containers import MonitorLock
from storage.errors import (
    Ambiguous,
    InvalidDocument,
    NameTaken,
    NetworkNotFound,
    StorageError,
    from_os_error,
)
from storage.files import Lock, read_file, write_file
from storage.layout import Layout
from storage.record import NamedTuple

# The network that every user has: podman's name, identity and subnet for it.
DEFAULT_NAME = "podman"
_DEFAULT_ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"
_MAX_NAME = 200
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALPHANUMERIC | frozenset("_.-")


class NetworkRecord(NamedTuple):
    """A network as it was made. A subnet has the keys subnet, gateway, start and end (may be "").

    A route has destination, gateway and metric. `options` are those of `network create --opt`.
    """

    name: str
    id: str
    created_at: str
    interface: str
    subnets: tuple[dict[str, str], ...]
    ipv6: bool = False
    internal: bool = False
    dns: bool = True
    dns_servers: tuple[str, ...] = ()
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed
    options: dict[str, str] = {}  # noqa: RUF012 - never changed
    routes: tuple[dict[str, str], ...] = ()
    version: int = 1

    def to_json(self) -> dict[str, object]:
        return self._asdict()

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_NAME


class Endpoint(NamedTuple):
    """A container's place in a network; what it is called there, and the addresses it has.

    `names` are the container's name, its short id, its host name and its aliases.
    """

    container_id: str
    network: str
    network_id: str
    names: tuple[str, ...]
    aliases: tuple[str, ...]
    interface: str
    mac: str
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    ip6: str = ""
    prefix6: int = 0
    gateway6: str = ""
    dns_servers: tuple[str, ...] = ()
    version: int = 1


def check_network_name(name: str) -> str:
    """Return the name of a network when it is one. Raises StorageError."""
    if name[:1] not in _ALPHANUMERIC or not _NAME.issuperset(name) or len(name) > _MAX_NAME:
        raise StorageError(
            f'"{name[:_MAX_NAME]}" is not a name for a network: names must match '
            "[a-zA-Z0-9][a-zA-Z0-9_.-]*",
            remedy=f"use up to {_MAX_NAME} letters, digits, _ . and -, a letter or digit first",
        )
    return name


def _path(layout: Layout, name: str) -> str:
    return f"{layout.networks_dir}/{name}.json"


def write_network(layout: Layout, record: NetworkRecord, *, new: bool) -> None:
    """Write a record; the caller holds the lock `networks`. Raises NameTaken, StoreUnusable."""
    path = _path(layout, record.name)
    if new and (record.is_default or os.path.exists(path)):
        raise NameTaken(
            f"network name {record.name} already used: network already exists",
            remedy=f"use it as it is, or remove it first: rpod network rm {record.name}",
        )
    try:
        os.makedirs(layout.networks_dir, mode=0o700, exist_ok=True)
        write_file(path, json.dumps(record.to_json()).encode())
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def read_network(layout: Layout, name: str) -> NetworkRecord:
    """Return the network with exactly this name.

    Raises NetworkNotFound, InvalidDocument, StoreUnusable.
    """
    if not name or "/" in name or len(name) > _MAX_NAME:
        raise _not_found(name)
    path = _path(layout, name)
    try:
        return _from_json(json.loads(read_file(path)), path)
    except FileNotFoundError as error:
        if name == DEFAULT_NAME:
            return _default()
        raise _not_found(name) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    except ValueError as error:
        raise InvalidDocument(f"read {path}: {error}", remedy="remove the file") from error


def _not_found(name: str) -> NetworkNotFound:
    return NetworkNotFound(
        f"unable to find network with name or ID {name}: network not found",
        remedy=f"`rpod network ls` shows what there is; make it: rpod network create {name}",
    )


def _default() -> NetworkRecord:
    subnet = {"subnet": "10.88.0.0/16", "gateway": "10.88.0.1", "start": "", "end": ""}
    return NetworkRecord(DEFAULT_NAME, _DEFAULT_ID, "", "podman0", (subnet,), dns=False)


def _from_json(raw: object, where: str) -> NetworkRecord:
    if not isinstance(raw, dict):
        raise InvalidDocument(f"{where}: not an object")
    known = {key: value for key, value in raw.items() if key in NetworkRecord._fields}
    try:
        for key in ("subnets", "dns_servers", "routes"):
            known[key] = tuple(known.get(key, ()))
        return NetworkRecord(**known)
    except (TypeError, ValueError) as error:
        raise InvalidDocument(f"{where}: {error}") from error


def find_network(layout: Layout, text: str) -> NetworkRecord:
    """Find by name, id or unambiguous beginning of an id; a name beats an id.

    Raises NetworkNotFound, Ambiguous, InvalidDocument.
    """
    try:
        return read_network(layout, text)
    except NetworkNotFound:
        matches = [r for r in list_networks(layout) if text and r.id.startswith(text)]
        if len(matches) > 1:
            raise Ambiguous(f'more than one network begins with ID "{text}"') from None
        if not matches:
            raise
        return matches[0]


def list_networks(layout: Layout) -> list[NetworkRecord]:
    """Return every network by name, the default one too. Raises InvalidDocument."""
    try:
        files = os.listdir(layout.networks_dir)
    except FileNotFoundError:
        files = []
    names = {DEFAULT_NAME, *(f.removesuffix(".json") for f in files if f.endswith(".json"))}
    result = []
    for name in sorted(names):
        try:
            result.append(read_network(layout, name))
        except NetworkNotFound:
            continue  # removed while we were looking
    return result


def remove_network(layout: Layout, record: NetworkRecord) -> None:
    """Remove the record; the caller holds the lock `networks`. Raises NetworkNotFound."""
    try:
        os.unlink(_path(layout, record.name))
    except FileNotFoundError as error:
        raise _not_found(record.name) from error
    from storage.remove import remove_tree

    remove_tree(layout.network_run_dir(record.id))


# --- endpoints


def network_lock(layout: Layout, network_id: str) -> Lock:
    """The lock under which addresses are given and the helper is started and ends."""
    directory = layout.network_run_dir(network_id)
    os.makedirs(f"{directory}/endpoints", mode=0o700, exist_ok=True)
    return Lock(f"{directory}/lock")


def _endpoint_path(layout: Layout, network_id: str, container_id: str) -> str:
    return f"{layout.network_run_dir(network_id)}/endpoints/{container_id}"


def write_endpoint(layout: Layout, endpoint: Endpoint) -> None:
    """Write where a container is; the caller holds the network's lock. Raises StoreUnusable."""
    path = _endpoint_path(layout, endpoint.network_id, endpoint.container_id)
    try:
        # The run root ends with the boot, as every address does.
        write_file(path, json.dumps(endpoint._asdict()).encode(), mode=0o600, sync=False)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def read_endpoint(layout: Layout, network_id: str, container_id: str) -> Endpoint | None:
    """Return a container's place in a network, None when it has none."""
    try:
        raw = json.loads(read_file(_endpoint_path(layout, network_id, container_id)))
        known = {key: value for key, value in raw.items() if key in Endpoint._fields}
        for key in ("names", "aliases", "dns_servers"):
            known[key] = tuple(known[key])
        return Endpoint(**known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # Gone, or half of a write that was cut off: no place.
        return None


def remove_endpoint(layout: Layout, network_id: str, container_id: str) -> None:
    """Give a container's addresses back; harmless when it has none."""
    try:
        os.unlink(_endpoint_path(layout, network_id, container_id))
    except FileNotFoundError:
        return


def is_attached(layout: Layout, container_id: str) -> bool:
    """Whether the monitor of a container lives, so that its places count."""
    return MonitorLock.is_held(layout.container(container_id).lock)


def live_endpoints(layout: Layout, network_id: str, *, sweep: bool = False) -> list[Endpoint]:
    """Return the places of the containers that run, in no order; what is stale is left out.

    With `sweep` it is removed as well; the caller holds the network's lock.
    """
    try:
        ids = os.listdir(f"{layout.network_run_dir(network_id)}/endpoints")
    except FileNotFoundError:
        return []
    found = []
    for container_id in ids:
        if "." in container_id:
            continue  # just being written
        if not is_attached(layout, container_id):
            if sweep:
                remove_endpoint(layout, network_id, container_id)
        else:
            endpoint = read_endpoint(layout, network_id, container_id)
            if endpoint is not None:
                found.append(endpoint)
    return found
