"""What `inspect` says of a container's user-defined networks: podman's NetworkSettings."""

from rootless.container.networks_options import Attachment
from rootless.host.paths import Host
from storage.containers import ContainerView
from storage.errors import NetworkNotFound
from storage.networks import Endpoint, read_endpoint, read_network

_SHORT_ID = 12


def network_settings(found: ContainerView, host: Host) -> dict[str, object]:
    """Return the document; addresses are those that the container has while it runs."""
    return {
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SandboxKey": f"/proc/{found.pid}/ns/net" if found.pid else "",
        "Networks": {
            str(entry["name"]): _one(found, host, Attachment.from_json(entry))
            for entry in found.record.networks
        },
    }


def _one(found: ContainerView, host: Host, wanted: Attachment) -> dict[str, object]:
    endpoint, network_id = None, ""
    try:
        network_id = read_network(host.layout, wanted.name).id
    except NetworkNotFound:
        pass  # its record was removed by hand: what is known is the name
    if found.pid and network_id:
        endpoint = read_endpoint(host.layout, network_id, found.record.id)
    here = endpoint or Endpoint(found.record.id, wanted.name, network_id, (), (), "", "")
    return {
        "EndpointID": "",
        "Gateway": here.gateway,
        "IPAddress": here.ip,
        "IPPrefixLen": here.prefix,
        "IPv6Gateway": here.gateway6,
        "GlobalIPv6Address": here.ip6,
        "GlobalIPv6PrefixLen": here.prefix6,
        "MacAddress": here.mac,
        "NetworkID": network_id,
        "DriverOpts": None,
        "IPAMConfig": {
            key: value
            for key, value in (("IPv4Address", wanted.ip), ("IPv6Address", wanted.ip6))
            if value
        }
        or None,
        "Links": None,
        "Aliases": [*wanted.aliases, found.record.id[:_SHORT_ID]],
    }
