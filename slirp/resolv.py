"""The text of a container's /etc/resolv.conf (resolv.conf(5); podman-run(1), --dns*)."""

from slirp.errors import InvalidNetwork
from slirp.record import NamedTuple
from slirp.resolv_watch import RESOLV_CONF, RESOLVED_CONF

_LIMIT_BYTES = 1 << 20
# RFC 1035, 2.3.4.
_MAX_NAME, _MAX_LABEL = 254, 63


class DnsRequest(NamedTuple):
    """What --dns, --dns-search and --dns-option say."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def keeps_image_file(self) -> bool:
        """--dns=none: the image's own file stays."""
        return self.servers == ("none",)


class _Parsed(NamedTuple):
    servers: tuple[str, ...]
    search: tuple[str, ...]
    options: tuple[str, ...]


def check_dns(request: DnsRequest) -> DnsRequest:
    """Return the request when every server is an address.

    Raises InvalidNetwork.
    """
    if request.keeps_image_file:
        if request.search or request.options:
            raise InvalidNetwork("--dns=none keeps the image's file: no --dns-search, --dns-option")
        return request
    for server in request.servers:
        if not is_address(server.partition("%")[0]):
            raise InvalidNetwork(f"--dns {server}: not an IP address")
    for word in request.search:
        if word != "." and not _is_domain(word):
            raise InvalidNetwork(f"--dns-search {word!r}: not the name of a domain")
    for word in (*request.search, *request.options):
        if not word or not word.isprintable() or " " in word:
            raise InvalidNetwork(f"--dns-search or --dns-option {word!r}: not one word")
    return request


def _is_domain(word: str) -> bool:
    """Whether this is a name of the DNS (RFC 1123; underscores are in use)."""
    labels = word.removesuffix(".").split(".")
    return len(word) <= _MAX_NAME and all(
        label and len(label) <= _MAX_LABEL and label[0] != "-" and label[-1] != "-"
        and all(one.isalnum() or one in "-_" for one in label)
        for label in labels
    )  # fmt: skip


def host_resolv_conf(path: str = RESOLV_CONF, resolved: str = RESOLVED_CONF) -> str:
    """Return the host's file, or the one behind systemd-resolved's stub; "" when there is none."""
    text = _read(path)
    servers = parse_resolv_conf(text).servers
    if servers and all(_is_loopback(server) for server in servers):
        upstream = _read(resolved)
        if any(not _is_loopback(server) for server in parse_resolv_conf(upstream).servers):
            return upstream
    return text


def resolv_conf_text(
    request: DnsRequest,
    host_text: str,
    *,
    forwarder: str = "",
    keep_loopback: bool = False,
    ipv6: bool = True,
) -> str:
    """Return the container's file: what was asked for, else the forwarder and the host's servers.

    `keep_loopback` is for --network=host, where the host's loopback can be reached.
    """
    host = parse_resolv_conf(host_text)
    servers = list(request.servers)
    if not servers:
        servers = [forwarder] if forwarder else []
        for server in host.servers:
            if server in servers or ("%" in server and not keep_loopback):
                continue
            if keep_loopback or (not _is_loopback(server) and (ipv6 or ":" not in server)):
                servers.append(server)
    search = [name for name in request.search if name != "."]
    if not request.search:
        search = [name for name in host.search if name != "."]
    options = request.options or host.options
    lines = []
    if search:
        lines.append(f"search {' '.join(search)}")
    lines += [f"nameserver {server}" for server in servers]
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def parse_resolv_conf(text: str) -> _Parsed:
    """Return servers, search list and options; the last search or domain line counts."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        # A comment starts in the first column; many files have one behind a value as well.
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            if is_address(words[1].partition("%")[0]) and words[1] not in servers:
                servers.append(words[1])
        elif words[0] == "search":
            search = tuple(words[1:])
        elif words[0] == "domain":
            search = (words[1],)
        elif words[0] == "options":
            options += [word for word in words[1:] if word not in options]
    return _Parsed(tuple(servers), search, tuple(options))


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server in ("::1", "0.0.0.0", "::")  # noqa: S104


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LIMIT_BYTES)
    except OSError:
        return ""
