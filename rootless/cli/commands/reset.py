"""system reset."""

from rootless.cli.output import confirm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation


def reset(invocation: "Invocation") -> int:
    """Remove everything, the store too."""
    from rootless.container import reset as resetting

    host = invocation.host(prepare=False)
    resetting.check(host)
    lines = ("all containers", "all pods", "all images", "all networks", "all secrets",
             "all build cache", "all volumes", f'the store: "{host.layout.store}"',
             f'what is in the runtime directory: "{host.layout.run_root}"')  # fmt: skip
    question = "WARNING! This will remove:" + "".join(f"\n        - {line}" for line in lines)
    if not invocation.flag("force") and not confirm(question):
        return 0
    if host.layout.shared:
        host.note(f"images and volumes in {host.layout.shared} stay: other machines have them too")
    resetting.reset(host)
    return 0
