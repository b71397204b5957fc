"""Checks of who the user is and which ids a container can have: performed, not guessed."""

import errno
import os

from rootless.errors import IdMapError, NoUserNamespace, RootlessError
from rootless.host.check import FAIL, OK, WARN, Check
from rootless.host.identity import add_ranges_command, check_map_program, single_id
from rootless.host.paths import Host, is_initial_namespace
from rootless.host.programs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SYSCTL = "/proc/sys"
_PERSIST = "echo '{0}' | sudo tee /etc/sysctl.d/90-rpod.conf && sudo sysctl --system"


def check_user(host: Host) -> Check:
    """Who runs rpod."""
    found = f"{host.user_name}, uid {host.uid}"
    if host.uid != 0:
        return Check("user", "user", OK, found)
    if not is_initial_namespace():
        return Check("user", "user", OK, f"{found} of a container")
    return Check(
        "user",
        "user",
        WARN,
        found,
        chosen="root in a container is root on this host for the files it is given",
        cause="rpod is made for regular users",
        fix="run rpod as a regular user: sudo useradd -m NAME && sudo -iu NAME",
    )


def check_kernel(release: str = "") -> Check:
    """The kernel's version: openat2 needs 5.6, overlay in a user namespace 5.11."""
    release = release or os.uname().release
    parts = [int(part) if part.isdecimal() else 0 for part in release.split("-")[0].split(".")[:2]]
    if parts >= [5, 11]:
        return Check("kernel", "kernel", OK, release)
    status = WARN if parts >= [5, 9] else FAIL
    return Check(
        "kernel",
        "kernel",
        status,
        release,
        cause="native overlay in a user namespace came with Linux 5.11"
        if status == WARN
        else "rpod needs openat2 and close_range, which came with Linux 5.9",
        fix="install a newer kernel of this distribution",
    )


def check_namespaces(host: Host) -> Check:
    """Make every namespace of a container, mount a tmpfs and /proc in them."""
    from rootless.linux import syscalls
    from rootless.linux.userns import run_in_userns

    def attempt(_emit: "Callable[[object], None]") -> object:
        for name, flag in (
            ("pid", syscalls.CLONE_NEWPID),
            ("net", syscalls.CLONE_NEWNET),
            ("ipc", syscalls.CLONE_NEWIPC),
            ("uts", syscalls.CLONE_NEWUTS),
            ("cgroup", syscalls.CLONE_NEWCGROUP),
        ):
            try:
                syscalls.unshare(flag)
            except OSError as error:
                return [f"{name} namespace", error.errno]
        try:
            syscalls.mount("tmpfs", "/", "tmpfs", 0, "size=64k")
        except OSError as error:
            return ["mount of a tmpfs", error.errno]
        return _mount_proc()

    title = "namespaces"
    try:
        result = run_in_userns(attempt, single_id(host.uid, host.gid), new_mounts=True)
    except NoUserNamespace as error:
        cause, fix = _why_no_namespace()
        return Check("namespaces", title, FAIL, error.message, cause=cause, fix=fix)
    except RootlessError as error:
        return Check("namespaces", title, FAIL, error.message, cause=error.remedy)
    if not result:
        return Check("namespaces", title, OK, "user, mount, pid, net, ipc, uts, cgroup")
    what, number = (str(result[0]), int(result[1])) if isinstance(result, list) else ("?", 0)
    cause, fix = _why_step_failed(what, number)
    return Check("namespaces", title, FAIL, f"{what}: {os.strerror(number)}", cause=cause, fix=fix)


def _mount_proc() -> object:
    """Mount /proc as the first process of the pid namespace just made."""
    from rootless.linux import syscalls

    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV)
        except OSError as error:
            status = error.errno or errno.EIO
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return [] if code == 0 else ["mount of /proc", code]


