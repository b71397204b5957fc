"""The network of a container that starts: its helper, its published ports."""

import os

from rootless.container.running import Container
from rootless.linux.userns import to_host
from storage.containers import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.joined import Joined
    from rootless.container.networks_join import Joining
    from rootless.host.paths import Host
    from slirp.process import Namespaces, Running


def wait_network(
    view: ContainerView,
    container: Container,
    joining: "Joining | Joined | None",
    namespaces: "Namespaces | None",
) -> None:
    """Return once the network works and the ports are published. Raises SlirpError, HostError."""
    if container.network is not None:
        container.network.wait_ready()
        container.network_pidfd = os.pidfd_open(container.network.pid)
    if joining is not None:
        joining.wait_ready()
        container.uses = joining.uses()
    if container.published is not None:
        from rootless.container.publishing import settle

        settle(view, container, namespaces)


def open_namespaces(view: ContainerView, pid: int) -> "Namespaces | None":
    """Open them for the network helper when root of the namespace is not the caller's id."""
    if to_host(view.record.uid_map, 0) == os.geteuid():
        return None
    from slirp.process import Namespaces

    return Namespaces.open(pid)


def start_network(
    host: "Host", view: ContainerView, container: Container, namespaces: "Namespaces | None"
) -> "Running | None":
    """Start the helper for the network namespace of the child; ports are chosen here."""
    mode = view.record.network.partition(":")[0]
    if mode == "bridge" and view.record.ports:
        from rootless.container.publishing import bind

        bind(host, view, container)
    if mode not in ("slirp4netns", "pasta"):
        return None
    from slirp.model import PortMapping
    from slirp.settings import parse_network

    settings = parse_network(view.record.network)
    ports: tuple[PortMapping, ...] = ()
    if view.record.ports and settings.forwards:
        from rootless.container.publishing import bind

        bind(host, view, container)
    elif view.record.ports:
        from slirp.ports import choose_host_ports

        ports = choose_host_ports(PortMapping.from_json(entry) for entry in view.record.ports)
        container.ports = [mapping.to_json() for mapping in ports]
    if mode == "pasta":
        from slirp import pasta

        return pasta.start(container.pid, settings.pasta, ports=ports, namespaces=namespaces)
    from slirp import slirp4netns

    socket_path = view.paths.network_socket if container.ports else None
    if socket_path and os.path.exists(socket_path):
        os.unlink(socket_path)
    return slirp4netns.start(
        container.pid,
        settings.slirp,
        ports=ports,
        api_socket=socket_path,
        namespaces=namespaces,
    )
