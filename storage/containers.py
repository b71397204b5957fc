"""Containers on disk: the record of what was asked for, and of what has happened.

`container.json` is written once and replaced whole; `state.json` is written by the monitor when the
container starts and when it ends. Neither says whether it runs *now*: the kernel does (the lock in
the run root is held by the monitor for exactly as long).
"""

import errno
import fcntl
import os
import struct

from storage import lightjson as json
from storage.errors import Ambiguous, ContainerNotFound, InvalidDocument, NameTaken, from_os_error
from storage.files import Lock, read_file, write_file
from storage.layout import ContainerPaths, Layout
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# OCI runtime-spec, config.json: what those who read it rely on.
_CONFIG_TYPES: tuple[tuple[str, type], ...] = (
    ("process", dict), ("root", dict), ("linux", dict), ("annotations", dict), ("mounts", list),
)  # fmt: skip
# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"
_NAME_LIMIT = 255
_F_OFD_GETLK, _F_OFD_SETLK = 36, 37


class ContainerRecord(NamedTuple):
    """What was asked for when the container was made. Times are RFC 3339, in UTC."""

    id: str
    name: str
    created_at: str
    image_name: str
    image_id: str
    image_digest: str
    command: tuple[str, ...]
    map_key: str
    chain_ids: tuple[str, ...]
    uid_map: tuple[tuple[int, int, int], ...]
    gid_map: tuple[tuple[int, int, int], ...]
    driver: str
    network: str
    ports: tuple[dict[str, object], ...]
    mounts: tuple[dict[str, object], ...]
    labels: dict[str, str]
    annotations: dict[str, str]
    stop_signal: int
    stop_timeout_s: int
    timeout_s: int
    tty: bool
    interactive: bool
    auto_remove: bool
    init: bool
    log_driver: str
    anonymous_volumes: tuple[str, ...]
    cidfile: str
    pidfile: str
    request: dict[str, object]
    version: int = 1
    networks: tuple[dict[str, object], ...] = ()
    restart: str = ""
    health: dict[str, object] | None = None
    # Kind of namespace -> whose it is: container:ID or ns:PATH.
    joins: dict[str, str] = {}  # noqa: RUF012 - a record is never changed
    pod: str = ""
    is_infra: bool = False
    init_kind: str = ""
    # Of --log-opt: path, max_size in bytes, max_file, tag.
    log_options: dict[str, str] = {}  # noqa: RUF012 - a record is never changed
    # Chain ids of the layers of images that are mounted in it.
    image_mounts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        return self._asdict()


class ContainerState(NamedTuple):
    """What has happened to the container. `exit_code` is None until it has ended."""

    started_at: str = ""
    finished_at: str = ""
    pid: int = 0
    pid_start_time: int = 0
    monitor_pid: int = 0
    boot_id: str = ""
    exit_code: int | None = None
    error: str = ""
    ports: tuple[dict[str, object], ...] = ()
    cgroup: str = ""
    oom_killed: bool = False
    version: int = 1
    restart_count: int = 0
    stopped_by_user: bool = False


class ContainerView(NamedTuple):
    """A container as it is now; `status` is created, initialized, running, paused, stopping or
    exited."""

    record: ContainerRecord
    state: ContainerState
    status: str
    paths: ContainerPaths

    @property
    def pid(self) -> int:
        alive = ("running", "paused", "stopping", "initialized")
        return self.state.pid if self.status in alive else 0

    @property
    def exit_code(self) -> int:
        return self.state.exit_code or 0


def new_id() -> str:
    """Return 64 random hex digits."""
    return os.urandom(32).hex()


def _tuples(value: object) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(a), int(b), int(c)) for a, b, c in value)  # type: ignore[attr-defined]


def record_from_json(raw: object, where: str) -> ContainerRecord:
    """Check what a file says; unknown fields are from a newer rpod and are left out.

    Raises InvalidDocument.
    """
    if not isinstance(raw, dict):
        raise InvalidDocument(f"{where}: not an object")
    known = {key: value for key, value in raw.items() if key in ContainerRecord._fields}
    try:
        for key in ("command", "chain_ids", "ports", "mounts", "anonymous_volumes"):
            known[key] = tuple(known[key])
        for key in ("networks", "image_mounts"):
            known[key] = tuple(known.get(key, ()))
        for key in ("uid_map", "gid_map"):
            known[key] = _tuples(known[key])
        return ContainerRecord(**known)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidDocument(f"{where}: {error}") from error


