"""Publish the ports of a container that starts, and those of a running one (`rpod port add`)."""

from rootless.container.forwarder import can_forward
from rootless.container.published import Published
from rootless.container.published_changes import target_of
from rootless.errors import HostError
from slirp.errors import PortUnavailable
from slirp.model import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.running import Container
    from rootless.host.paths import Host
    from slirp.process import Namespaces
    from storage.containers import ContainerView

_ANSWER_S = 10.0


def bind(host: "Host", view: "ContainerView", container: "Container") -> None:
    """Take the host's ports. Raises PortUnavailable, naming the container that has one."""
    from slirp.forward import listen_all

    mappings = [PortMapping.from_json(entry) for entry in view.record.ports]
    try:
        bound = listen_all(mappings)
    except PortUnavailable as error:
        raise _with_owner(host, error, mappings) from error
    if view.record.network == "bridge":
        from rootless.container.networks_use import Uses

        target = Uses(host.layout, view.record.id, {}).target()
    else:
        target = target_of(view.record.network)
    container.published = Published(target, bound)
    container.ports = [mapping.to_json() for mapping, _ in bound]


def settle(view: "ContainerView", container: "Container", namespaces: "Namespaces | None") -> None:
    """Let slirp4netns forward the ports where the forwarder cannot work; its network is up.

    `namespaces` of a container whose root is not the caller's id: until it executes its command
    they are closed to everybody who has not opened them before (ptrace(2)).
    """
    published = container.published
    assert published is not None
    if can_forward(namespaces or (container.pidfd,), published.target):
        return
    if view.record.network == "bridge":
        raise HostError(
            "publish ports: this kernel lets no forwarder into the container's network",
            remedy="IP_TRANSPARENT and routing rules are needed; or use --network=slirp4netns",
        )
    from slirp.settings import parse_network
    from slirp.slirp4netns import add_port, notes

    mappings = [mapping for mapping, _ in published.ports]
    published.close()
    container.published = None
    container.notes.append(
        "published ports go through slirp4netns, and the container does not see the clients' "
        "addresses: this kernel lacks IP_TRANSPARENT or routing rules by port (Linux 4.17)"
    )
    options = parse_network(view.record.network).slirp._replace(port_handler="slirp4netns")
    container.notes += notes(options, mappings)
    for mapping in mappings:
        add_port(view.paths.network_socket, mapping)


def _with_owner(
    host: "Host", error: PortUnavailable, mappings: "list[PortMapping]"
) -> PortUnavailable:
    """Name the container of ours that holds the port; the kernel only knows its forwarder."""
    from rootless.container.query import list_views

    if "already in use" not in error.message:
        return error
    for found in list_views(host):
        for entry in found.state.ports:
            taken = PortMapping.from_json(entry)
            for wanted in mappings:
                same = (wanted.host_port, wanted.protocol) == (taken.host_port, taken.protocol)
                if same and f"{wanted.host_text}/{wanted.protocol}" in error.message:
                    message = f"publish {wanted.host_text}/{wanted.protocol}: address already in"
                    message += f" use by container {found.record.name}"
                    return PortUnavailable(message, remedy=error.remedy)
    return error


def change_port(host: "Host", name: str, verb: str, text: str) -> list[PortMapping]:
    """Publish (`add`) or take back (`rm`) ports of a running container, and return them.

    Raises ContainerNotFound, ContainerStateError, InvalidPort, PortUnavailable.
    """
    from rootless.errors import ContainerStateError
    from slirp.ports import parse_publish
    from storage.containers import find_container

    mappings = parse_publish(text)
    found = find_container(host.layout, name)
    if found.status != "running":
        raise ContainerStateError(
            f"{verb} a port of container {found.record.name}: it is not running",
            remedy="start it first, or publish the port with run -p",
        )
    done: list[PortMapping] = []
    for mapping in mappings:
        wanted = mapping if verb == "add" else _the_published(found, mapping)
        done.append(_ask(host, found, verb, wanted))
    return done


def _the_published(found: "ContainerView", wanted: PortMapping) -> PortMapping:
    """Return the published port that `rm` means; without a host port it may be any."""
    for entry in found.state.ports:
        mapping = PortMapping.from_json(entry)
        same = (wanted.container_port, wanted.protocol)
        if same != (mapping.container_port, mapping.protocol):
            continue
        if wanted.host_port not in (0, mapping.host_port):
            continue
        if not wanted.host_ip or wanted.host_ip == mapping.host_ip:
            return mapping
    raise PortUnavailable(
        f"remove port {wanted.text}: container {found.record.name} does not publish it",
        remedy=f"see what it does: rpod port {found.record.name}",
    )


def _ask(host: "Host", found: "ContainerView", verb: str, mapping: PortMapping) -> PortMapping:
    """Let the container's monitor do it."""
    number, raw = _exchange(found, [verb, mapping.to_json()])
    if number == 0:
        return PortMapping.from_json(raw)
    doing = f"{verb} port {mapping.text} of container {found.record.name}"
    if number > 0:
        from slirp.ports import port_error

        error = port_error(mapping, OSError(number, _reason(number)))
        raise _with_owner(host, error, [mapping])
    raise HostError(
        f"{doing}: only a container with --network=slirp4netns gets ports while it runs"
    )


def _reason(number: int) -> str:
    import os

    return os.strerror(number)


def _exchange(found: "ContainerView", question: list[object]) -> tuple[int, dict[str, object]]:
    import _socket
    import os

    from rootless.container import frames
    from rootless.errors import HostError
    from storage import lightjson as json

    directory = os.open(found.paths.run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(_ANSWER_S)
        sock.connect(f"/proc/self/fd/{directory}/attach.sock")
        sock.send(frames.frame_json(frames.PUBLISH, question))
        reader = frames.Reader()
        while data := sock.recv(65536):
            for kind, payload in reader.feed(data):
                if kind == frames.PUBLISHED:
                    number, raw = json.loads(payload)
                    return number, raw
    except OSError as error:
        raise HostError(f"ask the monitor of {found.record.name}: {error}") from error
    finally:
        sock.close()
        os.close(directory)
    raise HostError(f"ask the monitor of {found.record.name}: it has ended")
