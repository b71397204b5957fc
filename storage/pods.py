"""Pods on disk: what was asked for, the name, and which containers are members.

Nothing says how a pod is doing: that follows from its containers. A member's file is made before
its container appears and goes with it, so it counts only while there is such a container.
"""

import os

from storage import lightjson as json
from storage.containers import ContainerView, new_id, read_record, view
from storage.errors import (
    Ambiguous,
    ContainerNotFound,
    InvalidDocument,
    NameTaken,
    PodNotFound,
    from_os_error,
)
from storage.files import Lock, read_file, write_file
from storage.layout import Layout
from storage.record import NamedTuple
from storage.scratch import Departure, Scratch

_NAME_LIMIT = 255


class PodRecord(NamedTuple):
    """What was asked for when the pod was made. Times are RFC 3339, in UTC.

    `infra_id` is chosen with the pod and "" without an infra container, which `infra` describes:
    the fields of a container's request that are not the default. `members` are fields that every
    container of the pod gets, too. `shares` are kinds of namespaces.
    """

    id: str
    name: str
    created_at: str
    infra_id: str = ""
    shares: tuple[str, ...] = ()
    exit_policy: str = "continue"
    restart: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed
    infra: dict[str, object] = {}  # noqa: RUF012 - never changed
    members: dict[str, object] = {}  # noqa: RUF012 - never changed
    create_command: tuple[str, ...] = ()
    annotations: dict[str, str] = {}  # noqa: RUF012 - never changed
    version: int = 1
    # Volumes that go with the pod.
    volumes: tuple[str, ...] = ()


def new_pod_id() -> str:
    """Return 64 random hex digits."""
    return new_id()


def write_pod(layout: Layout, record: PodRecord) -> None:
    """Let a new pod appear and give it its name. Raises NameTaken, StoreUnusable."""
    try:
        for directory in (layout.pods_dir, layout.pod_names_dir):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        with Scratch(layout, "pod") as scratch:
            path = f"{scratch.path}/pod"
            os.makedirs(f"{path}/members", mode=0o700)
            write_file(f"{path}/pod.json", json.dumps(record._asdict()).encode())
            with Lock(layout.lock("pod-names")):
                owner = pod_name_owner(layout, record.name)
                if owner is not None:
                    raise NameTaken(
                        f'adding pod to state: name "{record.name}" is in use: pod already exists',
                        remedy=f"use another name, or remove it: rpod pod rm {record.name}",
                    )
                os.rename(path, layout.pod(record.id))
                write_file(f"{layout.pod_names_dir}/{record.name}", record.id.encode())
    except OSError as error:
        raise from_os_error(f"make pod {record.name}", error) from error


def pod_lock(layout: Layout, pod_id: str, *, shared: bool = False) -> Lock:
    """Return the lock of a pod: shared while a container joins it, exclusive while it goes."""
    return Lock(f"{layout.pod(pod_id)}/lock", shared=shared)


def pod_name_owner(layout: Layout, name: str) -> str | None:
    """Return the id of the pod that has the name, None when it is free."""
    if not name or "/" in name or name in (".", "..") or len(name) > _NAME_LIMIT:
        return None
    try:
        pod_id = os.fsdecode(read_file(f"{layout.pod_names_dir}/{name}")).strip()
    except FileNotFoundError:
        return None
    # A name outlives its pod only when its remover was killed between two steps.
    return pod_id if os.path.exists(f"{layout.pod(pod_id)}/pod.json") else None


def pod_ids(layout: Layout) -> list[str]:
    try:
        return os.listdir(layout.pods_dir)
    except FileNotFoundError:
        return []


