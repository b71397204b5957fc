"""Networks, in docker's words; podman's network `podman` is called `bridge`."""

from rootless.container import networks, networks_live
from rootless.filters import matches_label, passes
from rootless.human import parse_rfc3339
from rootless.service.containers import network_name
from rootless.service.exchange import Exchange
from rootless.service.fields import Fields
from rootless.service.http import HttpError
from rootless.service.naming import find
from storage.errors import InUse, NetworkNotFound
from storage.networks import DEFAULT_NAME, NetworkRecord, find_network, list_networks

_FILTERS = ("dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until")
# The two that docker always has; containers name them, nobody makes or removes them.
_FIXED = ("host", "none")
_NEVER = "0001-01-01T00:00:00Z"


def _all(exchange: Exchange) -> list[NetworkRecord]:
    return list_networks(exchange.host.layout)


def _of_path(exchange: Exchange) -> NetworkRecord:
    return _find(exchange, exchange.names["id"])


def _find(exchange: Exchange, name: str) -> NetworkRecord:
    try:
        if name == "bridge":
            name = DEFAULT_NAME
        return find_network(exchange.host.layout, name)
    except NetworkNotFound as error:
        raise HttpError(404, f"network {name} not found") from error


def list_(exchange: Exchange) -> None:
    pairs = exchange.filters()
    for key, _ in pairs:
        if key not in _FILTERS:
            raise HttpError(400, f"invalid filter '{key}'")
    users = networks.network_users(exchange.host)
    found = [
        _document(exchange, record)
        for record in _all(exchange)
        if passes(pairs, lambda key, value, record=record: _test(record, key, value, users))  # type: ignore[misc]
    ]
    names = [value for key, value in pairs if key == "name"]
    if all(key in ("name", "driver", "type") for key, _ in pairs):
        found += [
            _fixed(name)
            for name in _FIXED
            if (not names or name in names) and _passes_fixed(name, pairs)
        ]
    exchange.send(found)


def _passes_fixed(name: str, pairs: list[tuple[str, str]]) -> bool:
    wanted = {"driver": "host" if name == "host" else "null", "type": "builtin"}
    return all(key == "name" or wanted[key] == value for key, value in pairs)


def _test(record: NetworkRecord, key: str, value: str, users: dict[str, list[str]]) -> bool:
    match key:
        case "name":
            return value in network_name(record.name)
        case "id":
            return record.id.startswith(value)
        case "driver":
            return value == "bridge"
        case "scope":
            return value == "local"
        case "type":
            return value == ("builtin" if record.is_default else "custom")
        case "label":
            return matches_label(record.labels, value)
        case "label!":
            return not matches_label(record.labels, value)
        case "dangling":
            return (value in ("1", "true")) == (record.name not in users)
        case _:
            return is_older(record.created_at, value)


def is_older(created_at: str, value: str) -> bool:
    """Say whether something was made before a moment. Raises HttpError."""
    import time

    from rootless.container.moments import parse_moment

    moment_s = parse_moment(value, time.time())
    if moment_s is None:
        raise HttpError(400, f"until={value!r:.80} is no time")
    return (parse_rfc3339(created_at) or 0.0) < moment_s


def _fixed(name: str) -> dict[str, object]:
    return {
        "Name": name, "Id": name, "Driver": "host" if name == "host" else "null", "Scope": "local",
        "EnableIPv6": False, "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False, "Attachable": False, "Ingress": False, "Containers": {}, "Options": {},
        "Labels": {}, "Created": _NEVER,
    }  # fmt: skip


def _document(exchange: Exchange, record: NetworkRecord) -> dict[str, object]:
    from storage.networks import live_endpoints

    config = []
    for entry in record.subnets:
        subnet = {"Subnet": entry["subnet"], "Gateway": entry["gateway"]}
        config.append(subnet)
    return {
        "Name": network_name(record.name),
        "Id": record.id,
        "Created": record.created_at or _NEVER,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": True,
        "EnableIPv6": record.ipv6,
        "IPAM": {"Driver": "default", "Options": None, "Config": config},
        "Internal": record.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            one.container_id: {
                "Name": one.names[0],
                "EndpointID": "",
                "MacAddress": one.mac,
                "IPv4Address": f"{one.ip}/{one.prefix}" if one.ip else "",
                "IPv6Address": f"{one.ip6}/{one.prefix6}" if one.ip6 else "",
            }
            for one in live_endpoints(exchange.host.layout, record.id)
        },
        "Options": record.options,
        "Labels": record.labels,
    }


