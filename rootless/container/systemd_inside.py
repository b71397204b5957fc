"""An image whose command is systemd: what it needs to boot (systemd.io, CONTAINER_INTERFACE)."""

from rootless.container.cgroup_places import find_place, own_place
from rootless.errors import LimitError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host

_OPTIONS = ("nosuid", "nodev", "rprivate", "tmpcopyup")
_TMPFS = (("/run", "mode=755"), ("/run/lock", "mode=1777"), ("/tmp", "mode=1777"),  # noqa: S108 - a path of the container
          ("/var/log/journal", "mode=755"))  # fmt: skip
_CGROUP = "/sys/fs/cgroup"
# systemd(1), signals: halt, by the shutdown target.
STOP_SIGNAL = "RTMIN+3"


def prepare_mounts(
    mounts: list[dict[str, object]], taken: set[str], *, owns_cgroup: bool
) -> list[dict[str, object]]:
    """Return the mounts with file systems in memory, and with a cgroup that it may divide.

    It divides only what is below its own cgroup, whose limits it cannot reach; a cgroup that it
    shares with the caller stays read-only.
    """
    there = taken | {str(entry["destination"]) for entry in mounts}
    kept = list(mounts)
    for target, mode in _TMPFS:
        if target not in there:
            kept.append(
                {"destination": target, "type": "tmpfs", "source": "tmpfs",
                 "options": [*_OPTIONS, mode]}
            )  # fmt: skip
    options = ["rprivate", "nosuid", "noexec", "nodev", "relatime", "rw"]
    if owns_cgroup and _CGROUP not in taken:
        kept = [entry for entry in kept if entry["destination"] != _CGROUP]
        kept.append(
            {"destination": _CGROUP, "type": "cgroup", "source": "cgroup", "options": options}
        )
    return kept


def check(host: "Host", request: "ContainerRequest") -> None:
    """Refuse what cannot boot; only a note where systemd was not asked for by name.

    Raises LimitError, UsageError.
    """
    problem = _problem(host, request)
    if problem is None:
        return
    if request.systemd == "always":
        raise problem
    host.note(f"systemd will not boot in this container: {problem.message}; {problem.remedy}")


def _problem(host: "Host", request: "ContainerRequest") -> LimitError | UsageError | None:
    manager = host.environ.get("RPOD_CGROUP_MANAGER", "")
    place = (
        own_place() if request.cgroups == "split" else find_place(host.uid, host.environ, manager)
    )
    if request.cgroups == "disabled" or place is None:
        return LimitError(
            "systemd needs a cgroup of its own, and none is delegated to you",
            remedy="loginctl enable-linger gives a manager that makes one; see rpod doctor",
        )
    kept = request.userns.partition(":")[0] == "keep-id"
    if kept and host.id_maps().is_single:
        return UsageError(
            "systemd has to be root, and with a single id --userns=keep-id has none",
            remedy="leave --userns out, or get subordinate ids; see rpod doctor",
        )
    if (request.userns not in ("host", "") and not kept) or request.cgroupns == "host":
        return UsageError(
            "systemd has to be root of its cgroup, which is yours",
            remedy="leave --userns and --cgroupns out, or use --userns=keep-id",
        )
    if kept and (request.user or "").partition(":")[0] not in ("0", "root"):
        return UsageError(
            "systemd has to be root, and with --userns=keep-id the command is you",
            remedy="add --user=root",
        )
    return None
