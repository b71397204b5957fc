"""What `inspect` shows of a container: podman's field names, so that tools find what they read."""

from rootless.container.document_limits import devices, limits, ulimits
from rootless.container.limits import signal_name
from rootless.container.owner import network_owner
from rootless.container.request import ContainerRequest
from rootless.host.paths import Host
from slirp.errors import InvalidPort
from storage.containers import ContainerView, read_config

_NEVER = "0001-01-01T00:00:00Z"


def make_document(found: ContainerView, host: Host) -> dict[str, object]:
    """Return the document. Raises InvalidDocument when config.json is broken."""
    record, paths = found.record, found.paths
    config = read_config(paths)
    request = read_request(record.request)
    process = _object(config, "process")
    ports = _ports(found, host, request)
    return {
        "Id": record.id,
        "Created": utc(record.created_at),
        "Path": record.command[0] if record.command else "",
        "Args": list(record.command[1:]),
        "State": _state(found),
        "Image": record.image_id,
        "ImageDigest": record.image_digest,
        "ImageName": record.image_name,
        "Rootfs": request.rootfs if request.rootfs_kind else "",
        "Pod": record.pod,
        "ResolvConfPath": f"{paths.etc}/resolv.conf",
        "HostnamePath": f"{paths.etc}/hostname",
        "HostsPath": f"{paths.etc}/hosts",
        "StaticDir": paths.directory,
        "OCIConfigPath": paths.config,
        "OCIRuntime": "rpod",
        "ConmonPidFile": "",
        "PidFile": record.pidfile,
        "Name": record.name,
        "RestartCount": found.state.restart_count,
        "Driver": record.driver,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": _object(process, "capabilities").get("effective", []),
        "BoundingCaps": _object(process, "capabilities").get("bounding", []),
        "ExecIDs": [],
        "GraphDriver": _graph_driver(found, host),
        "Mounts": list(record.mounts),
        "Dependencies": _dependencies(record.joins),
        "NetworkSettings": _network(network_owner(host, found), host, found, ports),
        "Namespace": "",
        "IsInfra": record.is_infra,
        "IsService": False,
        "Config": _config(found, config, request, host),
        "HostConfig": _host_config(found, config, request, ports),
    }


def _dependencies(joins: dict[str, str]) -> list[str]:
    prefix = "container:"
    owners = (t.removeprefix(prefix) for t in joins.values() if t.startswith(prefix))
    return list(dict.fromkeys(owners))


def read_request(raw: dict[str, object]) -> ContainerRequest:
    """Read what the record kept of the request: the fields that are not the default."""
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()
    }
    return ContainerRequest._make(
        values.get(name, default) for name, default in ContainerRequest._field_defaults.items()
    )


def _object(raw: dict[str, object], key: str) -> dict[str, object]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _state(found: ContainerView) -> dict[str, object]:
    state = found.state
    running = found.status in ("running", "paused")
    return {
        "OciVersion": "1.0.2",
        "Status": found.status,
        "Running": running,
        "Paused": found.status == "paused",
        "Restarting": False,
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": found.pid,
        "ConmonPid": state.monitor_pid if found.pid else 0,
        "ExitCode": found.exit_code,
        "Error": state.error,
        "StartedAt": utc(state.started_at) or _NEVER,
        "FinishedAt": utc(state.finished_at) or _NEVER,
        "CheckpointedAt": _NEVER,
        "RestoredAt": _NEVER,
        **_health(found),
        "CgroupPath": state.cgroup.removeprefix("/sys/fs/cgroup") if found.pid else "",
    }


def _health(found: ContainerView) -> dict[str, object]:
    """Return what the checks have found under podman's name for it and docker's."""
    if found.record.health is None:
        none = {"Status": "", "FailingStreak": 0, "Log": None}
        return {"Healthcheck": none, "Health": none}
    from rootless.container.health_state import read_health

    health = read_health(found)
    shown = {key: health.get(key) for key in ("Status", "FailingStreak", "Log")}
    return {"Healthcheck": shown, "Health": shown}


