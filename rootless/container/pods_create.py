"""`pod create`: the record of a pod, then its infra container.

The record appears first, in one step, and names the infra container that it is about to have: what
a killed command leaves is a pod whose infra container is made by its first start.
"""

import os
import time

from rootless.container.create import Place, create_from, working_directory
from rootless.container.logfile import timestamp
from rootless.container.mounts import collect
from rootless.container.names import check_name, make_name
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from storage import event_log
from storage.containers import new_id
from storage.errors import NameTaken
from storage.image_record import ImageRecord
from storage.oci.config import ImageConfig
from storage.pods import (
    PodRecord,
    pod_lock,
    pod_name_owner,
    read_pod,
    remove_pod_record,
    write_pod,
)
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host
    from rootless.images import OnEvent
    from storage.containers import ContainerRecord

# podman's words for the kinds of namespaces, and those of config.json. A container's cgroup is
# always one of its own.
_KINDS = {"ipc": "ipc", "net": "network", "pid": "pid", "uts": "uts", "cgroup": ""}
_DEFAULT_SHARE = "ipc,net,uts"
EXIT_POLICIES = ("continue", "stop")
PAUSE_IMAGE = "localhost/rpod-pause"
SHORT_ID = 12


class PodRequest(NamedTuple):
    """Everything that `pod create` accepts.

    `infra_request` has the options of the network and what else is the infra container's;
    `members` are fields that every container gets, `volumes` are removed with the pod.
    `replace` removes a pod of the same name.
    """

    name: str = ""
    share: str | None = None
    infra: bool = True
    infra_image: str = ""
    infra_command: str = ""
    infra_name: str = ""
    exit_policy: str = "continue"
    restart: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed
    annotations: dict[str, str] = {}  # noqa: RUF012 - never changed
    replace: "Callable[[str], object] | None" = None
    infra_request: ContainerRequest = ContainerRequest()
    members: dict[str, object] = {}  # noqa: RUF012 - never changed
    create_command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def create_pod(host: "Host", request: PodRequest, on_event: "OnEvent | None" = None) -> PodRecord:
    """Make a pod and its infra container, and return its record.

    Raises UsageError, NameTaken, and what making a container raises.
    """
    record = _record(host, request)
    if request.replace is not None and pod_name_owner(host.layout, record.name) is not None:
        request.replace(record.name)
    write_pod(host.layout, record)
    try:
        find_or_make_infra(host, record, on_event)
    except BaseException:
        with pod_lock(host.layout, record.id):
            remove_pod_record(host.layout, record.id, record.name)
        raise
    event_log.pod_event(host.layout.run_root, "create", record)
    return record


def _record(host: "Host", request: PodRequest) -> PodRecord:
    name = _choose_name(host, request)
    shares = parse_share(request)
    if request.exit_policy not in EXIT_POLICIES:
        raise UsageError(
            f'invalid pod exit policy: "{request.exit_policy}"', remedy="use continue or stop"
        )
    if request.restart:
        from rootless.container.restart import parse_policy

        parse_policy(request.restart)
    if volumes := request.members.get("volume"):
        request = request._replace(members={**request.members, "volume": _absolute(volumes)})
    pod_id = new_id()
    infra = _infra_request(request, name, pod_id) if request.infra else ContainerRequest()
    return PodRecord(
        id=pod_id,
        name=name,
        created_at=timestamp(time.time_ns()),
        infra_id=new_id() if request.infra else "",
        shares=shares,
        exit_policy=request.exit_policy,
        restart=request.restart,
        hostname=request.hostname,
        labels=request.labels,
        annotations=request.annotations,
        infra=_not_default(infra),
        members=request.members,
        create_command=request.create_command,
        volumes=request.volumes,
    )


def _absolute(volumes: object) -> tuple[str, ...]:
    """Check what every container is to mount; a source beginning with a dot begins here."""
    assert isinstance(volumes, tuple)
    texts = []
    for text in volumes:
        source, colon, rest = str(text).partition(":")
        if source.startswith("."):
            source = os.path.normpath(f"{working_directory()}/{source}")
        texts.append(source + colon + rest)
    collect(ContainerRequest(volume=tuple(texts)), (), working_directory(), [])
    return tuple(texts)


def _choose_name(host: "Host", request: PodRequest) -> str:
    name = request.name
    if not name:
        while pod_name_owner(host.layout, name := make_name()) is not None:
            pass
        return name
    check_name(name)
    if request.replace is None and pod_name_owner(host.layout, name) is not None:
        raise NameTaken(
            f'adding pod to state: name "{name}" is in use: pod already exists',
            remedy=f"use another name, or remove it: rpod pod rm {name}",
        )
    return name


