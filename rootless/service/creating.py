"""POST /containers/create: docker's document of a container, made into a request like `create`'s.

What the document asks for and rpod cannot give is refused, never left out.
"""

import json
import os
import re

from rootless.container.create import create as create_container
from rootless.container.request import ContainerRequest
from rootless.service.exchange import Exchange
from rootless.service.fields import Fields
from rootless.service.http import HttpError
from rootless.service.limits import limits
from rootless.service.mounting import mounts, volumes
from rootless.service.networking import network_fields
from rootless.service.starting import remember_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# What cannot be given, unless it says nothing; and why.
_REFUSED = (
    ("Domainname", "a domain is part of Hostname here"),
    ("HostConfig.Cgroup", "use CgroupParent"),
    ("HostConfig.StorageOpt", "the writable layer has no size of its own"),
    ("HostConfig.DeviceCgroupRules", "a regular user cannot change the rules of devices"),
    ("HostConfig.CpuCount", "only Windows has it"),
    ("HostConfig.CpuPercent", "only Windows has it"),
    ("HostConfig.IOMaximumIOps", "only Windows has it"),
    ("HostConfig.IOMaximumBandwidth", "only Windows has it"),
)
_LOCAL = ("", "local")
_RUNTIMES = ("", "rpod", "runc", "crun", "io.containerd.runc.v2")
_PRIVATE = ("", "private", "shareable")


def create(exchange: Exchange) -> None:
    body = Fields(exchange.json())
    name = exchange.text("name")
    if name and not _NAME.fullmatch(name):
        raise HttpError(
            400,
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        )
    host = exchange.host
    request = make_request(host, body)
    request = request._replace(
        name=name.removeprefix("/") or None, platform=exchange.text("platform") or None
    )
    record = create_container(host, request)
    size = console_size(body.part("HostConfig"))
    if record.tty and all(size):
        remember_size(host, record.id, size)
    warnings = [*host.notes, *_warnings(body)]
    host.notes.clear()
    exchange.send({"Id": record.id, "Warnings": warnings}, 201)


def _warnings(body: Fields) -> list[str]:
    config = body.part("HostConfig")
    found = []
    if config.text("Runtime") not in ("", "rpod"):
        found.append("Runtime has no effect: rpod runs containers itself")
    return found


def console_size(body: Fields) -> list[int]:
    """Return rows and columns of the client's terminal, zeros when it tells none."""
    size = body.raw.get("ConsoleSize")
    if isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size):
        return [min(max(number, 0), 0xFFFF) for number in size]
    return [0, 0]


def make_request(host: "Host", body: Fields) -> ContainerRequest:
    """Return what a document asks for. Raises HttpError."""
    config = body.part("HostConfig")
    _refuse(body)
    values: dict[str, object] = {
        "image": body.text("Image"),
        "command": body.texts("Cmd"),
        "pull": "never",
        "stop_timeout": host.config.stop_timeout,
        **_process(body),
        **_health(body.part("Healthcheck")),
        **_life(body, config),
        **_security(config),
        **network_fields(host, body, config),
        **limits(config),
        "volume": volumes(body, config),
        "mount": mounts(host, config),
        "tmpfs": tuple(f"{p}:{o}" if o else p for p, o in config.pairs("Tmpfs").items()),
        "volumes_from": config.texts("VolumesFrom"),
    }
    if not values["image"]:
        raise HttpError(400, "no image: Image names what the container is made of")
    if host.config.userns and "userns" not in values:
        values["userns"] = host.config.userns
    return ContainerRequest()._replace(**values)  # type: ignore[arg-type]  # fields are of the table


def _refuse(body: Fields) -> None:
    for place, reason in _REFUSED:
        *path, key = place.split(".")
        fields = body
        for name in path:
            fields = fields.part(name)
        if fields.raw.get(key):
            raise HttpError(501, f"{place}: {reason}")
    config = body.part("HostConfig")
    if config.text("VolumeDriver") not in _LOCAL:
        raise HttpError(501, "HostConfig.VolumeDriver: there is only the driver local")
    if config.text("Runtime") not in _RUNTIMES:
        raise HttpError(400, f"HostConfig.Runtime: unknown runtime {config.text('Runtime')!r}")
    if config.text("Isolation") not in ("", "default"):
        raise HttpError(400, "HostConfig.Isolation: only Windows has it")
    for key in ("MaskedPaths", "ReadonlyPaths"):
        if config.texts(key):
            raise HttpError(501, f"HostConfig.{key}: use SecurityOpt mask=PATH and unmask=PATH")


def _process(body: Fields) -> dict[str, object]:
    environment = body.texts("Env")
    entrypoint = None
    if body.has("Entrypoint"):
        words = [word for word in body.texts("Entrypoint") if word]
        # An empty list says nothing; a list with an empty word drops the image's.
        if words or body.texts("Entrypoint"):
            entrypoint = json.dumps(words) if words else ""
    for text in environment:
        if text.startswith("="):
            raise HttpError(400, f"Env: {text!r:.80} has no name")
    return {
        "env": tuple(text for text in environment if "=" in text),
        # docker: a name alone takes the variable of the image away.
        "unsetenv": tuple(text for text in environment if "=" not in text),
        "entrypoint": entrypoint,
        "hostname": body.text("Hostname") or None,
        "user": body.text("User") or None,
        "workdir": body.text("WorkingDir") or None,
        "tty": body.flag("Tty"),
        "interactive": body.flag("OpenStdin"),
        "label": tuple(f"{key}={value}" for key, value in body.pairs("Labels").items()),
    }


