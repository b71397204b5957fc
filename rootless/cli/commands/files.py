"""Commands on the files of containers."""

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.copy import End


def copy(invocation: "Invocation") -> int:
    """Copy between a container and the host, or two containers."""
    from rootless.container import copy as copying

    source, target = (_end(invocation.text(name)) for name in ("source", "target"))
    copying.copy(
        invocation.host(),
        source,
        target,
        archive=invocation.flag("archive"),
        overwrite=invocation.flag("overwrite"),
    )
    return 0


def _end(text: str) -> "End":
    """Read [CONTAINER:]PATH; what begins with / or . is a path, whatever follows (docker-cp)."""
    from rootless.container.copy import End

    name, colon, path = text.partition(":")
    if not colon or "/" in name or text.startswith((".", "/")):
        return End("", text)
    if not name or not path:
        raise UsageError(
            f'invalid argument "{text}": you must specify paths', remedy="say CONTAINER:PATH"
        )
    return End(name, path)
