"""The cgroup of a container that starts, where one can be had; where not, little is loaded."""

import os

from rootless.container.running import Container
from rootless.linux import syscalls
from rootless.linux.userns import to_host
from rootless.sandbox import child
from storage.containers import ContainerView
from storage.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.cgroups import Group
    from rootless.host.paths import Host


def has_cgroups(host: "Host") -> bool:
    """Whether a cgroup can be had at all: a user manager listens, or the own cgroup is delegated.

    Where not, nothing more of cgroups is loaded.
    """
    runtime = host.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{host.uid}"
    for path in (runtime, f"/run/user/{host.uid}"):
        if os.path.exists(f"{path}/systemd/private"):
            return True
    for line in read_file("/proc/self/cgroup").decode().splitlines():
        if line.startswith("0::"):
            path = line[3:].rstrip("/")
            return any(
                os.access(f"{mount}{path}/cgroup.procs", os.W_OK)
                for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
            )
    return False


def load_ahead(host: "Host") -> None:
    """Do what every cgroup takes, where one can be had."""
    if has_cgroups(host):
        from rootless.container.cgroups import connect_ahead

        connect_ahead(host)


def begin_cgroup(
    host: "Host", view: ContainerView, raw: dict[str, object], plan: child.Plan
) -> "Group | None":
    """Decide on the container's cgroup, which becomes the root of its cgroup namespace."""
    linux = raw.get("linux")
    resources = linux.get("resources") if isinstance(linux, dict) else None
    if not has_cgroups(host) and (not resources or list(resources) == ["pids"]):
        return None
    from rootless.container.cgroups import Group

    group = Group(host, view, raw)
    # Helpers of networks are started before the child, and must not end with the caller's session.
    group.begin(at_once=view.record.network == "bridge")
    if (group.directory or group.is_late) and group.mode != "disabled":
        plan.owns_cgroup = _divides_as_another(raw)
    if group.directory or group.is_late:
        plan.late_flags = plan.clone_flags & syscalls.CLONE_NEWCGROUP
        plan.clone_flags &= ~syscalls.CLONE_NEWCGROUP
    return group


def ask_cgroup(group: "Group | None", raw: dict[str, object], container: Container) -> None:
    """Ask systemd for the cgroup of a child: it works on it while the child gets its id maps."""
    _set_affinity(raw, container.pid)
    if group is not None and group.is_late:
        group.ask(container.pid)


def enter_cgroup(group: "Group | None", container: Container) -> None:
    """Have the child in its cgroup, before it goes on. Raises LimitError."""
    if group is None:
        return
    group.finish(container.pid)
    container.cgroup = group.directory
    if group.note:
        container.notes.append(group.note)


def _divides_as_another(raw: dict[str, object]) -> bool:
    """Whether the container divides its cgroup (systemd does) and its root is not the caller."""
    annotations, linux = raw.get("annotations"), raw.get("linux")
    if not isinstance(annotations, dict) or not isinstance(linux, dict):
        return False
    if "dev.rpod.systemd" not in annotations:
        return False
    for kind, own in (("uid", os.getuid()), ("gid", os.getgid())):
        ranges = tuple(
            (one["containerID"], one["hostID"], one["size"]) for one in linux[f"{kind}Mappings"]
        )
        if to_host(ranges, 0) in (None, own):
            return False
        if not any(first <= own < first + count for _, first, count in ranges):
            return False  # chown(2) is for owners that the namespace has
    return True


def _set_affinity(raw: dict[str, object], pid: int) -> None:
    annotations = raw.get("annotations")
    text = annotations.get("dev.rpod.affinity", "") if isinstance(annotations, dict) else ""
    if text:
        os.sched_setaffinity(pid, [int(number) for number in str(text).split(",")])
