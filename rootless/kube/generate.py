"""`kube generate`: a pod, containers or volumes as documents of Kubernetes."""

from rootless.config import yaml_text
from rootless.container.document import read_request
from rootless.container.pods import find_view
from rootless.container.pods_create import infra_of
from rootless.errors import UsageError
from rootless.version import VERSION
from storage.containers import ContainerView, find_container, read_config
from storage.errors import NotFound
from storage.record import NamedTuple
from storage.volumes import find_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.host.paths import Host

Object = dict[str, object]
_HEAD = (
    "# Save the output of this file and use kubectl create -f to import\n"
    "# it into Kubernetes.\n"
    "#\n"
    f"# Created with rpod-{VERSION}\n"
)
_POLICIES = {"always": "Always", "unless-stopped": "Always", "on-failure": "OnFailure"}
_MAX_NAME = 63


class _Volumes:
    """The volumes of a pod as they are found in its containers."""

    def __init__(self) -> None:
        self.entries: list[Object] = []

    def mounts(self, found: ContainerView) -> list[Object]:
        """Return the mounts of a container, and keep their volumes."""
        result = []
        for mount in found.record.mounts:
            source, target = str(mount.get("Source", "")), str(mount.get("Destination", ""))
            name, entry = _volume(str(mount.get("Type", "")), str(mount.get("Name", "")), source)
            if not name:
                continue
            if entry not in self.entries:
                self.entries.append(entry)
            one: Object = {"name": name, "mountPath": target}
            if mount.get("RW") is False:
                one["readOnly"] = True
            result.append(one)
        return result


def _volume(kind: str, name: str, source: str) -> tuple[str, Object]:
    if kind == "volume":
        claim = {"claimName": name}
        name = _kube_name(f"{name[: _MAX_NAME - 4]}-pvc")
        return name, {"name": name, "persistentVolumeClaim": claim}
    if kind == "bind":
        import os

        name = _kube_name(f"{source.strip('/').replace('/', '-') or 'root'}-host")
        kind = "Directory" if os.path.isdir(source) else "File"
        return name, {"name": name, "hostPath": {"path": source, "type": kind}}
    return "", {}


def _kube_name(text: str) -> str:
    """Return a name as Kubernetes wants it: lower case letters, digits and dashes."""
    letters = (letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return "".join(letters).strip("-")[:_MAX_NAME].strip("-") or "x"


class _Found(NamedTuple):
    """What the pod is made of."""

    name: str
    members: list[ContainerView]
    ports: list[Object]
    labels: dict[str, str]
    hostname: str
    is_host_network: bool
    shares_pid: bool


def generate(
    host: "Host", names: "Iterable[str]", *, kind: str = "pod", replicas: int = 1,
    service: bool = False,
) -> str:  # fmt: skip
    """Return the documents of volumes, of pods, and of containers in a pod of their own.

    Raises UsageError, NotFound.
    """
    pods: list[_Found] = []
    containers: list[ContainerView] = []
    documents: list[Object] = []
    for text in dict.fromkeys(names):
        if played := _find_pod(host, text):
            pods.append(played)
        elif member := _find_container(host, text):
            containers.append(member)
        else:
            documents.append(_claim(host, text))
    for found in (*pods, *([_together(containers)] if containers else ())):
        if service:
            documents.append(_service(found))
        pod = _pod(found)
        documents.append(_deployment(pod, found, replicas) if kind == "deployment" else pod)
    return _write(documents)


def _write(documents: list[Object]) -> str:
    return _HEAD + "---\n".join(yaml_text(one) for one in documents)


def _claim(host: "Host", text: str) -> Object:
    try:
        name = find_volume(host.layout, text).name
    except NotFound as error:
        raise UsageError(
            f'name or ID "{text}" not found: no such pod, container or volume'
        ) from error
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": spec}  # fmt: skip


def _find_pod(host: "Host", text: str) -> _Found | None:
    try:
        pod = find_view(host, text)
    except NotFound:
        return None
    infra = infra_of(pod.record)
    ports = [e for one in pod.members if one.record.is_infra for e in one.record.ports]
    is_host = infra.network == ("host",)
    return _Found(
        pod.record.name, pod.ordinary, ports, pod.record.labels,
        pod.record.hostname or pod.record.name, is_host, "pid" in pod.record.shares,
    )  # fmt: skip


def _find_container(host: "Host", text: str) -> ContainerView | None:
    try:
        found = find_container(host.layout, text)
    except NotFound:
        return None
    if found.record.pod:
        raise UsageError(
            f"container {found.record.name} is associated with pod {found.record.pod}: use"
            " generate on the pod itself"
        )
    return found


def _together(members: list[ContainerView]) -> _Found:
    """Describe the pod that containers of no pod would make up."""
    ports = [entry for one in members for entry in one.record.ports]
    name = f"{members[0].record.name}-pod"
    is_host = members[0].record.network == "host"
    return _Found(name, members, ports, {}, "", is_host, False)


def _pod(found: _Found) -> Object:
    volumes = _Volumes()
    containers: list[Object] = []
    inits: list[Object] = []
    for one in found.members:
        (inits if one.record.init_kind else containers).append(_container(one, volumes))
    if not containers:
        raise UsageError(f"pod {found.name} has no containers")
    ports = [_port(entry) for entry in found.ports]
    if ports:
        containers[0]["ports"] = ports
    spec: Object = {"containers": containers, "restartPolicy": _restart(found.members)}
    if inits:
        spec["initContainers"] = inits
    if found.hostname:
        spec["hostname"] = found.hostname
    if found.is_host_network:
        spec["hostNetwork"] = True
    if found.shares_pid:
        spec["shareProcessNamespace"] = True
    if volumes.entries:
        spec["volumes"] = volumes.entries
    name = _kube_name(found.name)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **found.labels}},
        "spec": spec,
    }


