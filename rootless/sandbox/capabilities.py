"""Capability names, numbers and sets: capabilities(7), `--cap-add`, `--cap-drop`."""

from rootless.errors import UsageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The index is the kernel's number (linux/capability.h).
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

# What software in images expects of "root", and nothing that reaches outside the container's own
# files, processes and ports.
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

_ALL = "ALL"


class CapabilitySets(NamedTuple):
    """The five sets of a process: OCI runtime-spec, `process.capabilities`."""

    bounding: tuple[str, ...]
    effective: tuple[str, ...]
    permitted: tuple[str, ...]
    inheritable: tuple[str, ...]
    ambient: tuple[str, ...]


def last_capability(path: str = "/proc/sys/kernel/cap_last_cap") -> int:
    """Return the highest capability number that the running kernel knows."""
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        # No /proc, or hidden by an outer container: setting an unknown one is what would fail.
        return len(NAMES) - 1


def supported(last: int | None = None) -> tuple[str, ...]:
    """Return all names that the running kernel knows, sorted."""
    if last is None:
        last = last_capability()
    return tuple(sorted(NAMES[: last + 1]))


def canonical_name(text: str) -> str:
    """Return `CAP_XXX` for any accepted spelling, or `ALL`.

    Raises UsageError.
    """
    name = text.strip().upper()
    if name == _ALL:
        return _ALL
    if name not in NUMBERS:
        name = f"CAP_{name}"
    if name not in NUMBERS:
        raise UsageError(f'unknown capability "{text}"', remedy=_suggestion(name))
    return name


def resolve(
    cap_add: "Iterable[str]",
    cap_drop: "Iterable[str]",
    privileged: bool = False,
    *,
    last: int | None = None,
) -> tuple[str, ...]:
    """Return the names that a container gets, sorted.

    A name that is added survives `--cap-drop=all`; one that is added and dropped by name is an
    error. Dropping works with `--privileged` too: a promise is never dropped silently.

    Raises UsageError.
    """
    adds = _canonical(cap_add)
    drops = _canonical(cap_drop)
    if _ALL in adds and _ALL in drops:
        raise UsageError("--cap-add=all and --cap-drop=all contradict each other")
    both = sorted((adds & drops) - {_ALL})
    if both:
        raise UsageError(f"capability {both[0]} is both added and dropped")
    available = supported(last)
    _check_supported(adds, available)
    if _ALL in drops:
        return tuple(sorted(adds))
    base = available if privileged or _ALL in adds else DEFAULT
    return tuple(sorted((set(base) | (adds - {_ALL})) - drops))


def sets_for_user(
    names: tuple[str, ...], cap_add: "Iterable[str]" = (), *, uid: int = 0, last: int | None = None
) -> CapabilitySets:
    """Return the sets with which a process of `uid` starts.

    uid 0 holds everything in its bounding set. Anybody else holds only what was added by name
    (ambient, so that it outlives execve), and can win no more than the bounding set by executing a
    file with capabilities.

    Raises UsageError.
    """
    if uid == 0:
        return CapabilitySets(names, names, names, (), ())
    adds = _canonical(cap_add)
    wanted = set(supported(last)) if _ALL in adds else adds
    held = tuple(name for name in names if name in wanted)
    return CapabilitySets(names, held, held, held, held)


def to_mask(names: "Iterable[str]") -> int:
    """Return the bit mask of capget(2) for a set of canonical names."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[name]
    return mask


def from_mask(mask: int) -> tuple[str, ...]:
    """Return the sorted names in a mask; bits that no name is known for are left out."""
    return tuple(sorted(name for number, name in enumerate(NAMES) if mask >> number & 1))


def _canonical(texts: "Iterable[str]") -> set[str]:
    return {canonical_name(part) for text in texts for part in text.split(",") if part.strip()}


def _check_supported(adds: set[str], available: tuple[str, ...]) -> None:
    for name in sorted(adds - {_ALL}):
        if name not in available:
            raise UsageError(
                f"this kernel does not know the capability {name}",
                remedy=f"leave out --cap-add={name}",
            )


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, NAMES, n=1)
    return f"did you mean {close[0]}?" if close else "capabilities(7) lists the names"
