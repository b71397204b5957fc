"""`rpod info`: the host, the store and the rungs chosen, with the keys of podman's info.

It never fails and never hangs: what cannot be found out is empty.
"""

import os
import sys

from rootless.errors import RootlessError
from rootless.host import probe
from rootless.host.cgroup import find_cgroup
from rootless.host.check import TimeLimit
from rootless.host.check_identity import status_field
from rootless.host.check_network import program_version
from rootless.host.filesystem import existing_part, find_file_system
from rootless.host.paths import Host
from rootless.host.programs import find_program, os_release, read_text
from rootless.host.rungs import described
from rootless.sandbox import capabilities
from rootless.version import STANDS_FOR, VERSION
from slirp.errors import SlirpError
from storage.containers import iter_views
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.linux.userns import IdRange

_LIMIT_S = 5.0
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}


def gather(host: Host) -> dict[str, object]:
    """Return the sections host, store, registries and version."""
    return {
        "host": _section("host", lambda: _host(host)),
        "store": _section("store", lambda: _store(host)),
        "registries": {},
        "version": _section("version", version),
    }


def version(called: str = "rpod") -> dict[str, object]:
    """Return the version section: podman's keys, with Python for Go.

    `called` is the name by which the command was started: "podman" and "docker" get theirs.
    """
    known = STANDS_FOR.get(called, VERSION)
    return {
        "APIVersion": known,
        "Version": known,
        "PythonVersion": sys.version.split()[0],
        "OsArch": f"linux/{architecture()}",
        "Os": "linux",
    }


def architecture() -> str:
    """Return the machine's architecture in OCI's words (GOARCH)."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def _section(name: str, function: "Callable[[], dict[str, object]]") -> dict[str, object]:
    try:
        with TimeLimit(f"info {name}", 2 * _LIMIT_S):
            return function()
    except (RootlessError, StorageError, SlirpError) as error:
        return {"error": error.message}
    except (OSError, ValueError) as error:
        return {"error": str(error)}


def _attempt(doing: str, function: "Callable[[], str]") -> str:
    try:
        with TimeLimit(doing, _LIMIT_S):
            return function()
    except (RootlessError, StorageError, SlirpError) as error:
        return f"none: {error.message}"
    except (OSError, ValueError) as error:
        return f"none: {error}"


def _host(host: Host) -> dict[str, object]:
    group = find_cgroup(host.uid, host.environ.get("XDG_RUNTIME_DIR", f"/run/user/{host.uid}"))
    release = os_release()
    memory = _memory()
    maps = host.id_maps()
    return {
        "arch": architecture(),
        "cgroupControllers": list(group.controllers),
        "cgroupManager": group.manager or "none",
        "cgroupVersion": "v2" if group.mode == "v2" else group.mode,
        "cpus": len(os.sched_getaffinity(0)),
        "distribution": {
            "distribution": release.get("ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "version": release.get("VERSION_ID", ""),
        },
        "hostname": os.uname().nodename,
        "idMappings": {"gidmap": _map(maps.gids), "uidmap": _map(maps.uids)},
        "kernel": os.uname().release,
        "logDriver": "k8s-file",
        "memFree": memory.get("MemAvailable", 0),
        "memTotal": memory.get("MemTotal", 0),
        "networkBackend": _attempt("network", lambda: probe.network_backend(host)),
        "ociRuntime": {"name": "rpod", "path": sys.executable},
        "os": "linux",
        "pasta": _program(host, "pasta"),
        "rungs": _section("rungs", lambda: described(host)),
        "remoteSocket": _socket(f"{host.layout.run_root}/rpod.sock"),
        "security": _security(host),
        "serviceIsRemote": False,
        "slirp4netns": _program(host, "slirp4netns"),
        "swapFree": memory.get("SwapFree", 0),
        "swapTotal": memory.get("SwapTotal", 0),
        "uptime": _uptime(),
        "notes": list(host.notes),
    }


def _socket(path: str) -> dict[str, object]:
    return {"exists": os.path.exists(path), "path": f"unix://{path}"}


def _map(ranges: "tuple[IdRange, ...]") -> list[dict[str, int]]:
    return [
        {"container_id": inside, "host_id": outside, "size": count}
        for inside, outside, count in ranges
    ]


def _memory() -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    result = {}
    for line in read_text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            result[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return result


def _uptime() -> str:
    seconds = int(float((read_text("/proc/uptime").split() or ["0"])[0]))
    hours, rest = divmod(seconds, 3600)
    days = f" (Approximately {hours / 24:.2f} days)" if hours >= 24 else ""
    return f"{hours}h {rest // 60}m {rest % 60}.00s{days}"


def _program(host: Host, name: str) -> dict[str, object]:
    path = find_program(name, host.environ)
    if path is None:
        return {"executable": "", "version": ""}
    return {"executable": path, "version": _attempt(name, lambda: program_version(path))}


def _security(host: Host) -> dict[str, object]:
    return {
        "apparmorEnabled": False,
        "capabilities": ",".join(capabilities.DEFAULT),
        "rootless": host.uid != 0,
        "seccompEnabled": status_field("Seccomp") != "",
        "seccompProfilePath": "builtin",
        "selinuxEnabled": False,
    }


def _store(host: Host) -> dict[str, object]:
    layout = host.layout
    existing = existing_part(layout.store)
    space = os.statvfs(existing)
    driver = _attempt("storage driver", lambda: probe.storage_driver(host))
    return {
        "configFile": ", ".join(host.config.sources),
        "containerStore": _count_containers(host),
        "graphDriverName": driver,
        "graphOptions": {},
        "graphRoot": layout.store,
        "graphRootAllocated": space.f_blocks * space.f_frsize,
        "graphRootUsed": (space.f_blocks - space.f_bfree) * space.f_frsize,
        "graphStatus": {
            "Backing Filesystem": find_file_system(existing).kind,
            "Native Overlay": str(driver == "overlay").lower(),
            "Reasons": "; ".join(_reasons(host)),
        },
        "imageStore": {"number": _count(layout.images_dir)},
        "runRoot": layout.run_root,
        "runRootReason": host.run_root_reason,
        "sharedRoot": layout.shared,
        "volumePath": layout.volumes_dir,
    }


def _reasons(host: Host) -> tuple[str, ...]:
    try:
        return probe.storage_choice(host).reasons
    except (RootlessError, StorageError):
        return ()


def _count(directory: str) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def _count_containers(host: Host) -> dict[str, int]:
    statuses = [view.status for view in iter_views(host.layout)]
    return {
        "number": len(statuses),
        "paused": statuses.count("paused"),
        "running": statuses.count("running"),
        "stopped": len(statuses) - statuses.count("running") - statuses.count("paused"),
    }
