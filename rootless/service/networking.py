"""Network settings of docker's document of a container, as the words of the network options."""

from rootless.container.networks_document import network_settings
from rootless.service.fields import Fields
from rootless.service.http import HttpError
from storage.containers import find_container
from storage.errors import ContainerNotFound
from storage.networks import DEFAULT_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_MODES = ("none", "host", "slirp4netns", "pasta")
_OTHERS = ("container", "ns")


def network_fields(host: "Host", body: Fields, config: Fields) -> dict[str, object]:
    """Return the fields of a request that concern the network. Raises HttpError."""
    endpoints = body.part("NetworkingConfig").part("EndpointsConfig")
    values: dict[str, object] = {
        "network": _networks(host, body, config.text("NetworkMode"), endpoints),
        "publish": _published(config),
        "publish_all": config.flag("PublishAllPorts"),
        "expose": body.keys("ExposedPorts"),
        "dns": config.texts("Dns"),
        "dns_search": config.texts("DnsSearch"),
        "dns_option": config.texts("DnsOptions"),
        "add_host": config.texts("ExtraHosts"),
    }
    if links := [*config.texts("Links"), *_links(endpoints)]:
        values["add_host"] = (*config.texts("ExtraHosts"), *_linked(host, links, values))
    return values


def _links(endpoints: Fields) -> list[str]:
    return [link for name in endpoints.raw for link in endpoints.part(name).texts("Links")]


def _linked(host: "Host", links: list[str], values: dict[str, object]) -> list[str]:
    """Return lines of /etc/hosts for CONTAINER:ALIAS, as docker wrote them before it had DNS.

    Raises HttpError.
    """
    networks = values["network"]
    assert isinstance(networks, tuple)
    names = {str(text).partition(":")[0] for text in networks}
    lines = []
    for link in dict.fromkeys(links):
        target, _, alias = link.partition(":")
        alias = alias or target
        try:
            found = find_container(host.layout, target.removeprefix("/"))
        except ContainerNotFound as error:
            raise HttpError(400, f"could not get container for {target}") from error
        shown = network_settings(found, host)["Networks"] if found.record.networks else {}
        assert isinstance(shown, dict)
        addresses = [one["IPAddress"] for name, one in shown.items() if name in names]
        if not any(addresses):
            raise HttpError(
                400,
                f"Cannot link to {target}: it does not run in a network of this container;"
                " in a network containers find each other by name, without links",
            )
        lines.append(f"{alias}:{next(filter(None, addresses))}")
    return lines


def _networks(host: "Host", body: Fields, mode: str, endpoints: Fields) -> tuple[str, ...]:
    if body.flag("NetworkDisabled"):
        return ("none",)
    kind = mode.partition(":")[0]
    if kind in _MODES or kind in _OTHERS:
        return (mode,)
    names = list(endpoints.raw)
    own_mac = body.text("MacAddress")
    if kind in ("", "default"):
        # The endpoints of docker's default network say nothing about which one is meant.
        chosen = [name for name in names if name not in ("default", "bridge")]
        if not chosen and not own_mac:
            return ()
        mode = chosen[0] if chosen else "bridge"
        names = chosen
    ordered = [mode, *(name for name in names if name != mode)]
    return tuple(
        _network(name, endpoints.part(name), own_mac if name == mode else "") for name in ordered
    )


def _network(name: str, endpoint: Fields, own_mac: str) -> str:
    """Return NAME:ip=...,alias=... for one network."""
    if not name or any(letter in name for letter in ":,="):
        raise HttpError(400, f"network {name!r:.80}: no such name can be")
    if name in ("bridge", "default"):
        name = DEFAULT_NAME
    addresses = endpoint.part("IPAMConfig")
    words = [f"alias={alias}" for alias in endpoint.texts("Aliases")]
    for key, value in (
        ("ip", addresses.text("IPv4Address")),
        ("ip6", addresses.text("IPv6Address")),
        ("mac", endpoint.text("MacAddress") or own_mac),
    ):
        if value:
            words.append(f"{key}={value}")
    for word in words:
        if "," in word:
            raise HttpError(400, f"{endpoint.where}: {word!r:.80} has a comma")
    return f"{name}:{','.join(words)}" if words else name


def _published(config: Fields) -> tuple[str, ...]:
    result = []
    bindings = config.part("PortBindings")
    for port in bindings.raw:
        entries = bindings.parts(port)
        if not entries:
            result.append(port)
        for entry in entries:
            address, outside = entry.text("HostIp"), str(entry.raw.get("HostPort") or "")
            if ":" in address and not address.startswith("["):
                address = f"[{address}]"
            if address:
                result.append(f"{address}:{outside}:{port}")
            else:
                result.append(f"{outside}:{port}" if outside else port)
    return tuple(result)
