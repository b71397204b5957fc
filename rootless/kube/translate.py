"""From a pod of Kubernetes to the requests for a pod of ours and its containers."""

import os

from rootless.container.pods_create import PodRequest
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from rootless.kube.documents import Document, Fields
from rootless.kube.probes import probe_options
from rootless.kube.sources import Sources
from rootless.kube.variables import PodFacts, expand, make_variables
from rootless.kube.volumes import DEVICE, MEMORY, SECRET, PodVolume, plan_volumes
from storage.record import NamedTuple

_RESTART = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}
_PULL = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
_NOT_HERE = ("readinessProbe", "lifecycle")
_MILLI = 1000


class PlayOptions(NamedTuple):
    """What the command line of `kube play` says."""

    networks: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    userns: str = "host"
    no_hosts: bool = False
    log_driver: str = "k8s-file"
    log_opt: tuple[str, ...] = ()
    annotations: dict[str, str] = {}  # noqa: RUF012 - never changed
    fetching: dict[str, object] = {}  # noqa: RUF012 - never changed
    limits: str = "strict"
    seccomp_root: str = ""


class PodPlan(NamedTuple):
    """A pod to make; `volumes` are those of its own: name, files, mode. `notes` are for people."""

    pod: PodRequest
    containers: list[ContainerRequest]
    volumes: list[tuple[str, dict[str, bytes], int]]
    notes: list[str]


def pod_name_of(document: Document) -> str:
    """Return the name that the pod of a document has here."""
    return document.name if document.kind == "Pod" else f"{document.name}-pod"


def plan_pod(
    document: Document, sources: Sources, options: PlayOptions, *, position: int = 0
) -> PodPlan:
    """Decide everything about a Pod, or the pod of a Deployment, DaemonSet or Job.

    `position` says the how-many-th pod of the file it is. Raises UsageError, MountSourceMissing.
    """
    notes: list[str] = []
    top: Fields = document
    if document.kind != "Pod":
        replicas = document.part("spec").number("replicas")
        if replicas is not None and replicas > 1:
            notes.append(f"{document.where}: one pod instead of {replicas}: this is one host")
        top = document.part("spec").part("template")
    spec, metadata = top.part("spec"), top.part("metadata")
    name = pod_name_of(document)
    labels = metadata.pairs("labels")
    annotations = {**metadata.pairs("annotations"), **options.annotations}
    facts = PodFacts(name, labels, annotations, _address(spec, options, position))
    containers = spec.parts("containers")
    if not containers:
        raise UsageError(f"{document.where}: it has no containers")
    default = "Never" if document.kind == "Job" else "Always"
    restart = _choice(spec, "restartPolicy", _RESTART, default)
    volumes, own = plan_volumes(spec, name, sources)
    shared = _SharedParts(spec, facts, volumes, restart, options)
    requests = [shared.request(one, sources, init=True) for one in spec.parts("initContainers")]
    requests += [shared.request(one, sources, init=False) for one in containers]
    names = [request.name for request in requests]
    if len(set(names)) != len(names):
        raise UsageError(f"{document.where}: two containers have the same name")
    for one in containers:
        notes += [f"{one.where}.{key} has no effect" for key in _NOT_HERE if key in one]
    pod = PodRequest(
        name=name,
        share="ipc,net,uts,pid" if spec.flag("shareProcessNamespace") else None,
        exit_policy="stop",
        hostname=spec.text("hostname"),
        labels=labels,
        annotations=annotations,
        infra_request=_infra(spec, containers, options, position),
        create_command=(),
    )
    return PodPlan(pod, requests, own, notes)


def _address(spec: Fields, options: PlayOptions, position: int) -> str:
    """Return the address that a pod will have, "" where only its start will tell."""
    if spec.flag("hostNetwork"):
        return ""
    if position < len(options.ips):
        return options.ips[position]
    from slirp.settings import parse_network

    mode = options.networks[0] if options.networks else "slirp4netns"
    if mode.partition(":")[0] not in ("private", "slirp4netns"):
        return ""
    settings = parse_network(mode.replace("private", "slirp4netns", 1))
    return settings.slirp.address


def _choice(fields: Fields, key: str, known: dict[str, str], default: str) -> str:
    value = fields.text(key) or default
    if value and value not in known:
        raise UsageError(
            f"{fields.where}.{key}: {value} is not known", remedy="use " + ", ".join(known)
        )
    return known.get(value, "")


