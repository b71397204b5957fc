"""`rpod doctor`: performs each step that a container needs and says what to do where one fails."""

import os

from rootless.errors import RootlessError
from rootless.host import check_identity, check_network, check_store
from rootless.host.cgroup import find_cgroup
from rootless.host.check import FAIL, OK, WARN, Check, TimeLimit
from rootless.host.paths import Host
from slirp.errors import SlirpError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT_S = 20.0
_SYSTEMD = "/run/systemd/system"
_DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && "
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | "
    "sudo tee /etc/systemd/system/user@.service.d/delegate.conf && "
    "sudo systemctl daemon-reload, then log in again"
)


def run_checks(host: Host) -> list[Check]:
    """Perform every check; a broken one is a failed check, never an exception."""
    checks = [
        _guard("user", "user", lambda: check_identity.check_user(host)),
        _guard("kernel", "kernel", check_identity.check_kernel),
    ]
    namespaces = _guard("namespaces", "namespaces", lambda: check_identity.check_namespaces(host))
    store = _guard("store", "store", lambda: check_store.check_store(host))
    checks += [
        namespaces,
        _guard("subids", "subordinate ids", lambda: check_identity.check_ranges(host)),
        _guard("newuidmap", "newuidmap, newgidmap", lambda: check_identity.check_helpers(host)),
        _guard("runroot", "run root", lambda: check_store.check_run_root(host)),
        store,
    ]
    if namespaces.status != FAIL:
        checks += [_guard("idmap", "id map", lambda: check_identity.check_id_map(host))]
        if store.status != FAIL:
            checks += _root_checks(host)
        checks += _network_checks(host)
    checks += [
        _guard("cgroup", "cgroup", lambda: check_cgroup(host)),
        _guard("session", "session", lambda: check_session(host)),
        _guard("dns", "name servers", lambda: check_network.check_dns(host)),
        _guard("low-ports", "published ports", lambda: check_network.check_low_ports(host)),
    ]
    if namespaces.status != FAIL:
        checks += _rungs(host, checks)
    return checks


def _rungs(host: Host, checks: list[Check]) -> list[Check]:
    from rootless.host.rungs import rungs

    try:
        with TimeLimit("look at the rungs", _LIMIT_S):
            return rungs(host, checks)
    except (RootlessError, StorageError, SlirpError) as error:
        return [Check("rungs", "rungs", FAIL, "", cause=error.message, fix=error.remedy)]
    except (OSError, ValueError) as error:
        return [Check("rungs", "rungs", FAIL, "", cause=str(error))]


def exit_code(checks: list[Check]) -> int:
    """1 when containers cannot run here, else 0."""
    return int(any(check.status == FAIL for check in checks))


def _root_checks(host: Host) -> list[Check]:
    overlay = _guard("overlay", "native overlay", lambda: check_store.check_overlay(host))
    needed = overlay.status != OK
    return [
        overlay,
        _guard("fuse", "fuse-overlayfs", lambda: check_store.check_fuse(host, needed=needed)),
    ]


def _network_checks(host: Host) -> list[Check]:
    return [
        _guard("tun", "/dev/net/tun", lambda: check_network.check_tun(host)),
        _guard("slirp4netns", "slirp4netns", lambda: check_network.check_slirp4netns(host)),
        _guard("pasta", "pasta", lambda: check_network.check_pasta(host)),
    ]


def _guard(identifier: str, title: str, function: "Callable[[], Check]") -> Check:
    try:
        with TimeLimit(f"check {title}", _LIMIT_S):
            return function()
    except (RootlessError, StorageError, SlirpError) as error:
        return Check(identifier, title, FAIL, "", cause=error.message, fix=error.remedy)
    except (OSError, ValueError) as error:
        return Check(identifier, title, FAIL, "", cause=str(error))


def check_cgroup(host: Host, *, systemd: str = _SYSTEMD) -> Check:
    """Which controllers are delegated to this user, for --memory, --cpus and --pids-limit."""
    title = "cgroup"
    group = find_cgroup(host.uid, host.environ.get("XDG_RUNTIME_DIR", f"/run/user/{host.uid}"))
    if not group.missing:
        return Check(
            "cgroup",
            title,
            OK,
            f"{group.mode}: {' '.join(group.controllers)}",
            chosen=group.manager,
        )
    if group.mode in ("v1", "none", "hybrid") and not group.manager:
        cause = f"the controllers are not in a cgroup v2 tree ({group.mode})"
        fix = "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and reboot"
        if not os.path.isdir(systemd):
            fix = "mount cgroup2 with these controllers and give this user a directory in it"
    elif group.manager:
        cause = f"not delegated: {', '.join(group.missing)}"
        fix = _DELEGATE
    else:
        cause = "no cgroup here belongs to this user: no systemd user session"
        fix = f"sudo loginctl enable-linger {host.user_name}, then log in again"
    return Check(
        "cgroup",
        title,
        WARN,
        f"{group.mode}: {' '.join(group.controllers) or 'nothing delegated'}",
        chosen="containers stay in the caller's cgroup, without limits",
        cause=cause,
        fix=fix,
    )


def check_session(host: Host, *, systemd: str = _SYSTEMD) -> Check:
    """Whether containers outlive the last login session."""
    title = "session"
    if not os.path.isdir(systemd):
        return Check("session", title, OK, "no systemd here: detached containers keep running")
    if os.path.exists(f"/var/lib/systemd/linger/{host.user_name}"):
        return Check("session", title, OK, "lingering: detached containers keep running")
    return Check(
        "session",
        title,
        WARN,
        "no lingering",
        cause="after the last logout systemd removes the run root and may end containers",
        fix=f"sudo loginctl enable-linger {host.user_name}",
    )
