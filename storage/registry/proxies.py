"""Which proxy a URL goes through: the variables that curl and Go programs read.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case; NO_PROXY has hosts, domains
(".example.org" and "example.org" both cover what is below), addresses, networks, each with an
optional port, or "*". Loopback never goes through a proxy.
"""

from urllib.parse import SplitResult, urlsplit

from storage.errors import RegistryUnreachable
from storage.registry.hosts import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Mapping


def choose_proxy(url: SplitResult, environment: "Mapping[str, str]") -> str | None:
    """Return the proxy's URL for `url`, None for a direct connection.

    Raises RegistryUnreachable for a proxy that cannot be used.
    """
    host = (url.hostname or "").lower()
    text = _variable(environment, f"{url.scheme}_proxy") or _variable(environment, "all_proxy")
    if not text or is_loopback(host):
        return None
    if _is_excluded(host, url.port, _variable(environment, "no_proxy")):
        return None
    proxy = text if "://" in text else f"http://{text}"
    scheme = urlsplit(proxy).scheme
    if scheme not in ("http", "https"):
        raise RegistryUnreachable(
            f"connect to {host} through the proxy of the environment: {scheme} proxies are not"
            " supported",
            remedy=f"set {url.scheme}_proxy to an http proxy, or put {host} into no_proxy",
        )
    return proxy


def _variable(environment: "Mapping[str, str]", name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _is_excluded(host: str, port: int | None, patterns: str) -> bool:
    return any(
        _matches(pattern.strip().lower(), host, port) for pattern in patterns.split(",") if pattern
    )


def _matches(pattern: str, host: str, port: int | None) -> bool:
    if pattern == "*":
        return True
    import ipaddress

    address = _address(host)
    if "/" in pattern:
        try:
            return address is not None and address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
    if address is not None and _address(pattern) is not None:
        return address == _address(pattern)
    name, wanted_port = pattern, None
    if not pattern.startswith("[") and pattern.count(":") == 1:
        name, _, digits = pattern.partition(":")
        wanted_port = int(digits) if digits.isdigit() else None
    if wanted_port is not None and wanted_port != port:
        return False
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    import ipaddress

    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