def _health(check: Fields) -> dict[str, object]:
    test = check.texts("Test")
    if test[:1] == ("NONE",):
        return {"no_healthcheck": True}
    if test and test[0] not in ("CMD", "CMD-SHELL"):
        raise HttpError(400, f"Healthcheck.Test: {test[0]!r:.80} is not CMD, CMD-SHELL or NONE")
    values: dict[str, object] = {"health_cmd": json.dumps(list(test))} if test else {}
    names = {
        "Interval": "health_interval",
        "Timeout": "health_timeout",
        "StartPeriod": "health_start_period",
        "StartInterval": "health_start_interval",
    }
    for key, field in names.items():
        if duration_ns := check.number(key):
            values[field] = f"{duration_ns}ns"
    if retries := check.number("Retries"):
        values["health_retries"] = retries
    return values


def _life(body: Fields, config: Fields) -> dict[str, object]:
    values: dict[str, object] = {"rm": config.flag("AutoRemove"), "init": config.flag("Init")}
    if body.text("StopSignal"):
        values["stop_signal"] = body.text("StopSignal")
    if body.has("StopTimeout"):
        values["stop_timeout"] = body.number("StopTimeout")
    if path := config.text("ContainerIDFile"):
        raise HttpError(400, f"HostConfig.ContainerIDFile: {path}: the client writes it")
    policy = config.part("RestartPolicy")
    if (name := policy.text("Name")) not in ("", "no"):
        retries = policy.number("MaximumRetryCount")
        values["restart"] = f"{name}:{retries}" if retries else name
    log = config.part("LogConfig")
    driver = log.text("Type")
    if driver:
        values["log_driver"] = "k8s-file" if driver == "local" else driver
    values["log_opt"] = tuple(f"{key}={value}" for key, value in log.pairs("Config").items())
    values["annotation"] = tuple(f"{k}={v}" for k, v in config.pairs("Annotations").items())
    return values


def _security(config: Fields) -> dict[str, object]:
    options = list(config.texts("SecurityOpt"))
    for key in ("MaskedPaths", "ReadonlyPaths"):
        if config.raw.get(key) == [] and "unmask=ALL" not in options:
            options.append("unmask=ALL")  # docker's systempaths=unconfined
    values: dict[str, object] = {
        "cap_add": config.texts("CapAdd"),
        "cap_drop": config.texts("CapDrop"),
        "privileged": config.flag("Privileged"),
        "read_only": config.flag("ReadonlyRootfs"),
        "read_only_tmpfs": False,  # podman's extra: with docker nothing can be written
        "security_opt": tuple(_security_option(text) for text in options),
        "group_add": config.texts("GroupAdd"),
        "sysctl": tuple(f"{key}={value}" for key, value in config.pairs("Sysctls").items()),
        "device": _devices(config),
        "gpus": _gpus(config),
    }
    if config.number("ShmSize") < 0:
        raise HttpError(400, "SHM size can not be less than 0")
    if size := config.number("ShmSize"):
        values["shm_size"] = size
    if score := config.number("OomScoreAdj"):
        values["oom_score_adj"] = score
    for key, field in (("IpcMode", "ipc"), ("PidMode", "pid"), ("UTSMode", "uts")):
        if (mode := config.text(key)) not in _PRIVATE:
            values[field] = mode
    if mode := config.text("UsernsMode"):
        values["userns"] = mode
    if mode := config.text("CgroupnsMode"):
        values["cgroupns"] = mode
    return values


def _security_option(text: str) -> str:
    """docker's client sends a seccomp profile itself, not where it is."""
    key, _, value = text.partition("=")
    if key != "seccomp" or not value.lstrip().startswith("{"):
        # A path would be one of this machine, which the client did not mean.
        if key == "seccomp" and value.startswith("/"):
            raise HttpError(400, "SecurityOpt: seccomp= takes the profile, or unconfined")
        return text.replace(":", "=", 1) if text.startswith("no-new-privileges:") else text
    fd = os.memfd_create("seccomp-profile", os.MFD_CLOEXEC)
    os.write(fd, value.encode())
    return f"seccomp=/proc/self/fd/{fd}"


def _devices(config: Fields) -> tuple[str, ...]:
    found = []
    for device in config.parts("Devices"):
        path = device.text("PathOnHost")
        inside = device.text("PathInContainer") or path
        rights = device.text("CgroupPermissions") or "rwm"
        if not path.startswith("/") or ":" in path + inside:
            raise HttpError(400, f"{device.where}: paths of devices are absolute, without colons")
        found.append(f"{path}:{inside}:{rights}")
    for asked in config.parts("DeviceRequests"):
        if asked.text("Driver") == "cdi":
            found += asked.texts("DeviceIDs")
    return tuple(found)


def _gpus(config: Fields) -> str | None:
    for asked in config.parts("DeviceRequests"):
        driver = asked.text("Driver")
        if driver == "cdi":
            continue
        if driver not in ("", "nvidia"):
            raise HttpError(400, f"{asked.where}: could not select device driver {driver!r:.80}")
        if names := asked.texts("DeviceIDs"):
            return "device=" + ",".join(names)
        count = asked.number("Count")
        return "all" if count < 0 else str(count)
    return None