def inspect(exchange: Exchange) -> None:
    name = exchange.names["id"]
    if name in _FIXED:
        exchange.send(_fixed(name))
        return
    exchange.send(_document(exchange, _of_path(exchange)))


def create(exchange: Exchange) -> None:
    body = Fields(exchange.json())
    name = body.text("Name")
    if not name:
        raise HttpError(400, "Name is missing")
    if name in (*_FIXED, "bridge", "default"):
        raise HttpError(403, f"operation is not permitted on predefined {name} network")
    for key in ("Ingress", "ConfigOnly"):
        if body.flag(key):
            raise HttpError(501, f"{key}: only a swarm has it")
    ipam = body.part("IPAM")
    if ipam.text("Driver") not in ("", "default", "host-local"):
        raise HttpError(501, f"IPAM.Driver: there is no driver {ipam.text('Driver')!r:.80}")
    subnets, gateways, ranges = [], [], []
    for entry in ipam.parts("Config"):
        if entry.pairs("AuxiliaryAddresses"):
            raise HttpError(501, f"{entry.where}.AuxiliaryAddresses: not there")
        if entry.text("Subnet"):
            subnets.append(entry.text("Subnet"))
        if entry.text("Gateway"):
            gateways.append(entry.text("Gateway"))
        if entry.text("IPRange"):
            ranges.append(entry.text("IPRange"))
    record = networks.create_network(
        exchange.host,
        networks.NetworkRequest(
            name=name,
            driver=body.text("Driver") or "bridge",
            subnet=tuple(subnets),
            gateway=tuple(gateways),
            ip_range=tuple(ranges),
            ipv6=body.flag("EnableIPv6"),
            internal=body.flag("Internal"),
            label=tuple(f"{key}={value}" for key, value in body.pairs("Labels").items()),
            opt=tuple(f"{key}={value}" for key, value in body.pairs("Options").items()),
        ),
    )
    warning = "; ".join(exchange.host.notes)
    exchange.host.notes.clear()
    exchange.send({"Id": record.id, "Warning": warning}, 201)


def connect(exchange: Exchange) -> None:
    record, body = _of_path(exchange), Fields(exchange.json())
    found = find(exchange, body.text("Container"))
    endpoint = body.part("EndpointConfig")
    addresses = endpoint.part("IPAMConfig")
    networks_live.connect(
        exchange.host,
        record.name,
        found.record.id,
        aliases=endpoint.texts("Aliases"),
        ip=addresses.text("IPv4Address"),
        ip6=addresses.text("IPv6Address"),
        mac=endpoint.text("MacAddress"),
    )
    exchange.done(200)


def disconnect(exchange: Exchange) -> None:
    record, body = _of_path(exchange), Fields(exchange.json())
    found = find(exchange, body.text("Container"))
    networks_live.disconnect(exchange.host, record.name, found.record.id, force=body.flag("Force"))
    exchange.done(200)


def remove(exchange: Exchange) -> None:
    name = exchange.names["id"]
    if name in (*_FIXED, "bridge"):
        raise HttpError(403, f"{name} is a pre-defined network and cannot be removed")
    record = _of_path(exchange)
    try:
        networks.remove(exchange.host, record.name)
    except InUse as error:
        raise HttpError(403, error.message) from error  # docker's status for it
    exchange.done()


def prune(exchange: Exchange) -> None:
    host, pairs = exchange.host, exchange.filters()
    for key, _ in pairs:
        if key not in ("until", "label", "label!"):
            raise HttpError(400, f"invalid filter '{key}'")
    users = networks.network_users(host)
    gone = []
    for record in _all(exchange):
        if record.is_default or users.get(record.name):
            continue
        if not passes(pairs, lambda k, v, record=record: _test(record, k, v, users)):  # type: ignore[misc]
            continue
        try:
            gone.append(networks.remove(host, record.name))
        except (NetworkNotFound, InUse):
            continue  # somebody else was faster
    exchange.send({"NetworksDeleted": gone or None})
