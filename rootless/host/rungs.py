"""The rung of each ladder that containers get on this host, and what would raise it: for doctor.

Each line names one administrator's action, the one that helps most; a rung at the top names none.
"""

import fcntl
import os
import tempfile

from rootless.errors import RootlessError
from rootless.host import probe
from rootless.host.cgroup import find_cgroup
from rootless.host.check import FAIL, OK, WARN, Check
from rootless.host.filesystem import existing_part, find_file_system
from slirp.errors import SlirpError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.host.paths import Host

_F_OFD_SETLK = 37


def rungs(host: "Host", checks: "Sequence[Check]") -> list[Check]:
    """Return one line for identity, emulation, root, cgroup, network and locks.

    `checks` are what doctor has found before: their causes and fixes are used again.
    """
    known = {check.id: check for check in checks}
    return [
        _guard("identity", lambda: _identity(host, known)),
        _guard("emulation", lambda: _emulation(host)),
        _guard("root", lambda: _root(host, known)),
        _guard("cgroup", lambda: _cgroup(host, known)),
        _guard("network", lambda: _network(host, known)),
        _guard("locks", lambda: _locks(host, known)),
    ]


def described(host: "Host") -> dict[str, object]:
    """Return the same for `info`: what is there and, of a lower rung, why and what to do."""
    found: dict[str, object] = {}
    for check in rungs(host, ()):
        why = {"cause": check.cause, "fix": check.fix}
        given = {key: text for key, text in why.items() if text}
        found[check.id.removeprefix("rung-")] = {"rung": check.found, **given}
    return found


def _guard(name: str, look: "Callable[[], Check]") -> Check:
    try:
        return look()
    except (RootlessError, StorageError, SlirpError) as error:
        return _rung(name, "none", cause=error.message, fix=error.remedy)
    except OSError as error:
        return _rung(name, "none", cause=str(error))


def _rung(name: str, found: str, *, lower: "Check | None" = None, cause: str = "", fix: str = "",
          chosen: str = "") -> Check:  # fmt: skip
    """Return the line; a lower rung takes cause and fix of a check that failed, if it has any."""
    if lower is not None and lower.status != OK:
        cause, fix = lower.cause or lower.found, lower.fix
    status = WARN if cause or fix else OK
    return Check(f"rung-{name}", f"rung of {name}", status, found, chosen, cause, fix)


def _identity(host: "Host", known: dict[str, Check]) -> Check:
    if not host.id_maps().is_single:
        return _rung("identity", "a range of subordinate ids")
    ranges = host.ranges()
    return _rung(
        "identity",
        "one id",
        chosen="it stands for the user that the image asks for",
        lower=known.get("subids"),
        cause=ranges.problem,
        fix=ranges.remedy,
    )


def _emulation(host: "Host") -> Check:
    from rootless.sandbox.emulation import listener_problem

    if not host.id_maps().is_single:
        return _rung("emulation", "not needed: root has its ids for real")
    problem = listener_problem()
    if not problem:
        return _rung(
            "emulation",
            "a supervisor answers (stat too where it matters, or with full)",
        )
    return _rung(
        "emulation",
        "a filter alone: changes of owners and ids succeed without effect",
        cause=f"no seccomp listener can be had: {problem}",
        fix="Linux 5.5 or later; outside of another program's seccomp listener",
    )


def _root(host: "Host", known: dict[str, Check]) -> Check:
    choice = probe.storage_choice(host)
    if choice.driver == "overlay":
        return _rung("root", "native overlay")
    overlay, fuse = known.get("overlay"), known.get("fuse")
    lower = overlay if choice.driver == "fuse-overlayfs" or fuse is None else fuse
    return _rung(
        "root", choice.driver, lower=lower, cause="; ".join(choice.reasons), fix="run rpod info"
    )


def _cgroup(host: "Host", known: dict[str, Check]) -> Check:
    group = find_cgroup(host.uid, host.environ.get("XDG_RUNTIME_DIR", f"/run/user/{host.uid}"))
    names = {"systemd": "a scope of the user's systemd", "cgroupfs": "a delegated cgroup"}
    found = names.get(group.manager, "the caller's own cgroup: no limits of its own")
    return _rung("cgroup", found, lower=known.get("cgroup"))


def _network(host: "Host", known: dict[str, Check]) -> Check:
    backend = probe.network_backend(host)
    if backend != "host":
        return _rung("network", backend)
    tun, slirp = known.get("tun"), known.get("slirp4netns")
    lower = tun if tun is not None and tun.status != OK else slirp
    return _rung("network", "the host's", lower=lower)


def _locks(host: "Host", known: dict[str, Check]) -> Check:
    """Take both kinds of locks where rpod takes them: in the store and in the run root."""
    store = known.get("store")
    if store is not None and store.status == FAIL and not os.access(host.layout.store, os.W_OK):
        return _rung("locks", "not known: there is no store", lower=store)
    for kind, directory in (("flock", host.layout.store), ("open file", host.layout.run_root)):
        place = existing_part(directory)
        problem = _try_lock(kind, place)
        if problem:
            system = find_file_system(place).kind
            return _rung(
                "locks",
                "none that work everywhere",
                cause=f"{kind} lock in {place} ({system}): {problem}",
                fix="mount it with locks (lustre: -o flock; nfs: nfsvers=4), or give users a local"
                " disk: export RPOD_ROOT=/DISK/$USER",
            )
    return _rung("locks", "flock and open file locks of the kernel")


def _try_lock(kind: str, directory: str) -> str:
    """Return why a lock cannot be taken, "" when it can."""
    import struct

    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".rpod-lock-") as file:
            if kind == "flock":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                fcntl.fcntl(file, _F_OFD_SETLK, whole)
    except OSError as error:
        return error.strerror or str(error)
    return ""