def read_record(layout: Layout, container_id: str) -> ContainerRecord:
    """Raises ContainerNotFound, InvalidDocument."""
    path = layout.container(container_id).record
    try:
        raw = json.loads(read_file(path))
        return record_from_json(raw, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        # A container comes and goes with its directory, in one step.
        if os.path.isdir(os.path.dirname(path)):
            raise _damaged(path, container_id, "no such file") from error
        raise ContainerNotFound(f"no container with name or ID {container_id!r} found") from error
    except (ValueError, InvalidDocument) as error:
        raise _damaged(path, container_id, str(getattr(error, "message", error))) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error


def read_config(paths: ContainerPaths) -> "dict[str, Any]":
    """Return the bundle's config.json, of which only the outermost types are checked.

    Raises ContainerNotFound, InvalidDocument.
    """
    container_id = os.path.basename(paths.directory)
    try:
        raw = json.loads(read_file(paths.config))
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.isdir(paths.directory):
            raise _damaged(paths.config, container_id, "no such file") from error
        raise ContainerNotFound(f"no container with name or ID {container_id!r} found") from error
    except ValueError as error:
        raise _damaged(paths.config, container_id, f"not JSON ({error})") from error
    except OSError as error:
        raise from_os_error(f"read {paths.config}", error) from error
    if not isinstance(raw, dict):
        raise _damaged(paths.config, container_id, "not an object")
    for key, kind in _CONFIG_TYPES:
        if not isinstance(raw.get(key, kind()), kind):
            raise _damaged(paths.config, container_id, f"{key} is not what it should be")
    return raw


def _damaged(path: str, container_id: str, why: str) -> InvalidDocument:
    return InvalidDocument(
        f"read {path}: {why.removeprefix(f'{path}: ')}",
        remedy=f"remove the container: rpod rm --force {container_id[:12]}",
    )


def read_state(paths: ContainerPaths) -> ContainerState:
    """Return what has happened so far; an empty state when it was never started."""
    try:
        raw = json.loads(read_file(paths.state))
    except (FileNotFoundError, NotADirectoryError):
        return ContainerState()
    except ValueError:
        # Only a torn write of a container whose start did not finish can be read here.
        return ContainerState()
    if not isinstance(raw, dict):
        return ContainerState()
    known = {key: value for key, value in raw.items() if key in ContainerState._fields}
    ports = known.get("ports", [])
    known["ports"] = tuple(ports) if isinstance(ports, list) else ()
    state = ContainerState(**known)
    return state if _is_well_formed(state) else ContainerState()


def _is_well_formed(state: ContainerState) -> bool:
    for value, default in zip(state, ContainerState._field_defaults.values(), strict=True):
        kind = int if default is None else type(default)
        if not isinstance(value, kind) and not (default is None and value is None):
            return False
    return all(isinstance(entry, dict) for entry in state.ports)


def write_state(paths: ContainerPaths, state: ContainerState, *, sync: bool) -> None:
    data = json.dumps(state._asdict()).encode()
    try:
        write_file(paths.state, data, sync=sync)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not is_full or not _overwrite(paths.state, data):
            raise from_os_error(f"write {paths.state}", error) from error


def _overwrite(path: str, data: bytes) -> bool:
    """Write into the block that a file has: on a full disk no container's end is lost."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # One write, with blanks over what was longer: readers see the old text or the new.
        return os.pwrite(fd, data.ljust(os.fstat(fd).st_size), 0) >= len(data)
    except OSError:
        return False
    finally:
        os.close(fd)


def write_record(paths: ContainerPaths, record: ContainerRecord, *, sync: bool) -> None:
    try:
        write_file(paths.record, json.dumps(record.to_json()).encode(), sync=sync)
    except OSError as error:
        raise from_os_error(f"write {paths.record}", error) from error


class MonitorLock:
    """The lock that is held exactly while a container's monitor lives (an OFD write lock).

    fcntl(2) "open file description locks": unlike flock, its holder can be asked for without
    taking it, so a reader never makes a start fail.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @staticmethod
    def take(path: str) -> "MonitorLock | None":
        """Take the lock; None when a monitor has it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, _F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise
        return MonitorLock(fd)

    @staticmethod
    def is_held(path: str) -> bool:
        """Whether a monitor lives."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            query = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            answer = fcntl.fcntl(fd, _F_OFD_GETLK, query)
        finally:
            os.close(fd)
        kind: int = struct.unpack(_FLOCK, answer)[0]
        return kind != fcntl.F_UNLCK


KILLED = 137


def view(layout: Layout, record: ContainerRecord) -> ContainerView:
    """Return the container as it is at this moment, the kernel being asked."""
    paths = layout.container(record.id)
    state = read_state(paths)
    if not state.started_at:
        is_prepared = state.pid and MonitorLock.is_held(paths.lock)
        return ContainerView(record, state, "initialized" if is_prepared else "created", paths)
    if state.exit_code is None:
        if MonitorLock.is_held(paths.lock):
            status = "paused" if state.cgroup and _is_frozen(state.cgroup) else "running"
            return ContainerView(record, state, status, paths)
        state = read_state(paths)
        if state.exit_code is None:
            # Its monitor was killed or the machine went down: nothing could write the end.
            state = state._replace(exit_code=KILLED, error="the monitor was killed")
    return ContainerView(record, state, "exited", paths)


def _is_frozen(cgroup: str) -> bool:
    """Whether the freezer holds the container (cgroup v2, cgroup.freeze)."""
    try:
        return read_file(f"{cgroup}/cgroup.freeze").startswith(b"1")
    except OSError:
        return False  # the cgroup has gone with the container


def container_ids(layout: Layout) -> list[str]:
    try:
        return os.listdir(layout.containers_dir)
    except FileNotFoundError:
        return []


def iter_views(
    layout: Layout, damaged: "list[InvalidDocument] | None" = None
) -> list[ContainerView]:
    """Return all containers, the newest first; errors of those that cannot be read are added."""
    views = []
    for container_id in container_ids(layout):
        try:
            views.append(view(layout, read_record(layout, container_id)))
        except ContainerNotFound:
            continue  # removed while we were looking
        except InvalidDocument as error:
            if damaged is not None:
                damaged.append(error)
    views.sort(key=lambda v: v.record.created_at, reverse=True)
    return views


def name_owner(layout: Layout, name: str) -> str | None:
    """Return the id of the container that has the name, None when it is free."""
    if not name or "/" in name or name in (".", "..") or len(name) > _NAME_LIMIT:
        return None
    try:
        container_id = os.fsdecode(read_file(f"{layout.container_names_dir}/{name}")).strip()
    except FileNotFoundError:
        return None
    # A name outlives its container only when its holder was killed between two steps.
    return container_id if os.path.exists(layout.container(container_id).directory) else None


def take_name(
    layout: Layout, name: str, container_id: str, *, sync: bool, prepared: str = ""
) -> None:
    """Give the name to a container whose directory exists under its final name.

    `prepared` is a file with the id, safely on disk already, to be moved there. Raises NameTaken.
    """
    with Lock(layout.lock("container-names")):
        owner = name_owner(layout, name)
        if owner is not None and owner != container_id:
            raise NameTaken(
                f'the container name "{name}" is already in use by {owner}.'
                " You have to remove that container to be able to reuse that name",
                remedy="remove it, use another name, or add --replace",
            )
        path = f"{layout.container_names_dir}/{name}"
        if prepared:
            os.rename(prepared, path)
        else:
            write_file(path, container_id.encode(), sync=sync)


def rename_container(layout: Layout, container_id: str, name: str, *, sync: bool) -> None:
    """Give a container another name; whoever is killed on the way leaves it with one of the two.

    Raises NameTaken, ContainerNotFound.
    """
    old = read_record(layout, container_id).name
    if old == name:
        return
    take_name(layout, name, container_id, sync=sync)
    with Lock(layout.lock("container-names")):
        record = read_record(layout, container_id)
        write_record(layout.container(container_id), record._replace(name=name), sync=sync)
    free_name(layout, old, container_id)


def free_name(layout: Layout, name: str, container_id: str) -> None:
    """Free the name if it is still this container's."""
    path = f"{layout.container_names_dir}/{name}"
    with Lock(layout.lock("container-names")):
        try:
            if read_file(path).decode().strip() == container_id:
                os.unlink(path)
        except FileNotFoundError:
            return


def find_container(layout: Layout, text: str) -> ContainerView:
    """Find by name, id or unambiguous id prefix; a full name beats a prefix.

    Raises ContainerNotFound, Ambiguous, InvalidDocument.
    """
    return view(layout, read_record(layout, find_id(layout, text)))


def find_id(layout: Layout, text: str) -> str:
    """Return the id for a name, an id or the unambiguous beginning of one.

    Raises ContainerNotFound, Ambiguous.
    """
    owner = name_owner(layout, text)
    if owner is None and text:
        matches = [i for i in container_ids(layout) if i.startswith(text)]
        if len(matches) > 1 and text not in matches:
            names = ", ".join(sorted(i[:12] for i in matches)[:5])
            raise Ambiguous(
                f'more than one result for container name or ID "{text}": {names}',
                remedy="give more characters of the ID",
            )
        owner = text if text in matches else (matches[0] if matches else None)
    if owner is None:
        raise ContainerNotFound(f'no container with name or ID "{text}" found: no such container')
    return owner