def read_pod(layout: Layout, pod_id: str) -> PodRecord:
    """Raises PodNotFound, InvalidDocument."""
    path = f"{layout.pod(pod_id)}/pod.json"
    try:
        raw = json.loads(read_file(path))
        return _from_json(raw, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(pod_id) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    except ValueError as error:
        raise _damaged(path, pod_id, str(error)) from error


def _from_json(raw: object, where: str) -> PodRecord:
    if not isinstance(raw, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a wrong document, not a wrong call
    known = {key: value for key, value in raw.items() if key in PodRecord._fields}
    try:
        for key in ("shares", "create_command", "volumes"):
            known[key] = tuple(known.get(key, ()))
        for key in ("infra", "members"):
            known[key] = {k: tuple(v) if isinstance(v, list) else v for k, v in known[key].items()}
        return PodRecord(**known)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _damaged(path: str, pod_id: str, why: str) -> InvalidDocument:
    return InvalidDocument(
        f"read {path}: {why}", remedy=f"remove the pod: rpod pod rm --force {pod_id[:12]}"
    )


def _not_found(text: str) -> PodNotFound:
    return PodNotFound(
        f"no pod with name or ID {text} found: no such pod", remedy="`rpod pod ps` lists the pods"
    )


def find_pod_id(layout: Layout, text: str) -> str:
    """Return the id for a name, an id or the unambiguous beginning of one.

    Raises PodNotFound, Ambiguous.
    """
    owner = pod_name_owner(layout, text)
    if owner is not None:
        return owner
    matches = [pod_id for pod_id in pod_ids(layout) if text and pod_id.startswith(text)]
    if len(matches) > 1 and text not in matches:
        raise Ambiguous(
            f'more than one result for pod name or ID "{text}": pod already exists',
            remedy="give more characters of the ID",
        )
    if not matches:
        raise _not_found(text)
    return text if text in matches else matches[0]


def find_pod(layout: Layout, text: str) -> PodRecord:
    """Find by name, id or unambiguous id prefix. Raises PodNotFound, Ambiguous, InvalidDocument."""
    return read_pod(layout, find_pod_id(layout, text))


def list_pods(layout: Layout, damaged: "list[InvalidDocument] | None" = None) -> list[PodRecord]:
    """Return all pods, the newest first; errors of those that cannot be read are added."""
    found = []
    for pod_id in pod_ids(layout):
        try:
            found.append(read_pod(layout, pod_id))
        except PodNotFound:
            continue  # removed while we were looking
        except InvalidDocument as error:
            if damaged is not None:
                damaged.append(error)
    found.sort(key=lambda record: record.created_at, reverse=True)
    return found


# --- members


def add_member(layout: Layout, pod_id: str, container_id: str) -> None:
    """Note a container that is about to appear; the caller holds the pod's lock.

    Raises PodNotFound when the pod has been removed.
    """
    path = layout.pod_member(pod_id, container_id)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileNotFoundError as error:
        raise _not_found(pod_id) from error
    except OSError as error:
        raise from_os_error(f"add a container to pod {pod_id[:12]}", error) from error


def drop_member(layout: Layout, pod_id: str, container_id: str) -> None:
    """Forget a container that is gone."""
    try:
        os.unlink(layout.pod_member(pod_id, container_id))
    except (FileNotFoundError, NotADirectoryError):
        return


def member_ids(layout: Layout, pod_id: str) -> list[str]:
    """Return the ids of the containers that are there."""
    try:
        names = os.listdir(f"{layout.pod(pod_id)}/members")
    except FileNotFoundError:
        return []
    return [name for name in names if os.path.exists(layout.container(name).directory)]


def member_views(layout: Layout, pod_id: str) -> list[ContainerView]:
    """Return the containers of a pod in the order in which they were made."""
    views = []
    for container_id in member_ids(layout, pod_id):
        try:
            views.append(view(layout, read_record(layout, container_id)))
        except (ContainerNotFound, InvalidDocument):
            continue  # removed meanwhile; a damaged one is told about by `ps`
    views.sort(key=lambda found: found.record.created_at)
    return views


def remove_pod_record(layout: Layout, pod_id: str, name: str) -> None:
    """Let a pod without containers disappear, in one step; the caller holds its lock."""
    try:
        with Departure(layout) as gone, Lock(layout.lock("pod-names")):
            if name and pod_name_owner(layout, name) == pod_id:
                os.unlink(f"{layout.pod_names_dir}/{name}")
            os.rename(layout.pod(pod_id), gone.place("pod"))
    except FileNotFoundError:
        return  # somebody else was first
    except OSError as error:
        raise from_os_error(f"remove pod {pod_id[:12]}", error) from error
