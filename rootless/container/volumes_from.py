"""`--volumes-from`: the mounts of another container, as this one is to have them."""

from rootless.container.mounts import BIND, VOLUME, UserMount
from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.containers import find_container

_OPTIONS = ("ro", "rw", "z", "Z")


def inherit(host: Host, texts: "tuple[str, ...]") -> list[UserMount]:
    """Return the volumes and host directories of `CONTAINER[:OPTIONS]`, the first one's first.

    Raises ContainerNotFound, UsageError.
    """
    found: dict[str, UserMount] = {}
    for text in texts:
        name, _, words = text.partition(":")
        options = words.split(",") if words else []
        for word in options:
            if word not in _OPTIONS:
                raise UsageError(
                    f'--volumes-from {text}: unknown option "{word}"', remedy="use ro, rw, z or Z"
                )
        for entry in find_container(host.layout, name).record.mounts:
            mount = _mount(entry, options)
            if mount is not None:
                found.setdefault(mount.target, mount)
    return list(found.values())


def _mount(entry: dict[str, object], options: list[str]) -> UserMount | None:
    kind = str(entry.get("Type"))
    if kind not in (BIND, VOLUME):
        return None
    given = entry.get("Options")
    words = [str(word) for word in given] if isinstance(given, list) else []
    if not any(word in ("bind", "rbind") for word in words):
        words.append("rbind")
    words.append(str(entry.get("Propagation") or "rprivate"))
    is_writable = bool(entry.get("RW")) and "ro" not in options
    words.append("rw" if is_writable else "ro")
    source = entry.get("Name") if kind == VOLUME else entry.get("Source")
    return UserMount(kind, str(source), str(entry.get("Destination")), tuple(dict.fromkeys(words)))
