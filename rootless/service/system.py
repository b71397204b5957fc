"""What the service says of itself: _ping, version, info."""

import os

from rootless.container.query import list_views
from rootless.host.info import architecture, gather
from rootless.service.exchange import API_VERSION, LEAST_API_VERSION, Exchange
from rootless.version import STANDS_FOR, VERSION
from storage.images import list_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def ping(exchange: Exchange) -> None:
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Builder-Version": "1"}
    exchange.answer(200, b"OK", "text/plain; charset=utf-8", {**headers, "Pragma": "no-cache"})


def version(exchange: Exchange) -> None:
    """Docker's version, because clients decide by it what they may ask for; ours is a component."""
    exchange.send(engine_version())


def engine_version() -> dict[str, object]:
    """Return what docker's engine says of its version."""
    kernel = os.uname().release
    return {
        "Platform": {"Name": "rpod"},
        "Components": [
            {"Name": "Engine", "Version": STANDS_FOR["docker"], "Details": {}},
            {"Name": "rpod", "Version": VERSION, "Details": {}},
        ],
        "Version": STANDS_FOR["docker"],
        "ApiVersion": API_VERSION,
        "MinAPIVersion": LEAST_API_VERSION,
        "GitCommit": f"rpod-{VERSION}",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    }


def info(exchange: Exchange) -> None:
    exchange.send(engine_info(exchange.host))
    exchange.host.notes.clear()


def engine_info(host: "Host") -> dict[str, object]:
    """Return what docker's engine says of itself and of the machine."""
    found = gather(host)
    about, store = _part(found, "host"), _part(found, "store")
    distribution = _part(about, "distribution")
    statuses = [view.status for view in list_views(host, all_states=True)]
    running, paused = statuses.count("running"), statuses.count("paused")
    is_v2 = about.get("cgroupVersion") == "v2"
    controllers = about.get("cgroupControllers")
    has = set(controllers if isinstance(controllers, list) else ())
    return {
        "ID": f"rpod-{host.uid}",
        "Name": os.uname().nodename,
        "ServerVersion": STANDS_FOR["docker"],
        "Containers": len(statuses),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(statuses) - running - paused,
        "Images": len(list_images(host.layout)),
        "Driver": store.get("graphDriverName", ""),
        "DriverStatus": [[str(k), str(v)] for k, v in _part(store, "graphStatus").items()],
        "DockerRootDir": host.layout.store,
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "none"],
            "Authorization": None,
            "Log": ["json-file", "journald", "k8s-file", "none"],
        },
        "MemoryLimit": "memory" in has,
        "SwapLimit": "memory" in has,
        "CpuCfsPeriod": "cpu" in has,
        "CpuCfsQuota": "cpu" in has,
        "CPUShares": "cpu" in has,
        "CPUSet": "cpuset" in has,
        "PidsLimit": "pids" in has,
        "OomKillDisable": False,
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "SystemTime": _now(),
        "LoggingDriver": "json-file",
        "CgroupDriver": about.get("cgroupManager", ""),
        "CgroupVersion": "2" if is_v2 else "1",
        "KernelVersion": os.uname().release,
        "OperatingSystem": f"{distribution.get('distribution')} {distribution.get('version')}",
        "OSVersion": distribution.get("version", ""),
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "NCPU": about.get("cpus", 0),
        "MemTotal": about.get("memTotal", 0),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": []},
        "HttpProxy": host.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": host.environ.get("HTTPS_PROXY", ""),
        "NoProxy": host.environ.get("NO_PROXY", ""),
        "Labels": [],
        "ExperimentalBuild": False,
        "Runtimes": {"rpod": {"path": "rpod"}},
        "DefaultRuntime": "rpod",
        "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False, "NodeID": ""},
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "rpod",
        "SecurityOptions": ["name=rootless", "name=seccomp,profile=builtin", "name=cgroupns"],
        "Warnings": list(host.notes) or None,
    }


def _part(raw: dict[str, object], key: str) -> dict[str, object]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _now() -> str:
    from storage.images import rfc3339_now

    return rfc3339_now()
