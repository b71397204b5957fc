"""Which network a container gets, and which of its ports are published."""

from rootless.container import spec
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.oci.config import ImageConfig


def choose_network(host: Host, request: ContainerRequest) -> spec.Network:
    """Return the mode, with the user-defined networks where there are any."""
    texts = request.network or (host.config.network,)
    if len(texts) > 1 or any(_names_network(text) for text in texts):
        from rootless.container import networks_options as options

        wanted = options.attachments(host, request, options.split_networks(texts))
        return spec.Network("bridge", tuple(entry._asdict() for entry in wanted))
    if request.ip or request.ip6 or request.mac_address or request.network_alias:
        from rootless.container.networks_options import check_no_network

        check_no_network(request)
    return spec.Network(network_mode(host, request))


# What --network names besides user-defined networks.
_MODES = ("slirp4netns", "pasta", "none", "host", "container", "ns", "private", "default", "")


def _names_network(text: str) -> bool:
    return text.partition(":")[0] not in _MODES


def network_mode(host: Host, request: ContainerRequest) -> str:
    """Return the mode of `--network`. Raises UsageError, NetworkError, InvalidNetwork."""
    text = (request.network or (host.config.network,))[0]
    if text in ("", "default", "private"):
        text = _default_network(host, request)
    if text not in ("slirp4netns", "none", "host"):
        from slirp.settings import parse_network

        parse_network(text)
    return text


def _default_network(host: Host, request: ContainerRequest) -> str:
    from rootless.host.probe import network_backend

    backend = network_backend(host)
    if backend == "host" and request.publish:
        raise UsageError(
            "publish ports: neither slirp4netns nor pasta can be used here",
            remedy="run `rpod doctor` for the fix, or use --network=host without -p",
        )
    return backend


def published_ports(
    host: Host, request: ContainerRequest, config: ImageConfig, around: spec.Surroundings
) -> tuple[dict[str, object], ...]:
    """Return the ports to publish, as the record keeps them. Raises UsageError, InvalidPort."""
    if request.expose:
        from slirp.ports import parse_exposed

        for text in request.expose:
            parse_exposed(text)
    if not request.publish and not request.publish_all:
        return ()
    from slirp.ports import parse_publish_all, publish_exposed

    mode = around.network.mode.partition(":")[0]
    if mode == "host":
        host.note("-p is left out: with --network=host every port is the host's already")
        return ()
    if mode in ("container", "ns"):
        raise UsageError(
            "cannot set port bindings on an existing container network namespace",
            remedy="publish them with the container, or the pod, that owns the network",
        )
    if mode == "none":
        host.note("-p is left out: a container with --network=none has no network")
        return ()
    mappings = parse_publish_all(request.publish)
    if request.publish_all:
        mappings += publish_exposed((*config.exposed_ports, *request.expose), mappings)
    if mode == "slirp4netns":
        from slirp import slirp4netns
        from slirp.settings import parse_network

        for text in slirp4netns.notes(parse_network(around.network.mode).slirp, mappings):
            host.note(text)
    if mode == "pasta":
        from slirp import pasta

        for text in pasta.notes(mappings):
            host.note(text)
    return tuple(mapping.to_json() for mapping in mappings)
