"""explain: who may do what with a bind mount's source."""

from rootless.cli.output import write, write_json
from rootless.container.create import working_directory
from rootless.container.request import ContainerRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.access import Access


def explain(invocation: "Invocation") -> int:
    """Print what the container's user may do with each source."""
    from rootless.container import access
    from rootless.errors import UsageError

    volumes = invocation.texts("volume")
    if not volumes:
        raise UsageError("explain: no mount given", remedy="rpod explain -v SOURCE:TARGET")
    given = invocation.given
    host = invocation.host()
    image = given.get("image", "")
    user = given.get("user")
    request = ContainerRequest(
        image=str(image),
        user=None if user is None else str(user),
        userns=str(given.get("userns") or host.config.userns or "host"),
        pull="never",
    )
    cwd = working_directory()
    found = [access.explain(host, volume, cwd, request) for volume in volumes]
    if invocation.text("format") == "json":
        write_json([one._asdict() for one in found], indent=2)
    else:
        write("\n".join(_text(one) for one in found))
    return 0


def _text(one: "Access") -> str:
    looked_at = one.blocked or one.source
    lines = [
        ("Mount", f"{one.source} on {one.target}"),
        ("Owner of", f"{looked_at}: {one.owner} ({one.owner_uid}:{one.owner_gid}), {one.mode}"),
        ("Owner inside", f"{_id(one.inside_uid)}:{_id(one.inside_gid)}"),
        (
            "Container's user",
            f"{one.user_uid}:{one.user_gid}, on the host {one.user_host_uid}:{one.user_host_gid}",
        ),
    ]
    if one.blocked:
        lines.append(("Blocked at", f"{one.blocked}: you may not search it"))
    lines.append(("It may", one.may))
    lines += [("Note", text) for text in one.notes]
    lines += [("To change that", text) for text in one.remedies]
    return "".join(f"{title + ':':18}{value}\n" for title, value in lines)


def _id(value: int | None) -> str:
    return "not mapped" if value is None else str(value)
