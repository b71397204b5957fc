"""Seccomp filters as the bytes that the kernel takes: ready ones for the usual, compiled else.

Nothing here uses libseccomp. The program is an array of `struct sock_filter` for seccomp(2).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# All capabilities on which the default policy depends (seccomp_profile.RELEVANT, without loading
# it): the filters of two sets that agree in these are the same.
_RELEVANT = frozenset(
    (
        "CAP_AUDIT_WRITE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_ADMIN",
        "CAP_SYS_CHROOT",
        "CAP_SYS_MODULE",
        "CAP_SYS_PACCT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
    )
)


def default_filter(machine: str, capabilities: "Iterable[str]") -> bytes:
    """Return the filter of a container with this bounding set; `machine` as in uname(2).

    Raises HostError: an architecture without tables.
    """
    held = _RELEVANT.intersection(capabilities)
    if held <= {"CAP_SYS_CHROOT"}:
        ready = _ready(machine, bool(held))
        if ready:
            return bytes.fromhex(ready)
    from rootless.sandbox import seccomp_compiler, seccomp_profile

    architecture = seccomp_compiler.table_name(machine)
    return seccomp_compiler.compile_policy(seccomp_profile.default_policy(architecture, held))


def compile_profile(
    profile: object,
    machine: str,
    capabilities: "Iterable[str]",
    kernel: str,
    where: str = "seccomp profile",
) -> bytes:
    """Return the filter for a parsed JSON profile, OCI's (`linux.seccomp`) or docker's.

    `kernel` is the release of uname(2); `where` names the file in errors.

    Raises UsageError: malformed, too long or not to be had; HostError: an architecture without
    tables.
    """
    from rootless.sandbox import seccomp_compiler, seccomp_document

    context = seccomp_document.Context(
        seccomp_compiler.table_name(machine), frozenset(capabilities), kernel
    )
    policy = seccomp_document.read_policy(profile, context, where)
    return seccomp_compiler.compile_policy(policy)


def _ready(machine: str, chroot: bool) -> str:
    if machine == "x86_64":
        from rootless.sandbox import seccomp_x86_64

        return seccomp_x86_64.WITH_CHROOT if chroot else seccomp_x86_64.WITHOUT_CHROOT
    if machine == "aarch64":
        from rootless.sandbox import seccomp_aarch64

        return seccomp_aarch64.WITH_CHROOT if chroot else seccomp_aarch64.WITHOUT_CHROOT
    return ""
