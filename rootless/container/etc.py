"""The files that a container gets under /etc and /run from rpod.

/etc/hosts and /etc/resolv.conf say how the host's network is, so they are written at each start: by
the monitor, while newuidmap works. Until then they are empty. Both are bound into the container.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from slirp.resolv import DnsRequest
    from storage.containers import ContainerRecord

_LIMIT_BYTES = 1 << 16


def containerenv(record: "ContainerRecord") -> str:
    """/run/.containerenv: how programs see that they run in a container, and in which."""
    rootless = 1
    return (
        f'engine="rpod"\nname="{record.name}"\nid="{record.id}"\nimage="{record.image_name}"\n'
        f'imageid="{record.image_id}"\nrootless={rootless}\n'
    )


def hostname_of(runtime_config: dict[str, object]) -> str:
    """Return the host name inside: config.json names none where that is the host's own."""
    return str(runtime_config.get("hostname") or os.uname().nodename)


def check_network_files(request: "ContainerRequest") -> None:
    """Refuse a wrong --add-host, --dns, --dns-search or --dns-option, and one without effect.

    Raises InvalidNetwork, UsageError.
    """
    given = request.add_host or request.dns or request.dns_search or request.dns_option
    if given and any(mode.startswith("container:") for mode in request.network):
        from rootless.errors import UsageError

        raise UsageError(
            f"--network {request.network[0]} goes with none of --add-host, --dns, --dns-search and"
            " --dns-option: the files are those of the container that owns the network",
            remedy="give them to that container",
        )
    if request.add_host:
        from slirp.hosts import find_host_address, parse_add_host

        for text in request.add_host:
            parse_add_host(text, find_host_address() if "host-gateway" in text else "")
    if request.dns or request.dns_search or request.dns_option:
        _wanted_dns(request)


def write_network_files(
    directory: str, request: "ContainerRequest", record: "ContainerRecord", hostname: str
) -> None:
    """Write those of the two that are in the bundle's etc/; what was in them is lost.

    Not for containers in user-defined networks (`rootless.container.networks_files`).
    """
    if os.path.exists(f"{directory}/hosts"):
        replace_text(f"{directory}/hosts", hosts(request, record, hostname))
    if os.path.exists(f"{directory}/resolv.conf"):
        replace_text(f"{directory}/resolv.conf", resolv_conf(request, record))


def request_of(record: "ContainerRecord") -> "ContainerRequest":
    """Return what was asked for names."""
    from rootless.container.request import ContainerRequest  # not for the monitor's memory

    def texts(key: str) -> tuple[str, ...]:
        value = record.request.get(key, ())
        return tuple(str(text) for text in value) if isinstance(value, list | tuple) else ()

    return ContainerRequest(
        add_host=texts("add_host"),
        dns=texts("dns"),
        dns_search=texts("dns_search"),
        dns_option=texts("dns_option"),
    )


def replace_text(path: str, text: str) -> None:
    """Write a file in place: a mount shows this inode. Nothing inside can put a link here."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def read_resolv_conf(directory: str) -> str:
    """Return the resolv.conf of the bundle's etc/, "" when it has none; a character is a byte."""
    try:
        with open(f"{directory}/resolv.conf", "rb") as file:
            return file.read(_LIMIT_BYTES).decode("latin-1")
    except FileNotFoundError:
        return ""


def _addresses(record: "ContainerRecord") -> tuple[str, str, str]:
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


def hosts(request: "ContainerRequest", record: "ContainerRecord", hostname: str) -> str:
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


def resolv_conf(
    request: "ContainerRequest", record: "ContainerRecord", *, at_start: str = ""
) -> str:
    """/etc/resolv.conf (resolv.conf(5)). Raises InvalidNetwork for a wrong --dns.

    `at_start` is what it was, when the host's has changed since the container was started.
    """
    from slirp.resolv import host_resolv_conf, resolv_conf_text

    wanted = _wanted_dns(request)
    if wanted.keeps_image_file:
        return ""
    _, _, forwarder = _addresses(record)
    is_host = record.network == "host"
    host_text = host_resolv_conf()
    if at_start and not wanted.servers and record.network.partition(":")[0] == "pasta":
        return _after_a_move(wanted, host_text, forwarder, at_start)
    return resolv_conf_text(wanted, host_text, forwarder=forwarder, keep_loopback=is_host)


def _after_a_move(wanted: "DnsRequest", host_text: str, forwarder: str, at_start: str) -> str:
    """Return resolv.conf for a pasta of before: its forwarder asks the server of its start.

    Others are reached without it, but for those on the host's loopback. Answers of that server
    always come from the forwarder's address.
    """
    from slirp.resolv import parse_resolv_conf, resolv_conf_text

    text = resolv_conf_text(wanted, host_text)
    if "nameserver" not in text:
        return resolv_conf_text(wanted, host_text, forwarder=forwarder)
    for server in parse_resolv_conf(at_start).servers:
        if server != forwarder and ":" not in server:
            return text.replace(f"nameserver {server}\n", f"nameserver {forwarder}\n")
    return text


def _wanted_dns(request: "ContainerRequest") -> "DnsRequest":
    from slirp.resolv import DnsRequest, check_dns

    return check_dns(
        DnsRequest(tuple(request.dns), tuple(request.dns_search), tuple(request.dns_option))
    )
