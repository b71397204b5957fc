"""/etc/hosts and /etc/resolv.conf of a container in user-defined networks.

Its addresses are known when it starts, and change when it is connected and disconnected. Both files
are bound into the container, so they are written in place.
"""

import os

from rootless.container.etc import replace_text, request_of
from storage.networks import Endpoint, NetworkRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.containers import ContainerRecord
    from storage.layout import ContainerPaths, Layout

SEARCH_DOMAIN = "dns.podman"
_LIMIT_BYTES = 1 << 20


def write_files(
    paths: "ContainerPaths",
    record: "ContainerRecord",
    hostname: str,
    networks: list[NetworkRecord],
    endpoints: list[Endpoint],
) -> None:
    """Write both files, those that the container has; what was in them is lost.

    Raises InvalidNetwork.
    """
    from slirp.hosts import find_host_address, hosts_text, parse_add_host

    request = request_of(record)
    if os.path.exists(f"{paths.etc}/hosts"):
        host = find_host_address()
        text = hosts_text(
            own_address="" if endpoints else "127.0.1.1",
            own_names=(hostname, record.name),
            add_hosts=tuple(parse_add_host(entry, host) for entry in request.add_host),
            host_address=host,
        )
        text += "".join(line + "\n" for e in endpoints for line in _own_lines(e, hostname, record))
        replace_text(f"{paths.etc}/hosts", text)
    write_resolv_conf(paths, record, networks, endpoints)


def write_resolv_conf(
    paths: "ContainerPaths",
    record: "ContainerRecord",
    networks: list[NetworkRecord],
    endpoints: list[Endpoint],
) -> None:
    """Write the name servers: the networks' own, which ask the others. Raises InvalidNetwork."""
    path = f"{paths.etc}/resolv.conf"
    if not os.path.exists(path):
        return
    from slirp.resolv import (
        DnsRequest,
        check_dns,
        host_resolv_conf,
        parse_resolv_conf,
        resolv_conf_text,
    )

    request = request_of(record)
    wanted = check_dns(DnsRequest(request.dns, request.dns_search, request.dns_option))
    if wanted.keeps_image_file:
        return
    named = {network.name for network in networks if network.dns}
    servers = [
        server
        for endpoint in endpoints
        if endpoint.network in named
        for server in (endpoint.gateway, endpoint.gateway6)
        if server
    ]
    if not servers:
        # Networks without names: the forwarder of the way out, where there is one.
        forwarder = next((_forwarder(n) for n in networks if not n.internal), "")
        replace_text(path, resolv_conf_text(wanted, host_resolv_conf(), forwarder=forwarder))
        return
    host = host_resolv_conf()
    search = wanted.search or (SEARCH_DOMAIN, *parse_resolv_conf(host).search)
    text = resolv_conf_text(
        # glibc and musl ask three servers at most.
        wanted._replace(servers=tuple(servers[:3]), search=tuple(dict.fromkeys(search))),
        host,
    )
    replace_text(path, text)


def refresh_resolv_conf(layout: "Layout", container_id: str) -> None:
    """Write a running container's resolv.conf: its networks, the host's name servers now."""
    from storage.containers import find_container
    from storage.errors import NetworkNotFound
    from storage.networks import read_endpoint, read_network

    found = find_container(layout, container_id)
    networks, endpoints = [], []
    for entry in found.record.networks:
        try:
            network = read_network(layout, str(entry["name"]))
        except NetworkNotFound:
            continue
        endpoint = read_endpoint(layout, network.id, container_id)
        if endpoint is not None:
            networks.append(network)
            endpoints.append(endpoint)
    write_resolv_conf(found.paths, found.record, networks, endpoints)


def _forwarder(network: NetworkRecord) -> str:
    if network.options.get("outgoing") == "pasta":
        from slirp.pasta import DNS_FORWARDER

        return DNS_FORWARDER
    from rootless.container.networks_prepare import slirp_options

    return slirp_options(network).dns


def change_hosts(
    paths: "ContainerPaths",
    record: "ContainerRecord",
    hostname: str,
    *,
    add: Endpoint | None = None,
    drop: Endpoint | None = None,
) -> None:
    """Add or remove one network's lines; whatever else stands in /etc/hosts stays."""
    path = f"{paths.etc}/hosts"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read(_LIMIT_BYTES).splitlines()
    if drop is not None:
        gone = {address for address in (drop.ip, drop.ip6) if address}
        lines = [line for line in lines if not gone.intersection(line.split()[:1])]
    if add is not None:
        lines += _own_lines(add, hostname, record)
    replace_text(path, "".join(f"{line}\n" for line in lines))


def _own_lines(endpoint: Endpoint, hostname: str, record: "ContainerRecord") -> list[str]:
    names = " ".join(dict.fromkeys((hostname, record.name)))
    return [f"{address}\t{names}" for address in (endpoint.ip, endpoint.ip6) if address]