def _why_no_namespace() -> tuple[str, str]:
    if _sysctl("user/max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0", _PERSIST.format("user.max_user_namespaces=28633")
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return (
            "kernel.unprivileged_userns_clone is 0",
            _PERSIST.format("kernel.unprivileged_userns_clone=1"),
        )
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _apparmor()
    if in_chroot():
        return (
            "this is a chroot environment: the kernel makes no user namespace in one",
            "leave it; who makes it can use pivot_root instead: systemd-nspawn, bwrap",
        )
    if status_field("Seccomp") == "2":
        return (
            "a seccomp filter of the surrounding container forbids it",
            "start the surrounding container with --security-opt seccomp=unconfined "
            "(docker) or --privileged",
        )
    if os.path.exists(f"{_SYSCTL}/user/max_user_namespaces"):
        return (
            "the limit user.max_user_namespaces is used up, or a security module forbids it, or"
            " this is a chroot environment",
            _PERSIST.format("user.max_user_namespaces=28633"),
        )
    return "the kernel was built without user namespaces", "install a kernel with CONFIG_USER_NS"


def in_chroot(*, mountinfo: str = "/proc/self/mountinfo") -> bool:
    """Tell whether the root directory is no mount: what chroot(2) does to a plain directory.

    proc(5): mounts are shown relative to the process's root directory.
    """
    lines = read_text(mountinfo).splitlines()
    return bool(lines) and all(line.split()[4:5] != ["/"] for line in lines)


def _apparmor() -> tuple[str, str]:
    return (
        "AppArmor takes the rights away in user namespaces of unconfined programs "
        "(kernel.apparmor_restrict_unprivileged_userns is 1)",
        _PERSIST.format("kernel.apparmor_restrict_unprivileged_userns=0"),
    )


def _why_step_failed(what: str, number: int) -> tuple[str, str]:
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _apparmor()
    if what.endswith(" namespace") and number in (errno.ENOSPC, errno.EUSERS):
        name = {"mount": "mnt"}.get(what.split()[0], what.split()[0])
        return (
            f"the limit user.max_{name}_namespaces is reached",
            _PERSIST.format(f"user.max_{name}_namespaces=28633"),
        )
    if what == "mount of /proc":
        return (
            "parts of /proc are covered here (rpod runs inside a container), so the kernel "
            "refuses a fresh one",
            "start the surrounding container with --security-opt unmask=ALL (podman), "
            "--security-opt systempaths=unconfined (docker)",
        )
    return "a security module or seccomp filter forbids it", "ask the administrator of this host"


def check_ranges(host: Host) -> Check:
    """Subordinate ids in /etc/subuid and /etc/subgid, or from the subid plugin of nsswitch."""
    ranges = host.ranges()
    title = "subordinate ids"
    if not ranges.uids:
        if "subordinate ids" not in ranges.problem:
            # The helpers are missing; check_helpers says so.
            return Check(
                "subids", title, WARN, "not usable", cause=ranges.problem, fix=ranges.remedy
            )
        return Check(
            "subids",
            title,
            WARN,
            "none",
            chosen="a single id, the others are emulated",
            cause=ranges.problem,
            fix=ranges.remedy,
        )
    uids = sum(count for _, count in ranges.uids)
    gids = sum(count for _, count in ranges.gids)
    found = f"{uids} user ids, {gids} group ids"
    if min(uids, gids) < 65535:
        return Check(
            "subids",
            title,
            WARN,
            found,
            chosen="owners beyond them become root",
            cause="images use ids up to 65535",
            fix=add_ranges_command(host.user_name),
        )
    return Check("subids", title, OK, found)


def check_helpers(host: Host) -> Check:
    """newuidmap and newgidmap, which must run with privilege."""
    title = "newuidmap, newgidmap"
    if host.uid == 0:
        return Check("newuidmap", title, OK, "not needed by root")
    for name in ("newuidmap", "newgidmap"):
        problem, remedy = check_map_program(name)
        if problem:
            return Check(
                "newuidmap", title, WARN, problem, chosen="a single id", cause=problem, fix=remedy
            )
    return Check("newuidmap", title, OK, "installed, with privilege")


def check_id_map(host: Host) -> Check:
    """Enter a user namespace with the default map and read it back."""
    from rootless.linux.userns import run_in_userns

    title = "id map"
    maps = host.id_maps()

    def attempt(_emit: "Callable[[object], None]") -> object:
        return [read_text("/proc/self/uid_map"), read_text("/proc/self/gid_map")]

    try:
        result = run_in_userns(attempt, maps)
    except IdMapError as error:
        cause, fix = error.message, error.remedy
        if status_field("NoNewPrivs") == "1":
            cause = "this process may not gain privileges (no_new_privs), so newuidmap has none"
            fix = "start rpod outside of the service, sandbox or container that set NoNewPrivileges"
        return Check("idmap", title, FAIL, error.message, cause=cause, fix=fix)
    except RootlessError as error:
        return Check("idmap", title, FAIL, error.message, cause=error.message, fix=error.remedy)
    texts = result if isinstance(result, list) else []
    seen = [
        tuple((int(a), int(b), int(c)) for a, b, c in map(str.split, text.splitlines()))
        for text in texts
    ]
    if seen and seen[0] != maps.uids and host.uid != 0:
        return Check("idmap", title, FAIL, f"asked for {maps.uids}, got {seen[0]}")
    ids = sum(count for _, _, count in maps.uids)
    return Check("idmap", title, OK, f"{ids} ids: 0 is {host.user_name}", chosen="newuidmap"
                 if not maps.is_single else "single id")  # fmt: skip


def status_field(name: str, *, file: str = "/proc/self/status") -> str:
    """Return one field of /proc/self/status (proc(5))."""
    for line in read_text(file).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _sysctl(name: str) -> str:
    return read_text(f"{_SYSCTL}/{name}").strip()
