"""mount and unmount of containers."""

from rootless.cli.commands.selection import chosen_containers, exit_code, for_each
from rootless.cli.output import print_documents, write
from rootless.container.image_mounts import check_unshared
from rootless.container.root_mounts import mount_container, mounted_containers, unmount_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from storage.containers import ContainerView


def mount(invocation: "Invocation") -> int:
    """Mount the roots of containers, or show which are mounted."""
    check_unshared("mount")
    host = invocation.host()
    asked = invocation.texts("containers") or invocation.flag("all") or invocation.flag("latest")
    if asked:
        names = chosen_containers(invocation, host, is_wanted=lambda view: not view.record.is_infra)
        return exit_code(for_each(names, lambda name: write(f"{mount_container(host, name)}\n")))
    mounted = mounted_containers(host)
    if invocation.text("format"):
        print_documents([_document(view, target) for view, target in mounted], "json")
        return 0
    for view, target in mounted:
        identity = view.record.id if invocation.flag("no_trunc") else view.record.id[:12]
        write(f"{identity}  {target}\n")
    return 0


def _document(view: "ContainerView", target: str) -> dict[str, object]:
    return {"id": view.record.id, "Names": [view.record.name], "mountpoint": target}


def unmount(invocation: "Invocation") -> int:
    """Unmount the roots of containers; one that is not mounted is told as well, as podman does."""
    host = invocation.host()
    mounted = {view.record.id for view, _ in mounted_containers(host)}
    names = chosen_containers(invocation, host, is_wanted=lambda view: view.record.id in mounted)

    def unmount_one(name: str) -> None:
        unmount_container(host, name, force=invocation.flag("force"))
        write(f"{name}\n")

    return exit_code(for_each(names, unmount_one))
