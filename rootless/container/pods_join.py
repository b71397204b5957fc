"""A container that is made in a pod: `--pod NAME`, `--pod new:NAME`, `--pod-id-file`, `--init-ctr`.

It shares what the pod shares, through the pod's infra container, whose id it gets in the place of
the modes of its namespaces.
"""

from rootless.container.create import Place, create
from rootless.container.pods import is_running
from rootless.container.pods_create import PodRequest, create_pod, find_or_make_infra, infra_of
from rootless.container.pods_remove import remove_pod
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError, of_option
from storage.pods import PodRecord, find_pod, read_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from rootless.images import OnEvent
    from storage.containers import ContainerRecord

NEW = "new:"
ALWAYS, ONCE = "always", "once"
# What --pod new:NAME gives to the pod: the container has no network of its own.
_OF_POD = (
    "publish", "network", "network_alias", "ip", "ip6", "mac_address", "dns", "dns_search",
    "dns_option", "add_host", "no_hosts", "hostname", "userns",
)  # fmt: skip
_SHARED = "network cannot be configured when it is shared with a pod"


def check_pod_options(request: ContainerRequest) -> ContainerRequest:
    """Read --pod-id-file into `pod`, and refuse what does not go together. Raises UsageError."""
    if request.pod_id_file:
        if request.pod:
            raise UsageError("--pod and --pod-id-file do not go together", remedy="leave one out")
        request = request._replace(pod=read_id_file(request.pod_id_file), pod_id_file=None)
    if request.init_ctr is not None:
        if not request.pod:
            raise UsageError("must specify pod value with init-ctr", remedy="add --pod NAME")
        if request.init_ctr not in (ALWAYS, ONCE):
            raise UsageError("init-ctr value must be 'always' or 'once'")
    return request


