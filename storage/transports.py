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
TRANSPORTS = ("docker-archive", "oci-archive", "oci", DIR)


class Source(NamedTuple):
    """Where an image lies; `wanted` says which one, empty when it was not said."""

    path: str
    wanted: str


def is_source(text: str) -> bool:
    """Tell whether a name begins with the transport of a file or a directory."""
    transport, colon, _ = text.partition(":")
    return bool(colon) and transport in TRANSPORTS


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
