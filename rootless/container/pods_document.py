"""What `pod inspect` shows: podman's field names, so that tools find what they read."""

from rootless.container.pods import PodView
from rootless.container.pods_create import infra_of
from rootless.host.paths import Host
from storage.pods import PodRecord

# The kinds of config.json and podman's words for them.
_WORDS = {"ipc": "ipc", "network": "net", "pid": "pid", "uts": "uts"}


def shared_words(record: PodRecord) -> list[str]:
    """Return what the containers share as `--share` says it."""
    return [_WORDS[kind] for kind in record.shares]


def make_document(host: Host, found: PodView) -> dict[str, object]:
    """Return the document of a pod."""
    record = found.record
    document: dict[str, object] = {
        "Id": record.id,
        "Name": record.name,
        "Created": record.created_at,
        "CreateCommand": list(record.create_command),
        "ExitPolicy": record.exit_policy,
        "State": found.state,
        "Hostname": record.hostname,
        "Labels": record.labels,
        "CreateCgroup": False,
        "CgroupParent": str(record.members.get("cgroup_parent", "")),
        "CgroupPath": "",
        "CreateInfra": bool(record.infra_id),
        "InfraContainerID": record.infra_id,
        "InfraConfig": _infra_config(found) if record.infra_id else None,
        "SharedNamespaces": shared_words(record),
        "NumContainers": len(found.members),
        "Containers": [
            {"Id": one.record.id, "Name": one.record.name, "State": one.status}
            for one in found.members
        ],
        "LockNumber": 0,
        "RestartPolicy": record.restart or "no",
    }
    if volumes := record.members.get("volume"):
        document["mounts"] = [_mount(str(text)) for text in _texts(volumes)]
    for field in ("device", "security_opt", "volumes_from"):
        if values := record.members.get(field):
            document[{"device": "devices"}.get(field, field)] = _texts(values)
    return document


def _texts(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list | tuple) else []


def _mount(text: str) -> dict[str, object]:
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    kind = "bind" if source.startswith(("/", ".")) else "volume"
    return {"Type": kind, "Source": source, "Destination": target or source, "Options": options}


def _infra_config(found: PodView) -> dict[str, object]:
    from slirp.model import PortMapping

    record = found.record
    infra = infra_of(record)
    members = [one for one in found.members if one.record.is_infra]
    entries = [e for one in members for e in (one.state.ports or one.record.ports)]
    bindings: dict[str, list[dict[str, str]]] = {}
    for mapping in (PortMapping.from_json(entry) for entry in entries):
        key = f"{mapping.container_port}/{mapping.protocol}"
        port = {"HostIp": mapping.host_ip, "HostPort": str(mapping.host_port)}
        bindings.setdefault(key, []).append(port)
    return {
        "PortBindings": bindings,
        "HostNetwork": infra.network == ("host",),
        "StaticIP": infra.ip or "",
        "StaticMAC": infra.mac_address or "",
        "NoManageResolvConf": False,
        "DNSServer": list(infra.dns) or None,
        "DNSSearch": list(infra.dns_search) or None,
        "DNSOption": list(infra.dns_option) or None,
        "NoManageHosts": infra.no_hosts,
        "HostAdd": list(infra.add_host) or None,
        "Networks": [str(e["name"]) for one in members for e in one.record.networks] or None,
        "NetworkOptions": None,
        "pid_ns": infra.pid,
        "userns": infra.userns,
        "uts_ns": infra.uts,
    }