def _graph_driver(found: ContainerView, host: Host) -> dict[str, object]:
    record, paths = found.record, found.paths
    lower = [host.layout.layer_diff(record.map_key, c) for c in reversed(record.chain_ids)]
    return {
        "Name": record.driver,
        "Data": {"LowerDir": ":".join(lower), "UpperDir": paths.upper, "WorkDir": paths.work},
    }


def _network(
    found: ContainerView,
    host: Host,
    shown: ContainerView,
    ports: dict[str, list[dict[str, str]] | None],
) -> dict[str, object]:
    """Return the network of `found`, who may be another than the container that is shown."""
    if found.record.id != shown.record.id:
        ports = _ports(found, host, read_request(found.record.request))
    if found.record.network == "bridge":
        from rootless.container.networks_document import network_settings

        return {**network_settings(found, host), "Ports": ports}
    from slirp.settings import parse_network

    settings = parse_network(found.record.network)
    slirp = settings.slirp if settings.mode == "slirp4netns" and found.pid else None
    return {
        "EndpointID": "",
        "Gateway": slirp.gateway if slirp else "",
        "IPAddress": slirp.address if slirp else "",
        "IPPrefixLen": int(slirp.cidr.partition("/")[2]) if slirp else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SandboxKey": f"/proc/{found.pid}/ns/net" if found.pid else "",
    }


def _ports(
    found: ContainerView, host: Host, request: ContainerRequest
) -> dict[str, list[dict[str, str]] | None]:
    """Return the published ports, and those that are only exposed: null."""
    result: dict[str, list[dict[str, str]] | None] = {}
    for entry in found.state.ports or found.record.ports:
        key = f"{entry['container_port']}/{entry['protocol']}"
        binding = {"HostIp": str(entry["host_ip"]), "HostPort": str(entry["host_port"])}
        bindings = result.get(key) or []
        result[key] = [*bindings, binding]
    if found.record.network.partition(":")[0] in ("slirp4netns", "pasta", "bridge"):
        for key in _exposed(found, host, request):
            result.setdefault(key, None)
    return dict(sorted(result.items()))


def _exposed(found: ContainerView, host: Host, request: ContainerRequest) -> list[str]:
    from slirp.ports import parse_exposed
    from storage.errors import StorageError
    from storage.images import find_image, image_config

    texts = list(request.expose)
    if found.record.image_id:
        try:
            image = find_image(host.layout, found.record.image_id)
            texts += image_config(host.layout, image).exposed_ports
        except StorageError:
            pass  # it has been removed
    try:
        return [f"{port}/{protocol}" for text in texts for port, protocol in parse_exposed(text)]
    except InvalidPort:
        return []  # the image's own mistake


def _config(
    found: ContainerView, config: dict[str, object], request: ContainerRequest, host: Host
) -> dict[str, object]:
    record = found.record
    process = _object(config, "process")
    user = _object(process, "user")
    annotations = _object(config, "annotations")
    return {
        "Hostname": str(config.get("hostname", "")),
        "Domainname": "",
        "User": request.user or _user_text(user),
        "AttachStdin": "stdin" in request.attach,
        "AttachStdout": "stdout" in request.attach,
        "AttachStderr": "stderr" in request.attach,
        "Tty": record.tty,
        "OpenStdin": record.interactive,
        "StdinOnce": False,
        "Env": process.get("env", []),
        "Cmd": list(record.command),
        "Image": record.image_name,
        "Volumes": None,
        "WorkingDir": process.get("cwd", "/"),
        "Entrypoint": request.entrypoint or "",
        "OnBuild": None,
        "Labels": record.labels or None,
        "Annotations": config.get("annotations"),
        "StopSignal": record.stop_signal,
        "CreateCommand": list(request.create_command),
        "Umask": f"{int(str(user.get('umask', 0o022))):04o}",
        "Timeout": record.timeout_s,
        "StopTimeout": record.stop_timeout_s,
        "Passwd": request.passwd,
        "sdNotifyMode": request.sdnotify,
        "StopSignalName": signal_name(record.stop_signal),
        **({"SystemdMode": True} if "dev.rpod.systemd" in annotations else {}),
        **_healthcheck(record.health),
        **_secrets(host, request),
    }


