"""Names of images that lie in files: `oci-archive:PATH[:REFERENCE]` and its like.

containers-transports(5). The path ends at the first colon; what follows names one image of several,
or is `@N` for the one at that place. `docker://NAME` is a registry's, and no source.
"""

from storage.errors import InvalidReference
from storage.record import NamedTuple

DIR = "dir"
# What `storage.save` calls the form that a transport writes.
FORMS = {
    "docker-archive": "docker-archive",
    "oci-archive": "oci-archive",
    "oci": "oci-dir",
    DIR: DIR,
}
PODMAN = "containers-storage"
TRANSPORTS = ("docker-archive", "oci-archive", "oci", DIR, PODMAN)
# What podman reads as well, and how to have it here.
_ELSEWHERE = {
    "docker-daemon": "docker save NAME | rpod load",
    "ostree": "copy it with skopeo to oci:PATH first",
    "tarball": "rpod import PATH NAME",
}


class Source(NamedTuple):
    """Where an image lies; `wanted` says which one, empty when it was not said."""

    path: str
    wanted: str


def is_source(text: str) -> bool:
    """Tell whether a name begins with the transport of a file or a directory."""
    transport, colon, _ = text.partition(":")
    return bool(colon) and transport in TRANSPORTS


def check_transport(text: str) -> None:
    """Refuse names of transports that cannot be read. Raises InvalidReference."""
    transport, colon, rest = text.partition(":")
    # A digit after the colon is the port of a registry.
    if colon and transport in _ELSEWHERE and not rest[:1].isdigit():
        raise InvalidReference(
            f"image name {text!r}: the transport {transport}: is not read",
            remedy=_ELSEWHERE[transport],
        )


def parse_source(text: str) -> Source:
    """Split a name for which `is_source` is true. Raises InvalidReference."""
    transport, _, rest = text.partition(":")
    # The `dir` transport has one image, and so no names: a colon is the path's own.
    path, _, wanted = (rest, "", "") if transport == DIR else rest.partition(":")
    if not path:
        raise InvalidReference(
            f"image name {text!r}: after {transport}: a path is expected",
            remedy=f"write {transport}:PATH" + ("" if transport == DIR else "[:REFERENCE]"),
        )
    return Source(path, wanted)
