"""The text of the files that a container gets under /etc and /run from rpod."""

from rootless.container.request import ContainerRequest
from storage.containers import ContainerRecord


def containerenv(record: ContainerRecord) -> str:
    """/run/.containerenv: how programs see that they run in a container, and in which."""
    rootless = 1
    return (
        f'engine="rpod"\nname="{record.name}"\nid="{record.id}"\nimage="{record.image_name}"\n'
        f'imageid="{record.image_id}"\nrootless={rootless}\n'
    )


def _addresses(record: ContainerRecord) -> tuple[str, str, str]:
    """Return the container's own address, the host's as it sees it, and the name server."""
    from slirp.hosts import find_host_address
    from slirp.settings import parse_network

    if record.network == "bridge":
        # Its own address is known when it starts: `rootless.container.networks_files`.
        return "", find_host_address(), ""
    settings = parse_network(record.network)
    if settings.mode == "slirp4netns":
        slirp = settings.slirp
        host = slirp.gateway if slirp.allow_host_loopback else find_host_address()
        return slirp.address, host, slirp.dns
    if settings.mode == "pasta":
        from slirp.pasta import DNS_FORWARDER

        # The container has the host's own address, so the host itself cannot be named by it.
        return find_host_address(), "", DNS_FORWARDER
    if settings.mode == "host":
        return "", "127.0.0.1", ""
    return "", "", ""


def hosts(request: ContainerRequest, record: ContainerRecord, hostname: str) -> str:
    """/etc/hosts (hosts(5)). Raises InvalidNetwork for a wrong --add-host."""
    from slirp.hosts import hosts_text, parse_add_host

    own, host, _ = _addresses(record)
    entries = tuple(parse_add_host(text, host) for text in request.add_host)
    own_address = own or "127.0.1.1"
    return hosts_text(
        own_address=own_address,
        own_names=(hostname, record.name),
        add_hosts=entries,
        host_address=host,
    )


def resolv_conf(request: ContainerRequest, record: ContainerRecord) -> str:
    """/etc/resolv.conf (resolv.conf(5)). Raises InvalidNetwork for a wrong --dns."""
    from slirp.resolv import DnsRequest, check_dns, host_resolv_conf, resolv_conf_text

    wanted = check_dns(
        DnsRequest(tuple(request.dns), tuple(request.dns_search), tuple(request.dns_option))
    )
    if wanted.keeps_image_file:
        return ""
    _, _, forwarder = _addresses(record)
    is_host = record.network == "host"
    return resolv_conf_text(wanted, host_resolv_conf(), forwarder=forwarder, keep_loopback=is_host)
