"""inspect, container inspect, image inspect."""

from rootless.cli.commands.looks import (
    look_anywhere,
    look_at_container,
    look_at_image,
    look_at_network,
    look_at_volume,
    show_documents,
)
from rootless.cli.commands.selection import latest
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.commands.looks import Look
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host


def inspect(invocation: "Invocation") -> int:
    """Show containers, images or volumes, the first kind that has the name."""
    looks = {
        "all": look_anywhere,
        "container": look_at_container,
        "image": look_at_image,
        "volume": look_at_volume,
        "network": look_at_network,
    }
    kind = invocation.text("type")
    if invocation.flag("latest"):
        kind = "container"
    if invocation.flag("size") and kind in ("image", "volume", "network"):
        raise UsageError(f"--size is about containers, not --type={kind}")
    return _show(invocation, looks[kind])


def inspect_containers(invocation: "Invocation") -> int:
    """Show containers."""
    return _show(invocation, look_at_container)


def inspect_images(invocation: "Invocation") -> int:
    """Show images."""
    return show_documents(
        invocation.host(), invocation.texts("names"), look_at_image, invocation.text("format")
    )


def _with_size(look: "Look") -> "Look":
    def look_and_measure(host: "Host", name: str) -> object:
        document = look(host, name)
        if isinstance(document, dict) and "OCIRuntime" in document:  # a container's
            from rootless.container.query import find_view
            from rootless.container.sizes import container_sizes

            view = find_view(host, str(document["Id"]))
            size = container_sizes(host, [view])[view.record.id]
            document |= {"SizeRw": size.written, "SizeRootFs": size.image}
        return document

    return look_and_measure


def _show(invocation: "Invocation", look: "Look") -> int:
    host = invocation.host()
    names = list(invocation.texts("names"))
    if invocation.flag("latest"):
        if names:
            raise UsageError("--latest and names do not go together")
        names = [latest(host)]
    if not names:
        raise UsageError("no names or ids specified")
    if invocation.flag("size"):
        look = _with_size(look)
    return show_documents(host, names, look, invocation.text("format"))
