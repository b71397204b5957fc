"""What every container gets unless it asks otherwise, as parts of an OCI config.json.

The values are podman's, so that an image that runs there finds the same surroundings here. This is
the one table; `docs/security.md` explains it and tests compare it with a real container.
"""

import os

from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Mount(NamedTuple):
    """One entry of `mounts`: OCI runtime-spec, config."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the entry as it stands in config.json."""
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# systemd and many scripts look at `container`; this value is the one that they all know.
ENV = (("PATH", PATH), ("TERM", "xterm"), ("container", "podman"))

HOSTNAME_BYTES = 12
UMASK = 0o022
WORKING_DIRECTORY = "/"
STOP_SIGNAL = "SIGTERM"
SHM_SIZE_BYTES = 64 << 20
TTY_GROUP = 5
# Options of mounts in config.json, of a kind that other runtimes overlook (mount(8), x-*): the part
# of the source that is shown, and where an overlay is mounted before its part is taken.
SUBPATH = "x-rpod.subpath"
OVERLAY_ROOT = "x-rpod.root"

# Annotation, crun's: the process keeps the supplementary groups of the caller.
KEEP_GROUPS = "run.oci.keep_original_groups"

# Annotation: the namespaces, by commas, that the process is born in; it makes the others itself.
JOINED = "dev.rpod.joined"

# Soft and hard value wanted for each; a caller with lower hard limits keeps those.
RLIMITS = (("RLIMIT_NOFILE", 1048576), ("RLIMIT_NPROC", 1048576))

# ping without CAP_NET_RAW for root's group, servers on low ports for every user. Both belong to
# the network namespace, so they are set only in one of the container's own.
NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 0",
}

# Names below /dev that are bound from the host: mknod(2) is refused in a user namespace.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# (name in /dev, target): OCI runtime-spec, config-linux, default devices and /dev symbolic links.
DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)

# Hidden: they tell about the host's hardware, memory layout, other users' timers and keys.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)

# Files of the kernel that are the host's even inside a pid or network namespace.
READONLY_PATHS = (
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

_SHM = "/dev/shm"  # noqa: S108  # a mount point in the container, not a temporary file
_PSEUDO = ("nosuid", "noexec", "nodev")


def mounts(
    *,
    host_network: bool = False,
    host_pid: bool = False,
    host_ipc: bool = False,
    privileged: bool = False,
    shm_size_bytes: int = SHM_SIZE_BYTES,
    tty_group_mapped: bool = True,
) -> tuple[Mount, ...]:
    """Return the kernel file systems of a container in the order in which they are mounted.

    `shm_size_bytes` 0 means no limit. A fresh sysfs needs an owned network namespace, a fresh proc
    an owned pid namespace, a fresh mqueue an owned ipc namespace; without one the host's is bound.
    """
    table = [
        _proc(host_pid),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount("/dev/pts", "devpts", "devpts", _pts_options(tty_group_mapped)),
    ]
    table += _ipc(host_ipc, shm_size_bytes)
    table += _sys(host_network, privileged)
    return tuple(table)


def masked_paths(
    *, host_network: bool = False, cpu_directory: str = "/sys/devices/system/cpu"
) -> tuple[str, ...]:
    """Return the paths that are covered by something empty in a container."""
    paths = list(MASKED_PATHS)
    if host_network:
        # Debug and tracing file systems of the host come along with a bound /sys.
        paths.append("/sys/kernel")
    try:
        names = sorted(os.listdir(cpu_directory))
    except OSError:  # no sysfs: nothing there to hide
        names = []
    for name in names:
        if name.startswith("cpu") and name[3:].isdigit():
            path = f"{cpu_directory}/{name}/thermal_throttle"
            if os.path.isdir(path):
                paths.append(path)
    return tuple(paths)


def unmasked(paths: "Iterable[str]", patterns: "Iterable[str]") -> tuple[str, ...]:
    """Return `paths` without those that an `unmask=` pattern uncovers.

    A pattern is `ALL`, a path, or a path with shell wildcards.
    """
    import fnmatch

    patterns = tuple(patterns)
    if any(pattern.upper() == "ALL" for pattern in patterns):
        return ()
    return tuple(
        path
        for path in paths
        if not any(fnmatch.fnmatchcase(path, pattern.rstrip("/") or "/") for pattern in patterns)
    )


def rlimits(hard_limit: "Callable[[str], int]") -> list[tuple[str, int, int]]:
    """Return (type, soft, hard) for `process.rlimits`.

    `hard_limit` gives the caller's own hard limit for a name, -1 for none: without CAP_SYS_RESOURCE
    in the initial namespace it cannot be raised.
    """
    result = []
    for name, wanted in RLIMITS:
        limit = hard_limit(name)
        value = wanted if limit < 0 else min(wanted, limit)
        result.append((name, value, value))
    return result


def _proc(host_pid: bool) -> Mount:
    if host_pid:
        return Mount("/proc", "bind", "/proc", ("rbind", "rprivate", *_PSEUDO))
    return Mount("/proc", "proc", "proc", _PSEUDO)


def _pts_options(tty_group_mapped: bool) -> tuple[str, ...]:
    options = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    # The kernel refuses a gid that the user namespace does not map.
    return (*options, f"gid={TTY_GROUP}") if tty_group_mapped else options


def _ipc(host_ipc: bool, shm_size_bytes: int) -> list[Mount]:
    if host_ipc:
        return [
            Mount(path, "bind", path, ("bind", "rprivate", *_PSEUDO))
            for path in ("/dev/mqueue", _SHM)
            if os.path.isdir(path)  # not every host mounts message queues
        ]
    size = (f"size={shm_size_bytes}",) if shm_size_bytes else ()
    return [
        Mount("/dev/mqueue", "mqueue", "mqueue", _PSEUDO),
        Mount(_SHM, "tmpfs", "shm", (*_PSEUDO, "mode=1777", *size)),
    ]


def _sys(host_network: bool, privileged: bool) -> list[Mount]:
    if host_network:
        return [Mount("/sys", "bind", "/sys", ("rbind", "rprivate", *_PSEUDO, "rro"))]
    mode = "rw" if privileged else "ro"
    return [
        Mount("/sys", "sysfs", "sysfs", (*_PSEUDO, mode)),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("rprivate", *_PSEUDO, "relatime", mode)),
    ]