def _restart(members: list[ContainerView]) -> str:
    policies = {one.record.restart.partition(":")[0] for one in members} - {""}
    return _POLICIES[policies.pop()] if len(policies) == 1 else "Never"


def _port(entry: Object) -> Object:
    port: Object = {"containerPort": entry.get("container_port")}
    if entry.get("host_port"):
        port["hostPort"] = entry["host_port"]
    if entry.get("host_ip"):
        port["hostIP"] = entry["host_ip"]
    if str(entry.get("protocol") or "tcp") != "tcp":
        port["protocol"] = str(entry["protocol"]).upper()
    return port


def _container(found: ContainerView, volumes: _Volumes) -> Object:
    record = found.record
    request = read_request(record.request)
    config = read_config(found.paths)
    process = config["process"]
    result: Object = {"name": _kube_name(record.name), "image": record.image_name}
    if request.entrypoint is not None or request.command:
        result["command"] = list(process["args"])
    if process.get("cwd", "/") != "/":
        result["workingDir"] = process["cwd"]
    # What the command line gave: the image has the rest. Secrets are in neither.
    if env := [text.partition("=") for text in request.env if "=" in text]:
        result["env"] = [{"name": name, "value": value} for name, _, value in env]
    if mounts := volumes.mounts(found):
        result["volumeMounts"] = mounts
    if record.tty:
        result["tty"] = True
    if record.interactive:
        result["stdin"] = True
    if security := _security(request, process):
        result["securityContext"] = security
    if resources := _resources(config):
        result["resources"] = {"limits": resources}
    if probe := _probe(record.health):
        result["livenessProbe"] = probe
    return result


def _security(request: object, process: Object) -> Object:
    from rootless.container.request import ContainerRequest

    assert isinstance(request, ContainerRequest)
    result: Object = {}
    user = process.get("user")
    if request.user is not None and isinstance(user, dict):
        result["runAsUser"], result["runAsGroup"] = user.get("uid"), user.get("gid")
    if request.privileged:
        result["privileged"] = True
    if request.read_only:
        result["readOnlyRootFilesystem"] = True
    if process.get("noNewPrivileges"):
        result["allowPrivilegeEscalation"] = False
    changes = {key: [word.upper() for word in words] for key, words in (
        ("add", request.cap_add), ("drop", request.cap_drop)) if words}  # fmt: skip
    if changes:
        result["capabilities"] = changes
    return result


def _resources(config: Object) -> Object:
    linux = config.get("linux")
    resources = linux.get("resources") if isinstance(linux, dict) else None
    found: Object = {}
    if not isinstance(resources, dict):
        return found
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    if memory.get("limit"):
        found["memory"] = str(memory["limit"])
    if cpu.get("quota") and cpu.get("period"):
        found["cpu"] = f"{round(cpu['quota'] * 1000 / cpu['period'])}m"
    return found


def _probe(health: Object | None) -> Object:
    test = health.get("test") if health else None
    if not health or not isinstance(test, list) or len(test) < 2:
        return {}
    words = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", test[1]]
    return {
        "exec": {"command": words},
        "periodSeconds": max(1, int(float(str(health.get("interval_s") or 30)))),
        "timeoutSeconds": max(1, int(float(str(health.get("timeout_s") or 30)))),
        "failureThreshold": int(str(health.get("retries") or 3)),
        "initialDelaySeconds": int(float(str(health.get("start_period_s") or 0))),
    }


def _deployment(pod: Object, found: _Found, replicas: int) -> Object:
    name = _kube_name(found.name)
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    template = {"metadata": {"name": name, "labels": metadata["labels"]}, "spec": pod["spec"]}
    spec: Object = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": f"{name}-deployment", "labels": metadata["labels"]},
            "spec": spec}  # fmt: skip


def _service(found: _Found) -> Object:
    name = _kube_name(found.name)
    ports = [
        {
            "name": str(entry.get("container_port")),
            "port": entry.get("container_port"),
            "targetPort": entry.get("container_port"),
        }
        for entry in found.ports
    ]
    if not ports:
        raise UsageError("--service: nothing is published")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"ports": ports, "selector": {"app": name}, "type": "NodePort"},
    }
