"""image diff: what an image changes."""

from rootless import images
from rootless.cli.output import printable, write, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_KEYS = {"C": "changed", "A": "added", "D": "deleted"}


def diff(invocation: "Invocation") -> int:
    """Show what an image changes in its parent, or in another image."""
    changes = images.diff(
        invocation.host(), invocation.text("image"), invocation.text("base") or None
    )
    write_changes(invocation, changes)
    return 0


def write_changes(invocation: "Invocation", changes: "list[tuple[str, str]]") -> None:
    """Print what has changed, as lines or as JSON."""
    if invocation.text("format") != "json":
        write("".join(f"{kind} {printable(path)}\n" for kind, path in changes))
        return
    document: dict[str, list[str]] = {}
    for kind, key in _KEYS.items():
        # What is no UTF-8 cannot be in JSON as it is.
        paths = [
            path.encode(errors="surrogateescape").decode(errors="replace")
            for one, path in changes
            if one == kind
        ]
        if paths:
            document[key] = paths
    write_json(document)
