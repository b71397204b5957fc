"""The keys of a service: what each may hold, and why some cannot work here.

Compose Specification, 05-services.
"""

from rootless.compose.mount_values import (
    blkio,
    devices,
    env_files,
    given_files,
    host_entries,
    ports,
    ulimits,
    volumes,
)
from rootless.compose.readers import (
    At,
    Read,
    anything,
    choice,
    command,
    count,
    decimal,
    duration,
    flag,
    integer,
    list_of,
    mapping,
    one_or_many_paths,
    pairs,
    path,
    record,
    scalar,
    size,
    text,
    texts_of,
    word_or_words,
    words,
)

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_WINDOWS = "it is for Windows"


def _health_test(raw: object, at: At) -> list[str]:
    if isinstance(raw, str):
        return ["CMD-SHELL", raw]
    test = words(raw, at)
    if not test or test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise at.wrong("must begin with NONE, CMD or CMD-SHELL")
    return test


_HEALTH = record(
    {
        "test": _health_test,
        "disable": flag,
        "interval": duration,
        "timeout": duration,
        "retries": count,
        "start_period": duration,
        "start_interval": duration,
    }
)
_DEPENDENCY = record({"condition": choice(*CONDITIONS), "restart": flag, "required": flag})


def _depends_on(raw: object, at: At) -> dict[str, object]:
    default: dict[str, object] = {"condition": CONDITIONS[0], "required": True}
    if isinstance(raw, list):
        return {name: dict(default) for name in words(raw, at)}
    found: dict[str, object] = {}
    for name, one in mapping(raw, at).items():
        entry = _DEPENDENCY(one if one is not None else {}, at / name)
        assert isinstance(entry, dict)
        found[name] = {**default, **entry}
    return found


_NETWORK = record(
    {
        "aliases": words,
        "ipv4_address": text,
        "ipv6_address": text,
        "link_local_ips": words,
        "mac_address": text,
        "interface_name": text,
        "driver_opts": texts_of,
        "priority": integer,
        "gw_priority": integer,
    }
)


def _networks(raw: object, at: At) -> dict[str, object]:
    if isinstance(raw, list):
        return {name: {} for name in words(raw, at)}
    return {
        name: _NETWORK(one if one is not None else {}, at / name)
        for name, one in mapping(raw, at).items()
    }


def _context(raw: object, at: At) -> str:
    where = text(raw, at)
    return where if "://" in where or where.startswith("git@") else at.absolute(where)


def _contexts(raw: object, at: At) -> dict[str, str]:
    found = {}
    for name, where in texts_of(raw, at).items():
        is_special = "://" in where or where.startswith("service:")
        found[name] = where if is_special else at.absolute(where)
    return found


_BUILD = record(
    {
        "context": _context,
        "dockerfile": text,
        "dockerfile_inline": text,
        "additional_contexts": _contexts,
        "args": pairs(),
        "ssh": word_or_words,
        "cache_from": words,
        "cache_to": words,
        "entitlements": words,
        "extra_hosts": host_entries,
        "isolation": anything,
        "labels": texts_of,
        "network": text,
        "no_cache": flag,
        "no_cache_filter": word_or_words,
        "platforms": words,
        "privileged": flag,
        "provenance": anything,
        "pull": flag,
        "sbom": anything,
        "secrets": given_files,
        "shm_size": size,
        "tags": words,
        "target": text,
        "ulimits": ulimits,
    },
    {"isolation": _WINDOWS},
)


def _build(raw: object, at: At) -> dict[str, object]:
    entry = _BUILD({"context": raw} if isinstance(raw, str) else raw, at)
    assert isinstance(entry, dict)
    if "dockerfile" in entry and "dockerfile_inline" in entry:
        raise at.wrong("dockerfile and dockerfile_inline do not go together")
    return {"context": at.directory, **entry}


def gpus(raw: object, at: At) -> list[object]:
    """Read gpus: `all`, or requests for devices."""
    if raw == "all":
        return [{"count": -1}]
    found = list_of(_GPU)(raw, at)
    assert isinstance(found, list)
    return found


def _gpu_count(raw: object, at: At) -> int:
    return -1 if raw == "all" else integer(raw, at)