def read_id_file(path: str) -> str:
    """Return the id in a file of --pod-id-file. Raises UsageError."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.readline().strip()
    except OSError as error:
        raise UsageError(f"read pod id file {path}: {error.strerror}") from error
    if not text:
        raise UsageError(f"read pod id file {path}: it is empty")
    return text


def create_in_pod(
    host: "Host", request: ContainerRequest, on_event: "OnEvent | None" = None
) -> "ContainerRecord":
    """Make a container in the pod that the request names, or in one that is made for it.

    Raises PodNotFound, UsageError and what `create` raises.
    """
    request = check_pod_options(request)
    if str(request.pod).startswith(NEW):
        return _create_with_pod(host, request, on_event)
    request, place = enter_pod(host, request)
    return create(host, request, on_event, place)


def _create_with_pod(
    host: "Host", request: ContainerRequest, on_event: "OnEvent | None" = None
) -> "ContainerRecord":
    name = str(request.pod).removeprefix(NEW)
    if not name:
        raise UsageError("new pod name must be at least one character", remedy="--pod new:NAME")
    if request.publish_all:
        raise UsageError("--publish-all and --pod new: do not go together", remedy="use -p")
    infra = _changed(ContainerRequest(), {field: getattr(request, field) for field in _OF_POD})
    pod = create_pod(host, PodRequest(name=name, infra_request=infra))
    defaults = ContainerRequest._field_defaults
    plain = {field: defaults[field] for field in _OF_POD}
    try:
        return create_in_pod(host, _changed(request, {"pod": pod.id, **plain}), on_event)
    except BaseException:
        remove_pod(host, pod.id, force=True)
        raise


def _changed(request: ContainerRequest, values: dict[str, object]) -> ContainerRequest:
    """Replace fields whose names are known when it runs."""
    return ContainerRequest._make(
        values.get(field, own) for field, own in zip(request._fields, request, strict=True)
    )


def enter_pod(host: "Host", request: ContainerRequest) -> tuple[ContainerRequest, Place]:
    """Return the request with what the pod decides, and the container's place.

    Raises PodNotFound, UsageError.
    """
    with of_option("--pod"):
        pod = find_pod(host.layout, str(request.pod))
    if request.userns not in ("", "host", host.config.userns or "host"):
        raise UsageError("--userns and --pod cannot be set together")
    if request.init_ctr is not None and is_running(host, pod):
        raise UsageError(
            "cannot add init-ctr to a running pod",
            remedy=f"stop it first: rpod pod stop {pod.name}",
        )
    find_or_make_infra(host, pod)
    return share(host, pod, request._replace(pod=pod.id)), Place(pod=pod.id)


def share(host: "Host", pod: PodRecord, request: ContainerRequest) -> ContainerRequest:
    """Replace the modes of the namespaces that the pod shares. Raises UsageError."""
    infra = infra_of(pod)
    request = _with_defaults(pod, request)
    if not pod.infra_id:
        return request
    if "network" in pod.shares:
        request = _share_network(host, pod, infra, request)
    if "uts" in pod.shares and request.hostname is not None:
        raise UsageError(
            "invalid config provided: cannot set hostname when joining the pod UTS namespace",
            remedy="set it for the pod: rpod pod create --hostname",
        )
    changed: dict[str, object] = {"userns": infra.userns}
    for kind in ("ipc", "uts", "pid"):
        if kind in pod.shares and getattr(request, kind) == "private":
            mode = getattr(infra, kind)
            changed[kind] = mode if mode == "host" else f"container:{pod.infra_id}"
    return _changed(request, changed)


def _share_network(
    host: "Host", pod: PodRecord, infra: ContainerRequest, request: ContainerRequest
) -> ContainerRequest:
    if request.publish or request.publish_all or request.expose:
        raise UsageError(
            "invalid config provided: published or exposed ports must be defined when the pod is"
            f" created: {_SHARED}",
            remedy="rpod pod create -p ..., then containers in it",
        )
    if request.ip or request.ip6 or request.mac_address or request.network_alias:
        raise UsageError(
            f"invalid config provided: networks must be defined when the pod is created: {_SHARED}"
        )
    if request.dns or request.dns_search or request.dns_option:
        raise UsageError(
            f"invalid config provided: name servers must be defined when the pod is created:"
            f" {_SHARED}",
            remedy="rpod pod create --dns ...",
        )
    configured = (host.config.network,) if host.config.network else ()
    if request.network and request.network != configured:
        return request  # asked for: none, host, or networks of its own
    network = infra.network if infra.network == ("host",) else (f"container:{pod.infra_id}",)
    return request._replace(network=network)


def _with_defaults(pod: PodRecord, request: ContainerRequest) -> ContainerRequest:
    """Add what every container of the pod gets: its volumes before the container's own."""
    changed: dict[str, object] = {}
    defaults = ContainerRequest._field_defaults
    for field, value in pod.members.items():
        own = getattr(request, field)
        if isinstance(value, tuple):
            changed[field] = (*value, *own)
        elif own == defaults[field]:
            changed[field] = value
    if pod.restart and not request.restart and not request.rm and request.init_ctr is None:
        changed["restart"] = pod.restart
    return _changed(request, changed)


def without_pod(
    host: "Host", record: "ContainerRecord", request: ContainerRequest
) -> ContainerRequest:
    """Return what a container of a pod was asked for, without what the pod has added."""
    if not record.pod:
        return request
    pod = read_pod(host.layout, record.pod)
    defaults = ContainerRequest._field_defaults
    changed: dict[str, object] = {"pod": None}
    for field in ("ipc", "uts", "pid", "network"):
        value = getattr(request, field)
        if (
            value[0] if isinstance(value, tuple) and value else value
        ) == f"container:{pod.infra_id}":
            changed[field] = defaults[field]
    for field, value in pod.members.items():
        own = getattr(request, field)
        if isinstance(value, tuple) and own[: len(value)] == value:
            changed[field] = own[len(value) :]
        elif own == value:
            changed[field] = defaults[field]
    if pod.infra_id:
        changed["userns"] = defaults["userns"]
    return _changed(request, changed)
