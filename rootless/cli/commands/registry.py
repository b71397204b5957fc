"""Commands that send to registries."""

from rootless.cli.commands.image import registry_settings
from rootless.cli.progress import Reporter
from rootless.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from storage.convert import Wanted

# Transports that podman has; a digit after the colon is a registry's port.
_ELSEWHERE = {
    "containers-storage": "podman's store is only read; podman pull oci:PATH takes an image over",
    "docker-daemon": "there is no docker daemon here; rpod save IMAGE | docker load",
    "ostree": "ostree repositories are not written",
    "sif": "SIF images are not written",
    "tarball": "tarballs are only read; rpod export writes one",
}


def push(invocation: "Invocation") -> int:
    """Send an image to a registry, an archive or a directory."""
    from rootless.pushing import push as send

    destination = _checked(invocation.text("destination"))
    wanted = wanted_form(invocation)
    if invocation.flag("compress"):
        from storage.convert import GZIP

        if not destination.startswith("dir:"):
            raise UsageError("--compress can be set only when the destination is dir:PATH")
        wanted = wanted._replace(compression=wanted.compression or GZIP)
    settings = registry_settings(invocation)
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        digest = send(
            invocation.host(),
            invocation.text("image"),
            destination or None,
            settings,
            on_event,
            wanted=wanted,
        )
    path = invocation.text("digestfile")
    if path:
        write_digest(path, digest)
    return 0


def wanted_form(invocation: "Invocation") -> "Wanted":
    """Return the form that --format and --compression-* ask for."""
    from storage.convert import Wanted

    return Wanted(
        invocation.text("format"),
        invocation.text("compression_format"),
        invocation.number("compression_level"),
    )


def _checked(text: str) -> str:
    """Refuse destinations that cannot be written, with the way out. Raises UsageError."""
    transport, colon, rest = text.partition(":")
    if colon and transport in _ELSEWHERE and not rest[:1].isdigit():
        raise UsageError(f"push to {text}: {_ELSEWHERE[transport]}")
    return text


def write_digest(path: str, digest: str) -> None:
    """Write a digest to the file of --digestfile. Raises HostError."""
    try:
        with open(path, "w", encoding="ascii") as out:
            out.write(digest)
    except OSError as error:
        raise HostError(
            f"write the digest to {path}: {error.strerror}", remedy="the image has been pushed"
        ) from error