def _infra(
    spec: Fields, containers: list[Fields], options: PlayOptions, position: int
) -> ContainerRequest:
    dns = spec.part("dnsConfig")
    hosts = [
        f"{host}:{alias.needed('ip')}"
        for alias in spec.parts("hostAliases")
        for host in alias.texts("hostnames")
    ]
    sysctls = [
        f"{entry.needed('name')}={entry.text('value')}"
        for entry in spec.part("securityContext").parts("sysctls")
    ]
    is_host = bool(spec.flag("hostNetwork"))
    ports = [] if is_host else _ports(containers, options)
    return ContainerRequest(
        network=("host",) if is_host else options.networks,
        ip=options.ips[position] if position < len(options.ips) else None,
        mac_address=options.macs[position] if position < len(options.macs) else None,
        publish=(*ports, *options.publish),
        userns=options.userns,
        no_hosts=options.no_hosts,
        dns=tuple(dns.texts("nameservers")),
        dns_search=tuple(dns.texts("searches")),
        dns_option=tuple(
            f"{entry.needed('name')}:{entry.text('value')}".rstrip(":")
            for entry in dns.parts("options")
        ),
        add_host=tuple(hosts),
        sysctl=tuple(sysctls),
        pid="host" if spec.flag("hostPID") else "private",
        ipc="host" if spec.flag("hostIPC") else "private",
    )


def _ports(containers: list[Fields], options: PlayOptions) -> list[str]:
    found = []
    for container in containers:
        for port in container.parts("ports"):
            inside, outside = port.number("containerPort"), port.number("hostPort")
            if inside is None:
                raise UsageError(f"{port.where}.containerPort is missing")
            for key, number in (("containerPort", inside), ("hostPort", outside)):
                if number is not None and not 0 < number < 65536:
                    raise UsageError(f"{port.where}.{key}: {number} is no port")
            if outside is None and not options.publish_all:
                continue
            protocol = (port.text("protocol") or "tcp").lower()
            address = port.text("hostIP")
            address = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
            found.append(f"{address}{outside or inside}:{inside}/{protocol}")
    return found


class _SharedParts:
    """What all containers of a pod have from it."""

    def __init__(
        self,
        spec: Fields,
        facts: PodFacts,
        volumes: dict[str, PodVolume],
        restart: str,
        options: PlayOptions,
    ) -> None:
        self._spec = spec
        self._facts = facts
        self._volumes = volumes
        self._restart = restart
        self._options = options

    def request(self, container: Fields, sources: Sources, *, init: bool) -> ContainerRequest:
        """Return the request of one container. Raises UsageError."""
        name, image = container.needed("name"), container.needed("image")
        container = Fields(container.raw, f"{container.where} ({name})")
        plain, secret = make_variables(container, self._facts, sources)
        command = [expand(word, plain) for word in container.texts("command")]
        arguments = [expand(word, plain) for word in container.texts("args")]
        values: dict[str, object] = {
            "image": image,
            "name": f"{self._facts.name}-{name}",
            "env": tuple(f"{key}={value}" for key, value in plain.items()),
            "secret": tuple(f"{s},type=env,target={key}" for key, s in secret.items()),
            "label": tuple(f"{key}={value}" for key, value in self._facts.labels.items()),
            "annotation": tuple(f"{k}={v}" for k, v in self._facts.annotations.items()),
            "command": tuple(arguments),
            "workdir": container.text("workingDir") or None,
            "tty": bool(container.flag("tty")),
            "interactive": bool(container.flag("stdin")),
            "log_driver": self._options.log_driver,
            "restart": "" if init else self._restart,
            "limits": self._options.limits,
            "pull": self._pull(container, image),
            **self._options.fetching,
        }
        if self._options.log_opt:
            values["log_opt"] = self._options.log_opt
        if command:
            import json

            values["entrypoint"] = json.dumps(command)
        if init:
            values["init_ctr"] = "once"
        grace_s = self._spec.number("terminationGracePeriodSeconds")
        if grace_s is not None:
            values["stop_timeout"] = grace_s
        if not init:
            values |= probe_options(container, self._restart)
        values |= _resources(container.part("resources"))
        security = self._spec.part("securityContext")
        _add(values, _security(security, container, self._options.seccomp_root))
        _add(values, self._mounts(container))
        defaults = ContainerRequest._field_defaults.items()
        return ContainerRequest._make(values.get(field, value) for field, value in defaults)

    def _pull(self, container: Fields, image: str) -> str:
        policy = _choice(container, "imagePullPolicy", _PULL, "")
        if policy:
            return policy
        tag = image.rpartition("/")[2].partition(":")[2]
        is_latest = tag in ("", "latest") and "@" not in image
        return "newer" if is_latest and not image.startswith("localhost/") else "missing"

    def _mounts(self, container: Fields) -> dict[str, object]:
        binds: list[str] = []
        tmpfs: list[str] = []
        secrets: list[str] = []
        devices: list[str] = []
        for mount in container.parts("volumeMounts"):
            name, target = mount.needed("name"), mount.needed("mountPath")
            volume = self._volumes.get(name)
            if volume is None:
                raise UsageError(f"{mount.where}: the pod has no volume {name}")
            if not target.startswith("/") or ":" in target or "," in target:
                raise UsageError(f"{mount.where}.mountPath: {target!r} is no absolute path")
            part = mount.text("subPath")
            if part.startswith("/") or ".." in part.split("/"):
                raise UsageError(f"{mount.where}.subPath: {part!r} leads out of the volume")
            read_only = "ro" if mount.flag("readOnly") or volume.read_only else "rw"
            if volume.kind == MEMORY:
                tmpfs.append(target)
            elif volume.kind == DEVICE:
                devices.append(f"{volume.source}:{target}")
            elif volume.kind == SECRET:
                secrets += [
                    f"{key},target={target}/{path},mode={volume.mode:o}"
                    for key, path in volume.keys.items()
                ]
            elif part and not volume.source.startswith("/"):
                text = f"type=volume,source={volume.source},target={target},subpath={part}"
                raise UsageError(f"{mount.where}.subPath of {text}: only in a hostPath")
            else:
                source = f"{volume.source}/{part}" if part else volume.source
                if ":" in source:
                    raise UsageError(f"{mount.where}: a path with a colon cannot be mounted")
                binds.append(f"{source}:{target}:{read_only}")
        return {
            "volume": tuple(binds),
            "tmpfs": tuple(tmpfs),
            "secret": tuple(secrets),
            "device": tuple(devices),
        }


