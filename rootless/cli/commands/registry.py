"""Commands that send to registries."""

from rootless import images
from rootless.cli.commands.image import registry_settings
from rootless.cli.progress import Reporter
from rootless.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_OTHER_TRANSPORTS = (
    "containers-storage",
    "dir",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
)


def push(invocation: "Invocation") -> int:
    """Send an image to a registry."""
    destination = _registry_name(invocation.text("destination"))
    settings = registry_settings(invocation)
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        digest = images.push(
            invocation.host(), invocation.text("image"), destination or None, settings, on_event
        )
    path = invocation.text("digestfile")
    if path:
        _write_digest(path, digest)
    return 0


def _registry_name(text: str) -> str:
    """Return a destination without its transport. Raises UsageError."""
    transport, colon, rest = text.partition(":")
    if colon and transport in _OTHER_TRANSPORTS and not rest[:1].isdigit():
        raise UsageError(
            f"push to {text}: only registries are supported",
            remedy="write archives and directories with rpod save",
        )
    return text.removeprefix("docker://")


def _write_digest(path: str, digest: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as out:
            out.write(digest)
    except OSError as error:
        raise HostError(
            f"write the digest to {path}: {error.strerror}", remedy="the image has been pushed"
        ) from error
