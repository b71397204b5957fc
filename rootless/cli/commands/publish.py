"""image publish: images for other users to read."""

from rootless.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def publish(invocation: "Invocation") -> int:
    """Write images to an additional store."""
    from rootless.sharing import publish as send

    names = send(
        invocation.host(),
        invocation.text("directory"),
        invocation.texts("images"),
        remove=invocation.flag("remove"),
    )
    write("".join(f"{name}\n" for name in names))
    return 0