def _add(values: dict[str, object], more: dict[str, object]) -> None:
    """Add options; lists go together."""
    for key, value in more.items():
        before = values.get(key)
        both = isinstance(before, tuple) and isinstance(value, tuple)
        values[key] = (*before, *value) if both else value  # type: ignore[misc]  # both are


def _resources(resources: Fields) -> dict[str, object]:
    limits, requests = resources.part("limits"), resources.part("requests")
    found: dict[str, object] = {}
    if memory := limits.quantity("memory"):
        found["memory"] = str(_amount(memory, f"{limits.where}.memory"))
    if cpu := limits.quantity("cpu"):
        found["cpus"] = f"{_cpus(cpu, f'{limits.where}.cpu'):g}"
    if memory := requests.quantity("memory"):
        found["memory_reservation"] = str(_amount(memory, f"{requests.where}.memory"))
    return found


_UNITS = {
    "": 1, "m": 1 / _MILLI, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
}  # fmt: skip


def _amount(text: str, where: str) -> int:
    return int(_number(text, where))


def _number(text: str, where: str) -> float:
    digits = text.rstrip("KMGTPkmi")
    try:
        return float(digits) * _UNITS[text[len(digits) :]]
    except (ValueError, KeyError) as error:
        raise UsageError(f"{where}: {text!r} is no amount", remedy="as 500m, 2, 100Mi") from error


def _cpus(text: str, where: str) -> float:
    return _number(text, where)


def _security(pod: Fields, container: Fields, seccomp_root: str) -> dict[str, object]:
    own = container.part("securityContext")
    options: list[str] = []
    found: dict[str, object] = {}
    user = _first(own.number("runAsUser"), pod.number("runAsUser"))
    group = _first(own.number("runAsGroup"), pod.number("runAsGroup"))
    if user is not None or group is not None:
        found["user"] = f"{user or 0}" + (f":{group}" if group is not None else "")
    if _first(own.flag("runAsNonRoot"), pod.flag("runAsNonRoot")) and user == 0:
        raise UsageError(f"{own.where}: runAsNonRoot, and runAsUser is 0")
    groups = pod.numbers("supplementalGroups")
    if (fs_group := pod.number("fsGroup")) is not None:
        groups.append(fs_group)
    if groups:
        found["group_add"] = tuple(str(number) for number in groups)
    if own.flag("privileged"):
        found["privileged"] = True
    if own.flag("readOnlyRootFilesystem"):
        found["read_only"] = True
    if own.flag("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges")
    if own.text("procMount") == "Unmasked":
        options.append("unmask=ALL")
    profile = own.part("seccompProfile") if "seccompProfile" in own else pod.part("seccompProfile")
    if profile.text("type") == "Unconfined":
        options.append("seccomp=unconfined")
    elif profile.text("type") == "Localhost":
        path = os.path.join(seccomp_root, profile.needed("localhostProfile"))
        options.append(f"seccomp={path}")
    capabilities = own.part("capabilities")
    found["cap_add"] = tuple(capabilities.texts("add"))
    found["cap_drop"] = tuple(capabilities.texts("drop"))
    found["security_opt"] = tuple(options)
    return found


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
