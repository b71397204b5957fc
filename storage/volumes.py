"""Volumes: named directories that outlive containers.

A volume is built aside and appears under its name by one rename, so two commands that want the
same new volume both get the one that came first. `volumes/<name>/volume.json` is its record,
`_data` what containers see. Files in `_data` may belong to any id of a user namespace: removing
them is the caller's to do inside one, through `remove_tree`.

The lock `volumes` is taken exclusively to remove, and shared by a command that makes a container,
from `ensure_volume` until the container's record is in its place: a volume in use never goes.
"""

import errno
import os
import time

from storage import event_log
from storage import lightjson as json
from storage.errors import (
    Ambiguous,
    InUse,
    InvalidDocument,
    NameTaken,
    StorageError,
    VolumeNotFound,
    from_os_error,
)
from storage.files import Lock, read_file, write_file
from storage.layout import Layout
from storage.record import NamedTuple
from storage.scratch import Departure, Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_VERSION = 1
_RECORD = "volume.json"
_DATA = "_data"
_ASIDE_AGE_S = 24 * 3600.0
# Room for the suffix of a temporary name within NAME_MAX.
_MAX_NAME = 200
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALPHANUMERIC | frozenset("_.-")
# rename(2) onto a directory that has something in it.
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


class VolumeRecord(NamedTuple):
    """A volume as it was made; `options` are those of `volume create --opt`."""

    name: str
    created_at: str
    labels: dict[str, str]
    options: dict[str, str]
    anonymous: bool

    def to_json(self) -> dict[str, object]:
        return {"version": RECORD_VERSION, **self._asdict()}

    @classmethod
    def from_json(cls, raw: object, where: str) -> "VolumeRecord":
        """Check a record; unknown fields are from a newer rpod. Raises InvalidDocument."""
        if not isinstance(raw, dict):
            raise InvalidDocument(f"{where}: expected an object")
        name, created_at = raw.get("name"), raw.get("created_at")
        if not isinstance(name, str) or not isinstance(created_at, str):
            raise InvalidDocument(f"{where}: name and created_at must be text")
        return cls(
            name,
            created_at,
            _texts(raw.get("labels"), f"{where}.labels"),
            _texts(raw.get("options"), f"{where}.options"),
            raw.get("anonymous") is True,
        )

    @property
    def bound_directory(self) -> str:
        """The directory of the host that the volume stands for, "" when it has its own."""
        return "" if self.is_tmpfs else self.options.get("device", "")

    @property
    def is_tmpfs(self) -> bool:
        """Whether containers get memory for it, empty at each start."""
        return self.options.get("type") == "tmpfs"

    @property
    def mount_options(self) -> list[str]:
        """What its mounts are made with, besides what the user of the volume asks for."""
        return [word for word in self.options.get("o", "").split(",") if word]


def check_name(name: str) -> str:
    """Return the name of a volume when it is one.

    Raises StorageError.
    """
    well_formed = name[:1] in _ALPHANUMERIC and _NAME.issuperset(name)
    if not name or not well_formed or len(name) > _MAX_NAME:
        raise StorageError(
            f'"{name[:_MAX_NAME]}" is not a name for a volume',
            remedy=f"use up to {_MAX_NAME} letters, digits, _ . and -, a letter or digit first",
        )
    return name


def new_name() -> str:
    """Return the name of an anonymous volume: 64 random hex digits."""
    return os.urandom(32).hex()


def create_volume(
    layout: Layout,
    name: str = "",
    *,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    exist_ok: bool = False,
) -> VolumeRecord:
    """Make a volume; without a name it is anonymous and gets 64 hex digits for one.

    Options are those of the local driver that a user may have: `type=none`, `o=bind` and
    `device=DIRECTORY` together make the volume stand for a directory of the host, `type=tmpfs` for
    memory of each container that mounts it.

    Raises NameTaken unless `exist_ok`; StorageError, StoreUnusable.
    """
    record = VolumeRecord(
        check_name(name) if name else new_name(),
        _now(time.time_ns()),
        dict(labels or {}),
        _check_options(dict(options or {})),
        anonymous=not name,
    )
    if not _publish(layout, record):
        if not exist_ok:
            raise NameTaken(
                f"volume with name {name} already exists: volume already exists",
                remedy=f"use it as it is, or remove it first: rpod volume rm {name}",
            )
        return read_volume(layout, record.name)
    return record


def ensure_volume(layout: Layout, name: str, *, anonymous: bool = False) -> str:
    """Return the directory that containers see of a volume, which is made when it is not there.

    Raises StorageError, StoreUnusable.
    """
    return mountpoint(layout, ensure_record(layout, name, anonymous=anonymous))