def parse_share(request: PodRequest) -> tuple[str, ...]:
    """Return the kinds of namespaces that the pod shares. Raises UsageError."""
    text = request.share
    words = [] if text in ("", "none") else (text or _DEFAULT_SHARE).split(",")
    for word in words:
        if word not in _KINDS:
            raise UsageError(
                f"invalid kernel namespace to share: {word}. Options are: cgroup, ipc, net, pid,"
                " uts or none"
            )
    if request.infra_request.publish and "none" in request.infra_request.network:
        raise UsageError(
            "publish ports: a pod with --network=none has no network", remedy="leave -p out"
        )
    if request.infra:
        return tuple(dict.fromkeys(_KINDS[word] for word in words if _KINDS[word]))
    if text not in (None, "", "none"):
        raise UsageError(
            f"cannot set share({text}) namespaces without an infra container",
            remedy="leave --share or --infra=false out",
        )
    if request.infra_request.publish:
        raise UsageError("you must have an infra container to publish port bindings to the host")
    for option, given in (
        ("--infra-image", request.infra_image),
        ("--infra-command", request.infra_command),
        ("--infra-name", request.infra_name),
        ("--network", request.infra_request.network),
        ("--hostname", request.hostname),
    ):
        if given:
            raise UsageError(f"{option} and --infra=false do not go together")
    return ()


def _infra_request(request: PodRequest, name: str, pod_id: str) -> ContainerRequest:
    import shlex

    infra = request.infra_request
    command: tuple[str, ...] = ("/pause",)
    if request.infra_command:
        if not request.infra_image:
            raise UsageError(
                "--infra-command needs --infra-image: the infra container has no other program"
            )
        command = tuple(shlex.split(request.infra_command))
    elif request.infra_image:
        command = ()
    if "uts" in parse_share(request) and infra.uts != "host":
        infra = infra._replace(hostname=request.hostname or name)
    return infra._replace(
        image=request.infra_image,
        command=command,
        name=check_name(request.infra_name) if request.infra_name else f"{pod_id[:SHORT_ID]}-infra",
        cap_drop=("ALL",),
        security_opt=("no-new-privileges",),
        read_only=True,
        read_only_tmpfs=False,
        log_driver="none",
        stop_timeout=10,
    )


def _not_default(request: ContainerRequest) -> dict[str, object]:
    defaults = ContainerRequest._field_defaults
    return {field: value for field, value in request._asdict().items() if value != defaults[field]}


def infra_of(pod: PodRecord) -> ContainerRequest:
    """Return the request of the infra container that a pod's record describes."""
    defaults = ContainerRequest._field_defaults.items()
    return ContainerRequest._make(pod.infra.get(field, value) for field, value in defaults)


def make_infra(
    host: "Host", pod: PodRecord, on_event: "OnEvent | None" = None
) -> "ContainerRecord":
    """Make the infra container that a pod's record describes. Raises what `create` does."""
    request = infra_of(pod)
    place = Place(pod.infra_id, pod.id, is_infra=True)
    if request.image:
        from rootless import images
        from rootless.container.fetching import pull_settings

        image = images.obtain(host, request.image, pull_settings(request), on_event)
        return create_from(host, request, (image, images.config_of(host, image)), place, on_event)
    return create_from(host, request, (_no_image(), _no_config()), place)


def _no_image() -> ImageRecord:
    """Stand for the image that an infra container does not need."""
    return ImageRecord(
        image_id="",
        manifest_digest="",
        config_digest="",
        media_type="",
        diff_ids=(),
        chain_ids=(),
        layer_digests=(),
        layer_media_types=(),
        size_bytes=0,
        created="",
        architecture="",
        os="linux",
        variant="",
        labels={},
        added_at="",
        view_digest="",
        names=(PAUSE_IMAGE,),
    )


def _no_config() -> ImageConfig:
    return ImageConfig.from_json({"architecture": os.uname().machine, "os": "linux"}, "infra")


def find_or_make_infra(host: "Host", pod: PodRecord, on_event: "OnEvent | None" = None) -> None:
    """Make the infra container of a new pod, or of one whose `create` was killed.

    Raises what `create` does.
    """
    if pod.infra_id and not os.path.exists(host.layout.container(pod.infra_id).record):
        with pod_lock(host.layout, pod.id):
            if not os.path.exists(host.layout.container(pod.infra_id).record):
                make_infra(host, read_pod(host.layout, pod.id), on_event)
