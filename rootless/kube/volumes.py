"""Volumes of a pod: hostPath, emptyDir, configMap, secret, persistentVolumeClaim."""

import os
import stat

from rootless.errors import MountSourceMissing, UsageError
from rootless.kube.documents import Fields
from rootless.kube.sources import Sources
from storage.record import NamedTuple
from storage.volumes import create_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host

HOST, VOLUME, MEMORY, SECRET, DEVICE = "host", "volume", "memory", "secret", "device"
_MODE = 0o644
_KINDS = ("hostPath", "emptyDir", "configMap", "secret", "persistentVolumeClaim")
_CHECKS: "dict[str, tuple[Callable[[int], bool], str]]" = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class PodVolume(NamedTuple):
    """A volume; `source` is a path or the name of a volume, `keys` of a secret: name -> path."""

    kind: str
    source: str
    read_only: bool = False
    keys: dict[str, str] = {}  # noqa: RUF012 - never changed
    mode: int = _MODE


def plan_volumes(
    spec: Fields, pod_name: str, sources: Sources
) -> "tuple[dict[str, PodVolume], list[tuple[str, dict[str, bytes], int]]]":
    """Return the volumes by name, and those of the pod's own to make: name, files, mode.

    Raises UsageError, MountSourceMissing.
    """
    found: dict[str, PodVolume] = {}
    own: list[tuple[str, dict[str, bytes], int]] = []
    for entry in spec.parts("volumes"):
        name = entry.needed("name")
        kinds = [kind for kind in _KINDS if entry.raw.get(kind) is not None]
        if not kinds and "emptyDir" in entry.raw:
            kinds = ["emptyDir"]
        if len(kinds) != 1:
            raise UsageError(
                f"{entry.where}: not a kind of volume that a pod can have here",
                remedy="use " + ", ".join(_KINDS),
            )
        detail = entry.part(kinds[0])
        volume = f"{pod_name}-{name}"
        if kinds[0] == "hostPath":
            found[name] = _host_path(detail)
        elif kinds[0] == "persistentVolumeClaim":
            read_only = bool(detail.flag("readOnly"))
            found[name] = PodVolume(VOLUME, detail.needed("claimName"), read_only)
        elif kinds[0] == "emptyDir":
            in_memory = detail.text("medium") == "Memory"
            found[name] = PodVolume(MEMORY if in_memory else VOLUME, volume)
            if not in_memory:
                own.append((volume, {}, _MODE))
        elif kinds[0] == "configMap":
            data = sources.config(
                detail.needed("name"), detail.where, optional=bool(detail.flag("optional"))
            )
            files = _items(detail, data)
            own.append((volume, {path: data[key] for key, path in files.items()}, _mode(detail)))
            found[name] = PodVolume(VOLUME, volume, read_only=True)
        else:
            found[name] = _secret(detail, sources)
    return found, own


def _host_path(detail: Fields) -> PodVolume:
    path, kind = detail.needed("path"), detail.text("type")
    if not path.startswith("/"):
        raise UsageError(f"{detail.where}.path: {path}: not an absolute path")
    if kind == "DirectoryOrCreate":
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif kind == "FileOrCreate":
        if not os.path.exists(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    elif kind in _CHECKS:
        check, words = _CHECKS[kind]
        if not os.path.exists(path) or not check(os.stat(path).st_mode):
            raise MountSourceMissing(f"{detail.where}: {path} is not {words} that is there")
    elif kind:
        raise UsageError(f"{detail.where}.type: {kind}: no such type")
    elif not os.path.exists(path):
        raise MountSourceMissing(
            f"{detail.where}: {path} does not exist", remedy="make it, or type: DirectoryOrCreate"
        )
    return PodVolume(DEVICE if kind in ("CharDevice", "BlockDevice") else HOST, path)


def _secret(detail: Fields, sources: Sources) -> PodVolume:
    name = detail.needed("secretName")
    values = sources.secret(name, detail.where, optional=bool(detail.flag("optional")))
    keys = {}
    for key, path in _items(detail, values).items():
        keys[sources.key_secret(name, key, values[key])] = path
    return PodVolume(SECRET, name, read_only=True, keys=keys, mode=_mode(detail))


def _mode(detail: Fields) -> int:
    mode = detail.number("defaultMode")
    if mode is None:
        return _MODE
    if not 0 <= mode <= 0o777:
        raise UsageError(f"{detail.where}.defaultMode: {mode} is no file mode")
    return mode


def _items(detail: Fields, data: dict[str, bytes]) -> dict[str, str]:
    """Return key -> path below the mount point."""
    items = detail.parts("items")
    if not items:
        return {key: _inside(key, detail) for key in data}
    result = {}
    for item in items:
        key = item.needed("key")
        if key not in data:
            if detail.flag("optional"):
                continue
            raise UsageError(f"{item.where}: there is no key {key}")
        result[key] = _inside(item.needed("path"), item)
    return result


def _inside(path: str, where: Fields) -> str:
    if path.startswith("/") or ".." in path.split("/") or "," in path or not path.isprintable():
        raise UsageError(f"{where.where}: {path!r} is not a path below the volume")
    return path


def fill_volume(host: "Host", name: str, files: dict[str, bytes], mode: int) -> None:
    """Make a volume of the pod and write its files; an older one of a killed command goes.

    Nothing is written into what containers have had: they may have put links there.
    """
    from rootless.container.remove import remove_volume_data

    remove_volume_data(host, name)
    create_volume(host.layout, name, labels={"rpod.kube.own": "true"})
    directory = host.layout.volume_data(name)
    for path, data in files.items():
        target = f"{directory}/{path}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        fd = os.open(
            target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, data)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
