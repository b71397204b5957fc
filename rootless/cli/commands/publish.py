"""image publish, image squash: images for others to read, images as one file."""

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
        squash=invocation.flag("squash"),
    )
    write("".join(f"{name}\n" for name in names))
    return 0


def squash(invocation: "Invocation") -> int:
    """Write an image to one file."""
    from rootless.squashing import squash as write_file

    path = write_file(
        invocation.host(),
        invocation.text("image"),
        invocation.text("file"),
        compression=invocation.text("compression"),
        force=invocation.flag("force"),
    )
    write(f"{path}\n")
    return 0