def ensure_record(layout: Layout, name: str, *, anonymous: bool = False) -> VolumeRecord:
    """Return the record of a volume, which is made when it is not there.

    Raises StorageError, StoreUnusable.
    """
    try:
        record = read_volume(layout, check_name(name))
    except VolumeNotFound:
        record = VolumeRecord(name, _now(time.time_ns()), {}, {}, anonymous)
        if not _publish(layout, record):
            record = read_volume(layout, name)
    return record


def read_volume(layout: Layout, name: str) -> VolumeRecord:
    """Return the record of the volume with exactly this name.

    Raises VolumeNotFound, InvalidDocument, StoreUnusable.
    """
    path = f"{layout.volume(name)}/{_RECORD}"
    if "/" in name or name in ("", ".", "..") or len(name) > _MAX_NAME:
        raise VolumeNotFound(f"no volume with name {name!r} found: no such volume")
    try:
        try:
            data = read_file(path)
        except FileNotFoundError:
            if not os.path.isdir(layout.volume_data(name)):
                raise
            data = read_file(path)  # it has appeared between the two looks, or it is damaged
        return VolumeRecord.from_json(json.loads(data), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.isdir(layout.volume_data(name)):
            raise _damaged(path, name, "no such file") from error
        raise VolumeNotFound(f"no volume with name {name!r} found: no such volume") from error
    except ValueError as error:
        raise _damaged(path, name, f"not JSON ({error})") from error
    except InvalidDocument as error:
        raise _damaged(path, name, str(error).removeprefix(f"{path}: ")) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error


def _damaged(path: str, name: str, why: str) -> InvalidDocument:
    return InvalidDocument(
        f"read {path}: {why}",
        remedy=f"what is in {os.path.dirname(path)}/{_DATA} may be saved;"
        f" then rpod volume rm {name}",
    )


def find_volume(layout: Layout, text: str) -> VolumeRecord:
    """Find by name or by the unambiguous beginning of one; a full name beats a beginning.

    Raises VolumeNotFound, Ambiguous, InvalidDocument.
    """
    try:
        return read_volume(layout, text)
    except VolumeNotFound:
        matches = [name for name in _names(layout) if text and name.startswith(text)]
        if not matches:
            raise
    if len(matches) > 1:
        shown = ", ".join(sorted(name[:16] for name in matches)[:5])
        raise Ambiguous(
            f'more than one volume begins with "{text}": {shown}',
            remedy="give more characters of the name",
        )
    return read_volume(layout, matches[0])


def list_volumes(
    layout: Layout, damaged: "list[InvalidDocument] | None" = None
) -> list[VolumeRecord]:
    """Return all volumes in the order of their names; the errors of others go to `damaged`."""
    records = []
    for name in sorted(_names(layout)):
        try:
            records.append(read_volume(layout, name))
        except VolumeNotFound:
            continue  # removed while we were looking
        except InvalidDocument as error:
            if damaged is not None:
                damaged.append(error)
    return records


def mountpoint(layout: Layout, record: VolumeRecord) -> str:
    """Return the directory that containers see."""
    return record.bound_directory or layout.volume_data(record.name)


def is_unused(layout: Layout, record: VolumeRecord) -> bool:
    """Tell whether a volume with a directory of its own has nothing in it yet."""
    if record.bound_directory or record.is_tmpfs:
        return False
    try:
        return not os.listdir(layout.volume_data(record.name))
    except OSError:
        return False  # a container has made it its own, or it is being removed


def volume_users(layout: Layout) -> dict[str, list[str]]:
    """Return the ids of the containers that use each volume, by its name."""
    from storage.containers import container_ids, read_record
    from storage.errors import ContainerNotFound

    users: dict[str, list[str]] = {}
    for container_id in container_ids(layout):
        try:
            record = read_record(layout, container_id)
        except ContainerNotFound:
            continue
        for mount in record.mounts:
            name = mount.get("Name")
            if isinstance(name, str) and name:
                users.setdefault(name, []).append(container_id)
    return users


def remove_volume(
    layout: Layout,
    name: str,
    *,
    users: tuple[str, ...] | None = None,
    remove_tree: "Callable[[str], None] | None" = None,
) -> None:
    """Remove a volume with everything in it, or not at all.

    `users` are the ids of the containers that need it; without it the records are read for them.
    `remove_tree` removes the directory that it is given. The default does that as the caller;
    PermissionError then means that files of other ids are in it, and the volume is there again.

    Raises VolumeNotFound, InUse, StoreUnusable; PermissionError.
    """
    if remove_tree is None:
        from storage.remove import remove_tree as as_caller

        remove_tree = as_caller
    try:
        read_volume(layout, name)
    except InvalidDocument:
        pass  # a damaged one goes like any other
    with _departure(layout) as gone:
        aside = gone.place(_DATA)
        with Lock(layout.lock("volumes")):
            _check_unused(name, volume_users(layout).get(name, []) if users is None else users)
            try:
                os.rename(layout.volume(name), aside)
            except FileNotFoundError as error:
                raise VolumeNotFound(f"no volume with name {name!r} found") from error
            except OSError as error:
                raise from_os_error(f"remove volume {name}", error) from error
        try:
            # The record goes last: until then it is a volume that can be removed once more.
            remove_tree(f"{aside}/{_DATA}")
            remove_tree(aside)
        except PermissionError:
            _put_back(layout, name, aside)
            raise
    event_log.volume_event(layout.run_root, "remove", name)


def _put_back(layout: Layout, name: str, aside: str) -> None:
    try:
        os.rename(aside, layout.volume(name))
    except OSError as error:
        # Somebody has made a new one of this name meanwhile; the next sweep removes this one.
        if error.errno not in _OCCUPIED:
            raise from_os_error(f"put volume {name} back", error) from error


def _check_unused(name: str, users: "tuple[str, ...] | list[str]") -> None:
    if users:
        listed = ", ".join(user[:12] for user in users)
        raise InUse(
            f"volume {name} is being used by the following container(s): {listed}:"
            " volume is being used",
            remedy=f"remove them first: rpod rm {' '.join(user[:12] for user in users)}",
        )


def _publish(layout: Layout, record: VolumeRecord) -> bool:
    """Let a new volume appear; False when there is one of this name."""
    target = layout.volume(record.name)
    try:
        with _workplace(layout) as scratch:
            fresh = f"{scratch.path}/{record.name}"
            os.mkdir(fresh, 0o700)
            os.mkdir(f"{fresh}/{_DATA}", 0o755)
            write_file(f"{fresh}/{_RECORD}", json.dumps(record.to_json()).encode())
            os.rename(fresh, target)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        raise from_os_error(f"make volume {record.name}", error) from error
    event_log.volume_event(layout.run_root, "create", record.name)
    return True


class _Aside:
    """A directory beside volumes that other machines share: `tmp/` is on another file system."""

    def __init__(self, layout: Layout) -> None:
        self._parent = layout.volumes_dir
        self.path = f"{self._parent}/.{os.getpid()}-{os.urandom(6).hex()}"

    def __enter__(self) -> "_Aside":
        os.makedirs(self._parent, mode=0o700, exist_ok=True)
        limit_s = time.time() - _ASIDE_AGE_S
        for name in os.listdir(self._parent):
            path = f"{self._parent}/{name}"
            if name.startswith(".") and os.stat(path).st_mtime < limit_s:
                self._remove(path)
        os.mkdir(self.path, 0o700)
        return self

    def __exit__(self, *_: object) -> None:
        self._remove(self.path)

    def place(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _remove(self, path: str) -> None:
        from storage.remove import remove_tree

        try:
            remove_tree(path)
        except FileNotFoundError:
            return


def _workplace(layout: Layout) -> "Scratch | _Aside":
    return _Aside(layout) if layout.shared else Scratch(layout, "volume")


def _departure(layout: Layout) -> "Departure | _Aside":
    return _Aside(layout) if layout.shared else Departure(layout)


def _names(layout: Layout) -> list[str]:
    try:
        return [name for name in os.listdir(layout.volumes_dir) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(f"list {layout.volumes_dir}", error) from error


_BIND_WORDS = frozenset(("bind", "rbind", "ro", "rw", "nosuid", "nodev", "noexec"))
_TMPFS_WORDS = frozenset(("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"))
_TMPFS_KEYS = ("size", "mode", "uid", "gid", "nr_inodes")


def _check_options(options: dict[str, str]) -> dict[str, str]:
    """Raises StorageError: nothing that needs root is taken and then left undone."""
    if not options:
        return options
    kind, device = options.get("type", "none"), options.get("device", "")
    words = [word for word in options.get("o", "").split(",") if word]
    unknown = sorted(set(options) - {"type", "o", "device"})
    if kind == "tmpfs" and not unknown:
        wrong = [
            w for w in words if w not in _TMPFS_WORDS and w.partition("=")[0] not in _TMPFS_KEYS
        ]
    elif kind in ("none", "bind") and not unknown and {"bind", "rbind"} & set(words):
        wrong = [word for word in words if word not in _BIND_WORDS]
        if not device.startswith("/") or not os.path.isdir(device):
            raise StorageError(
                f"volume option device={device}: not the absolute path of a directory"
            )
    else:
        wrong = unknown or [",".join(f"{key}={options[key]}" for key in options)]
    if wrong:
        raise StorageError(
            f"volume option {wrong[0]}: a regular user cannot mount this",
            remedy="use -o type=none -o o=bind[,ro] -o device=DIRECTORY for a directory of the"
            " host, -o type=tmpfs -o o=size=64m for memory, or no options",
        )
    return options


def _texts(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidDocument(f"{where}: expected an object")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise InvalidDocument(f"{where}.{key}: expected text")
    return dict(value)


def _now(now_ns: int) -> str:
    """Return RFC 3339 in UTC."""
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"