_GPU = record(
    {
        "capabilities": words,
        "count": _gpu_count,
        "device_ids": words,
        "driver": text,
        "options": texts_of,
    }
)
_RESOURCES = {
    "limits": record({"cpus": decimal, "memory": size, "pids": integer}),
    "reservations": record(
        {"cpus": decimal, "memory": size, "devices": list_of(_GPU), "generic_resources": anything}
    ),
}
_DEPLOY = record(
    {
        "mode": choice("replicated", "global", "replicated-job", "global-job"),
        "endpoint_mode": text,
        "replicas": count,
        "labels": texts_of,
        "resources": record(dict(_RESOURCES)),
        "restart_policy": record(
            {
                "condition": choice("none", "on-failure", "any"),
                "delay": duration,
                "max_attempts": count,
                "window": duration,
            }
        ),
        # of a cluster of hosts: docker compose takes them, too, and does nothing with them
        "placement": anything,
        "update_config": anything,
        "rollback_config": anything,
    }
)
_LOGGING = record({"driver": text, "options": pairs()})
_HOOK = record(
    {
        "command": command,
        "user": scalar,
        "privileged": flag,
        "working_dir": text,
        "environment": pairs(),
    }
)


def _extends(raw: object, at: At) -> dict[str, object]:
    if isinstance(raw, str):
        return {"service": raw}
    entry = record({"service": text, "file": path})(raw, at)
    assert isinstance(entry, dict)
    if "service" not in entry:
        raise at.wrong("service is missing")
    return entry


def _restart(raw: object, at: At) -> str:
    # `no` is a text in YAML 1.2, but some write a boolean.
    word = "no" if raw is False else text(raw, at)
    kind, colon, tries = word.partition(":")
    is_known = kind in ("no", "always", "unless-stopped") and not colon
    if not is_known and not (kind == "on-failure" and (not colon or tries.isdecimal())):
        raise at.wrong(f"invalid restart policy {word!r}")
    return word


SERVICE_KEYS: dict[str, Read] = {
    "annotations": texts_of,
    "attach": flag,
    "blkio_config": blkio,
    "build": _build,
    "cap_add": words,
    "cap_drop": words,
    "cgroup": choice("host", "private"),
    "cgroup_parent": text,
    "command": command,
    "configs": given_files,
    "container_name": text,
    "cpu_period": scalar,
    "cpu_quota": scalar,
    "cpu_rt_period": scalar,
    "cpu_rt_runtime": scalar,
    "cpu_shares": integer,
    "cpus": decimal,
    "cpuset": scalar,
    "depends_on": _depends_on,
    "deploy": _DEPLOY,
    "develop": anything,
    "devices": devices,
    "dns": word_or_words,
    "dns_opt": words,
    "dns_search": word_or_words,
    "domainname": text,
    "entrypoint": command,
    "env_file": env_files,
    "environment": pairs(),
    "expose": words,
    "extends": _extends,
    "extra_hosts": host_entries,
    "gpus": gpus,
    "group_add": words,
    "healthcheck": _HEALTH,
    "hostname": text,
    "image": text,
    "init": flag,
    "ipc": text,
    "label_file": one_or_many_paths,
    "labels": texts_of,
    "links": words,
    "logging": _LOGGING,
    "mac_address": text,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": integer,
    "memswap_limit": size,
    "network_mode": text,
    "networks": _networks,
    "oom_kill_disable": flag,
    "oom_score_adj": integer,
    "pid": text,
    "pids_limit": integer,
    "platform": text,
    "ports": ports,
    "post_start": list_of(_HOOK),
    "pre_stop": list_of(_HOOK),
    "privileged": flag,
    "profiles": words,
    "pull_policy": text,
    "read_only": flag,
    "restart": _restart,
    "scale": count,
    "secrets": given_files,
    "security_opt": words,
    "shm_size": size,
    "stdin_open": flag,
    "stop_grace_period": duration,
    "stop_signal": text,
    "sysctls": texts_of,
    "tmpfs": word_or_words,
    "tty": flag,
    "ulimits": ulimits,
    "user": scalar,
    "userns_mode": text,
    "uts": text,
    "volumes": volumes,
    "volumes_from": words,
    "working_dir": text,
}
REFUSED = {
    "cpu_count": _WINDOWS,
    "cpu_percent": _WINDOWS,
    "credential_spec": _WINDOWS,
    "isolation": _WINDOWS,
    "device_cgroup_rules": "the kernel gives a regular user no rules for devices; use devices",
    "external_links": "containers find each other in a network that they share; use networks",
    "models": "models are run by Docker's own Model Runner",
    "provider": "providers are plugins of docker compose",
    "runtime": "rpod runs containers itself, without an OCI runtime",
    "storage_opt": "options of storage drivers are root's; use a volume, or tmpfs with a size",
    "use_api_socket": "there is no daemon whose socket could be given",
    "volume_driver": "there are no drivers of volumes but the local one; use volumes",
}
SERVICE = record(SERVICE_KEYS, REFUSED)
