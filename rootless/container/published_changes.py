"""`rpod port add` and `port rm`: what the monitor of a running container does for them."""

import errno
import os

from rootless.container.forwarder import can_forward, open_entrance
from rootless.container.published import Published
from rootless.errors import HostError
from slirp.forward_target import Target
from slirp.model import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.container.monitor import Monitor


def handler(
    monitor: "Monitor", network: str, save: "Callable[[list[dict[str, object]]], None]"
) -> "Callable[[bytes], bytes]":
    """Return what answers `rpod port add` and `rm`; `save` writes the ports that there are now."""
    from rootless.container import frames
    from storage import lightjson as json

    def publish(payload: bytes) -> bytes:
        number, raw = 0, None
        try:
            verb, raw = json.loads(payload)
            mapping = PortMapping.from_json(raw)
            mapping = _add(monitor, network, mapping) if verb == "add" else _take(monitor, mapping)
            published = monitor.container.published
            assert published is not None
            save([entry.to_json() for entry, _ in published.ports])
            raw = mapping.to_json()
        except OSError as error:
            number = error.errno or -1
        except (ValueError, KeyError, TypeError, HostError):
            number = -1
        return frames.frame_json(frames.PUBLISHED, [number, raw])

    return publish


def _add(monitor: "Monitor", network: str, mapping: PortMapping) -> PortMapping:
    from slirp.errors import PortUnavailable
    from slirp.forward import listen_all

    container = monitor.container
    try:
        ((mapping, sock),) = listen_all([mapping])
    except PortUnavailable as error:
        cause = error.__cause__
        raise cause if isinstance(cause, OSError) else OSError(-1, str(error)) from error
    if container.published is None:
        uses = container.uses
        target = target_of(network) if uses is None else uses.target()
        inside = open_entrance(container.pid)
        works = can_forward((inside,), target)
        os.close(inside)
        if not works:
            sock.close()
            raise OSError(errno.EOPNOTSUPP, "this kernel lets no forwarder work")
        container.published = Published(target, [(mapping, sock)])
        container.published.start(monitor)
    else:
        container.published.add(mapping, sock)
    return mapping


def _take(monitor: "Monitor", mapping: PortMapping) -> PortMapping:
    published = monitor.container.published
    if published is None or not published.remove(mapping):
        raise FileNotFoundError(2, "no such port")
    return mapping


def target_of(network: str) -> Target:
    """Return where the forwarder reaches a container. Raises HostError."""
    from slirp.settings import parse_network
    from slirp.slirp4netns import forward_target

    settings = parse_network(network)
    if settings.mode != "slirp4netns":
        raise HostError(f"publish ports: not possible with --network={settings.mode}")
    return forward_target(settings.slirp)
