"""`kube play` and `kube down`: make what documents describe, and take it down again.

Everything is decided before anything is made; what fails on the way is taken back.
"""

import os

from rootless.container import pods_start
from rootless.container.pods import stop
from rootless.container.pods_create import create_pod
from rootless.container.pods_join import create_in_pod
from rootless.container.pods_remove import remove_pod
from rootless.container.remove import remove_volume_data
from rootless.container.request import ContainerRequest
from rootless.errors import LimitError, UsageError
from rootless.kube.documents import WORKLOADS, Document
from rootless.kube.sources import Sources, drop_secret, keep_secret, make_claim
from rootless.kube.translate import PlayOptions, PodPlan, plan_pod, pod_name_of
from rootless.kube.volumes import fill_volume
from storage.containers import ContainerRecord
from storage.errors import InUse, NameTaken, NotFound
from storage.pods import find_pod_id, pod_name_owner
from storage.record import NamedTuple
from storage.volumes import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host
    from rootless.images import OnEvent


class PlayedPod(NamedTuple):
    """A pod that was made, with the ids of its containers but the init containers."""

    pod_id: str
    container_ids: list[str]


class Played(NamedTuple):
    """What `play` has made."""

    volumes: list[str]
    secrets: list[str]
    pods: list[PlayedPod]


class TakenDown(NamedTuple):
    """What `down` has removed, by ids and names."""

    stopped: list[str]
    removed: list[str]
    secrets: list[str]
    volumes: list[str]


def play(
    host: "Host",
    documents: list[Document],
    options: PlayOptions,
    *,
    config_maps: "list[Document] | None" = None,
    replace: bool = False,
    start: bool = True,
    build: "Callable[[list[PodPlan]], list[PodPlan]] | None" = None,
    on_event: "OnEvent | None" = None,
) -> Played:
    """Make volumes, secrets and pods, and start the pods unless told otherwise.

    `build` gets the plans of the pods before anything is made, and returns them with the images
    that it has built.

    Raises UsageError, NameTaken, and what making and starting containers raises.
    """
    sources = Sources(host, [*documents, *(config_maps or ())])
    pods = [one for one in documents if one.kind in ("Pod", *WORKLOADS)]
    _free_names(host, [pod_name_of(one) for one in pods], replace=replace)
    played: list[PlayedPod] = []
    fresh = _Fresh(host)
    try:
        plans = [plan_pod(one, sources, options, position=at) for at, one in enumerate(pods)]
        plans = build(plans) if build is not None else plans
        claims = [one for one in documents if one.kind == "PersistentVolumeClaim"]
        volumes = [fresh.claim(one) for one in claims]
        for plan in plans:
            played.append(_make(host, plan, on_event))
        if start:
            for one in played:
                pods_start.start(host, one.pod_id)
    except BaseException:
        for one in played:
            _take_back(host, one.pod_id)
        fresh.take_back()
        sources.take_back()
        raise
    secrets = [keep_secret(host, one) for one in documents if one.kind == "Secret"]
    for note in (note for plan in plans for note in plan.notes):
        host.note(note)
    return Played(volumes, secrets, played)


class _Fresh:
    """The volumes of claims that were not there before."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._names: list[str] = []

    def claim(self, document: Document) -> str:
        """Make the volume of a claim, and return its name."""
        if not os.path.exists(self._host.layout.volume(check_name(document.name))):
            self._names.append(document.name)
        return make_claim(self._host, document)

    def take_back(self) -> None:
        """Remove them, but those that something else has begun to use."""
        for name in self._names:
            try:
                remove_volume_data(self._host, name)
            except InUse:
                continue


def _free_names(host: "Host", names: list[str], *, replace: bool) -> None:
    if len(set(names)) != len(names):
        raise UsageError("two pods of the file have the same name")
    for name in names:
        if pod_name_owner(host.layout, name) is None:
            continue
        if not replace:
            raise NameTaken(
                f'adding pod to state: name "{name}" is in use: pod already exists',
                remedy="add --replace, or take it down first: rpod kube down FILE",
            )
        remove_pod(host, name, force=True)


def _make(host: "Host", plan: PodPlan, on_event: "OnEvent | None") -> PlayedPod:
    own = tuple(name for name, _, _ in plan.volumes)
    pod = create_pod(host, plan.pod._replace(volumes=own), on_event)
    ids = []
    try:
        for name, files, mode in plan.volumes:
            fill_volume(host, name, files, mode)
        for request in plan.containers:
            record = _create(host, request._replace(pod=pod.id), on_event)
            if request.init_ctr is None:
                ids.append(record.id)
    except BaseException:
        _take_back(host, pod.id)
        raise
    return PlayedPod(pod.id, ids)


def _create(host: "Host", request: ContainerRequest, on_event: "OnEvent | None") -> ContainerRecord:
    """Make a container; what it reserves is a wish, which does not keep it from running."""
    try:
        return create_in_pod(host, request, on_event)
    except LimitError:
        if not request.memory_reservation:
            raise
    record = create_in_pod(host, request._replace(memory_reservation=""), on_event)
    host.note(f"container {record.name}: resources.requests.memory cannot be reserved here")
    return record


def _take_back(host: "Host", pod_id: str) -> None:
    try:
        remove_pod(host, pod_id, force=True, timeout_s=0)
    except NotFound:
        return


def down(host: "Host", documents: list[Document], *, force: bool = False) -> TakenDown:
    """Stop and remove the pods and secrets of documents; with `force` their volumes as well.

    What is not there is no error.
    """
    result = TakenDown([], [], [], [])
    pods = [one for one in documents if one.kind in ("Pod", *WORKLOADS)]
    ids = []
    for one in pods:
        try:
            ids.append(find_pod_id(host.layout, pod_name_of(one)))
        except NotFound:
            continue
    for pod_id in ids:
        result.stopped.append(stop(host, pod_id).id)
    for pod_id in ids:
        result.removed.append(remove_pod(host, pod_id, force=True))
    for one in documents:
        if one.kind == "Secret" and (identity := drop_secret(host, one)):
            result.secrets.append(identity)
        elif one.kind == "PersistentVolumeClaim" and force:
            remove_volume_data(host, one.name)
            result.volumes.append(one.name)
    return result
