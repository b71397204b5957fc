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
    return _show(invocation, looks[kind])


def inspect_containers(invocation: "Invocation") -> int:
    """Show containers."""
    return _show(invocation, look_at_container)


def inspect_images(invocation: "Invocation") -> int:
    """Show images."""
    return show_documents(
        invocation.host(), invocation.texts("names"), look_at_image, invocation.text("format")
    )


def _show(invocation: "Invocation", look: "Look") -> int:
    host = invocation.host()
    names = list(invocation.texts("names"))
    if invocation.flag("latest"):
        if names:
            raise UsageError("--latest and names do not go together")
        names = [latest(host)]
    if not names:
        raise UsageError("no names or ids specified")
    return show_documents(host, names, look, invocation.text("format"))