def _secrets(host: Host, request: ContainerRequest) -> dict[str, object]:
    if not request.secret:
        return {}
    from rootless.container.secrets import describe

    return {"Secrets": describe(host, request.secret)}


def _healthcheck(health: dict[str, object] | None) -> dict[str, object]:
    """Return docker's description of the checks: durations in nanoseconds."""
    if health is None:
        return {"HealthcheckOnFailureAction": "none"}
    names = {"Interval": "interval_s", "Timeout": "timeout_s", "StartPeriod": "start_period_s"}
    result: dict[str, object] = {"Test": health.get("test")}
    for name, key in names.items():
        value = health.get(key)
        result[name] = int(value * 1e9) if isinstance(value, int | float) else 0
    result["Retries"] = health.get("retries")
    if isinstance(value := health.get("start_interval_s"), int | float) and value:
        result["StartInterval"] = int(value * 1e9)
    return {"Healthcheck": result, "HealthcheckOnFailureAction": health.get("on_failure")}


def _user_text(user: dict[str, object]) -> str:
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    return "" if not uid and not gid else f"{uid}:{gid}"


def _host_config(
    found: ContainerView,
    config: dict[str, object],
    request: ContainerRequest,
    ports: dict[str, list[dict[str, str]] | None],
) -> dict[str, object]:
    record = found.record
    binds = [
        f"{m.get('Name') or m['Source']}:{m['Destination']}:{'rw' if m['RW'] else 'ro'}"
        for m in record.mounts
        if m["Type"] != "tmpfs"
    ]
    return {
        "Binds": binds,
        "CgroupManager": _manager_of(found.state.cgroup),
        "CgroupMode": request.cgroupns,
        **limits(_object(_object(config, "linux"), "resources")),
        "CgroupParent": request.cgroup_parent,
        "Cgroups": request.cgroups,
        "ContainerIDFile": record.cidfile,
        "LogConfig": _log_config(found),
        "NetworkMode": record.network,
        "PortBindings": ports,
        "RestartPolicy": {
            "Name": record.restart.partition(":")[0],
            "MaximumRetryCount": int(record.restart.partition(":")[2] or 0),
        },
        "AutoRemove": record.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "CapAdd": list(request.cap_add),
        "CapDrop": list(request.cap_drop),
        "Dns": list(request.dns),
        "DnsOptions": list(request.dns_option),
        "DnsSearch": list(request.dns_search),
        "ExtraHosts": list(request.add_host),
        "GroupAdd": list(request.group_add),
        "IpcMode": request.ipc,
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": request.oom_score_adj or 0,
        "PidMode": request.pid,
        "Privileged": request.privileged,
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": list(request.security_opt),
        "Tmpfs": {text.partition(":")[0]: text.partition(":")[2] for text in request.tmpfs},
        "UTSMode": request.uts,
        "UsernsMode": request.userns if request.userns != "host" else "",
        "ShmSize": request.shm_size,
        "Runtime": "rpod",
        "Ulimits": ulimits(_object(config, "process").get("rlimits")),
        "Init": record.init,
        "Devices": devices(request.device),
        "IDMappings": {
            "UidMap": [f"{a}:{b}:{c}" for a, b, c in record.uid_map],
            "GidMap": [f"{a}:{b}:{c}" for a, b, c in record.gid_map],
        },
    }


def utc(moment: str) -> str:
    """Write a time of a record as podman does: UTC has a Z."""
    return moment.replace("+00:00", "Z")


def _log_config(found: ContainerView) -> dict[str, object]:
    from rootless.container.log_options import describe

    return describe(found)


def _manager_of(cgroup: str) -> str:
    if not cgroup:
        return "disabled"
    return "systemd" if cgroup.endswith(".scope/container") else "cgroupfs"
