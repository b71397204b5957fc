"""image scp, and what it starts on the other side."""

import sys

from rootless import remote
from rootless.cli.progress import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def scp(invocation: "Invocation") -> int:
    """Copy an image over ssh."""
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        remote.copy(
            invocation.host(),
            invocation.text("source"),
            invocation.text("destination"),
            on_event,
        )
    return 0


def receive(invocation: "Invocation") -> int:
    """Take an image from standard input."""
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        records = remote.receive(invocation.host(), 0, 1, on_event)
    for record in records:
        names = record.names or (record.image_id,)
        sys.stderr.write("".join(f"Loaded image: {name}\n" for name in names))
    return 0


def send(invocation: "Invocation") -> int:
    """Give an image to standard output."""
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        remote.send(
            invocation.host(), invocation.text("image"), invocation.text("name"), 0, 1, on_event
        )
    return 0
