"""`-v`, `--mount`, `--tmpfs`, image volumes: what the user mounts, as entries of config.json."""

import os

from rootless.container.request import ContainerRequest
from rootless.container.tmpfs_words import PROPAGATION, TMPFS_FLAGS, tmpfs_options
from rootless.errors import MountSourceMissing, UsageError, of_option
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BIND, VOLUME, TMPFS, RAMFS, DEVPTS = "bind", "volume", "tmpfs", "ramfs", "devpts"
IMAGE = "image"
_KERNEL = (TMPFS, RAMFS, DEVPTS)

_BIND_OPTIONS = (
    "ro", "rw", "rro", "bind", "rbind", "nosuid", "suid", "nodev", "dev", "noexec", "exec",
    "noatime", "strictatime", "nodiratime", "optional", *PROPAGATION,
)  # fmt: skip
# Without SELinux these two ask for nothing.
_SELINUX = ("z", "Z")
# One of each line at most.
_ONE_OF = (
    ("ro", "rw", "rro"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec"),
    ("copy", "nocopy"), ("bind", "rbind"), ("tmpcopyup", "notmpcopyup"), _SELINUX, PROPAGATION,
)  # fmt: skip


class UserMount(NamedTuple):
    """One mount; `source` is an absolute path, a volume's name ("" for an anonymous one) or ""."""

    kind: str
    source: str
    target: str
    options: tuple[str, ...]
    copy_up: bool = False
    chown: bool = False
    must_exist: bool = False
    overlay: bool = False
    places: tuple[str, ...] = ("", "")
    subpath: str = ""

    @property
    def is_tree(self) -> bool:
        """Whether it is more than a bind mount: `rootless.container.overlay_mounts`."""
        return self.overlay or self.kind == IMAGE or bool(self.subpath)


def parse_volume(text: str, cwd: str) -> UserMount:
    """Read `-v [SOURCE:]TARGET[:OPTIONS]`. Raises UsageError."""
    fields = text.split(":")
    if len(fields) > 3 or not all(fields):
        raise UsageError(
            f'invalid volume "{text}"', remedy="use -v SOURCE:TARGET[:OPTIONS] with absolute TARGET"
        )
    source = fields[0] if len(fields) > 1 else ""
    target = _check_target(fields[1] if len(fields) > 1 else fields[0], text)
    options = fields[2].split(",") if len(fields) == 3 else []
    _check_conflicts(options, text)
    chown, overlay = "U" in options, "O" in options
    places = [word for word in options if overlay and word.startswith(("upperdir=", "workdir="))]
    options = [word for word in options if word not in ("U", "O", *places)]
    if source.startswith(("/", ".")):
        path = _host_path(source, cwd)
        mount = UserMount(BIND, path, target, _bind(options, text), chown=chown)
    else:
        mount = _volume(source, target, options, text)._replace(chown=chown)
    if not overlay:
        return mount
    from rootless.container.mount_words import overlay_places

    own = overlay_places(mount.options, places, text)
    return mount._replace(overlay=True, copy_up=False, places=own)


def _check_conflicts(options: "Iterable[str]", text: str) -> None:
    """Refuse options that contradict each other. Raises UsageError."""
    given = set(options)
    if len(given) < 2:
        return
    names = [word.partition("=")[0] for word in given if "=" in word]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f'invalid mount "{text}": {name}= more than once')
    for words in _ONE_OF:
        both = [word for word in words if word in given]
        if len(both) > 1:
            raise UsageError(
                f'invalid mount "{text}": {" and ".join(both)} do not go together',
                remedy="leave one out",
            )


def _volume(source: str, target: str, options: list[str], text: str) -> UserMount:
    own = ("copy", "nocopy", "nocreate")
    kept = [word for word in options if word not in own]
    return UserMount(
        VOLUME,
        source,
        target,
        _bind(kept, text),
        copy_up="nocopy" not in options,
        must_exist="nocreate" in options,
    )


def _host_path(source: str, cwd: str) -> str:
    if not source.startswith("/") and not cwd:
        raise UsageError(
            f"mount {source}: the current directory has been removed",
            remedy="use an absolute path, or change to a directory that is there",
        )
    return os.path.normpath(os.path.join(cwd, source))


def _check_target(target: str, text: str) -> str:
    if not target.startswith("/"):
        raise UsageError(f'invalid mount "{text}": the path in the container must be absolute')
    normal = os.path.normpath(target)
    # POSIX keeps two leading slashes; the kernel does not.
    normal = "/" + normal.lstrip("/")
    if normal == "/":
        raise UsageError(f'invalid mount "{text}": the destination cannot be /')
    return normal


def _bind(options: "Iterable[str]", text: str) -> tuple[str, ...]:
    chosen = [word for word in options if word not in _SELINUX]
    for word in chosen:
        if word not in _BIND_OPTIONS:
            raise UsageError(
                f'invalid mount "{text}": unknown option "{word}"',
                remedy="known: " + " ".join((*_BIND_OPTIONS, "copy", "nocopy", *_SELINUX)),
            )
    if not any(word in ("bind", "rbind") for word in chosen):
        chosen.append("rbind")
    if not any(word in PROPAGATION for word in chosen):
        chosen.append("rprivate")
    if "ro" not in chosen and "rro" not in chosen and "rw" not in chosen:
        chosen.append("rw")
    return tuple(chosen)


def parse_tmpfs(text: str) -> UserMount:
    """Read `--tmpfs TARGET[:OPTIONS]`. Raises UsageError."""
    target, _, words = text.partition(":")
    options = words.split(",") if words else []
    _check_conflicts(options, text)
    return UserMount(TMPFS, "", _check_target(target, text), tmpfs_options(options, text))


_MOUNT_KEYS = {
    "src": "source", "source": "source", "dst": "target", "destination": "target",
    "target": "target", "type": "type",
}  # fmt: skip
_TRUE = ("", "true", "1")


def _mount_option(key: str, value: str) -> str | None:
    """Return the mount option that a `--mount` key stands for; None for one that says nothing."""
    switches = {
        "ro": ("ro", "rw"),
        "readonly": ("ro", "rw"),
        "rw": ("rw", "ro"),
        "bind-nonrecursive": ("bind", "rbind"),
    }
    if key in switches:
        return switches[key][0 if value in _TRUE else 1]
    named = {
        "bind-propagation": value,
        "tmpfs-size": f"size={value}",
        "tmpfs-mode": f"mode={value}",
    }
    if key in named:
        return named[key]
    if key in ("relabel", "consistency"):
        return None
    return f"{key}={value}" if value else key


def parse_mount(text: str, cwd: str) -> UserMount:
    """Read `--mount type=bind|volume|tmpfs,src=,dst=,...`. Raises UsageError."""
    fields = {"type": VOLUME, "source": "", "target": ""}
    options: list[str] = []
    for item in text.split(","):
        key, _, value = item.partition("=")
        if key in _MOUNT_KEYS:
            fields[_MOUNT_KEYS[key]] = value
        elif (option := _mount_option(key, value)) is not None:
            options.append(option)
    kind, source = fields["type"], fields["source"]
    _check_conflicts(options, text)
    chown = any(word in _CHOWN for word in options)
    options = [word for word in options if word not in (*_CHOWN, "U=false", "chown=false")]
    target = _check_target(fields["target"], text)
    if kind == IMAGE:
        from rootless.container.mount_words import image_words

        words, subpath = image_words(source, options, text)
        return UserMount(IMAGE, source, target, words, subpath=subpath)
    options, subpath = _without_subpath(options, text)
    if subpath and kind not in (BIND, VOLUME):
        raise UsageError(f'invalid mount "{text}": subpath is for bind, volume and image')
    if kind in _KERNEL:
        if source:
            raise UsageError(f'invalid mount "{text}": type={kind} has no src=')
        read = {RAMFS: _ramfs, DEVPTS: _devpts, TMPFS: tmpfs_options}[kind]
        return UserMount(kind, "", target, read(options, text))
    if kind == BIND:
        if not source:
            raise UsageError(f'invalid mount "{text}": type=bind needs src=')
        path = _host_path(source, cwd)
        mount = UserMount(BIND, path, target, _bind(options, text), chown=chown)
        return mount._replace(subpath=subpath)
    if kind == VOLUME:
        mount = _volume(source, target, options, text)
        # What the image has is for the whole volume, not for a part.
        copy_up = mount.copy_up and not subpath
        return mount._replace(chown=chown, subpath=subpath, copy_up=copy_up)
    raise UsageError(
        f'invalid mount "{text}": unknown type "{kind}"',
        remedy="use type=bind, volume, image, tmpfs, ramfs, devpts or glob",
    )


def _without_subpath(options: list[str], text: str) -> tuple[list[str], str]:
    found = [word for word in options if word.startswith(("subpath", "volume-subpath"))]
    values = [word.partition("=")[2] for word in found]
    if len(found) > 1 or (found and not values[0]):
        raise UsageError(f'invalid mount "{text}": use one subpath=PATH')
    return [word for word in options if word not in found], "".join(values)


_CHOWN = ("U", "U=true", "chown", "chown=true")


def _ramfs(options: "Iterable[str]", text: str) -> tuple[str, ...]:
    chosen = ["nosuid", "nodev"]
    for word in options:
        if word not in TMPFS_FLAGS and not word.startswith("mode="):
            raise UsageError(f'invalid mount "{text}": unknown option "{word}" for ramfs')
        chosen.append(word)
    return tuple(chosen)


def _devpts(options: "Iterable[str]", text: str) -> tuple[str, ...]:
    chosen = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    for word in options:
        name, _, value = word.partition("=")
        if name not in ("uid", "gid", "mode", "max") or not value:
            raise UsageError(f'invalid mount "{text}": unknown option "{word}" for devpts')
        chosen = [kept for kept in chosen if not kept.startswith(f"{name}=")]
        chosen.append(word)
    return tuple(chosen)


def parse_mounts(text: str, cwd: str) -> list[UserMount]:
    """Read one `--mount`; type=glob stands for any number of bind mounts. Raises UsageError."""
    words = text.split(",")
    if "type=glob" not in words:
        return [parse_mount(text, cwd)]
    import glob

    sources = {"src", "source"}
    pattern = next((w.partition("=")[2] for w in words if w.partition("=")[0] in sources), "")
    names = {"dst", "destination", "target"}
    target = next((w.partition("=")[2] for w in words if w.partition("=")[0] in names), "")
    paths = sorted(glob.glob(_host_path(pattern, cwd))) if pattern else []
    if not paths:
        raise UsageError(f'invalid mount "{text}": nothing on this host matches "{pattern}"')
    rest = [w for w in words if w.partition("=")[0] not in {*sources, *names, "type"}]
    return [
        parse_mount(
            ",".join(("type=bind", f"src={path}", f"dst={_beside(path, target)}", *rest)), cwd
        )
        for path in paths
    ]


def _beside(path: str, target: str) -> str:
    """Return where a match is shown: below the target, or where it is on the host."""
    return f"{target.rstrip('/')}/{os.path.basename(path)}" if target else path


def collect(
    request: ContainerRequest,
    image_volumes: "Iterable[str]",
    cwd: str,
    inherited: "Iterable[UserMount]" = (),
) -> list[UserMount]:
    """Return every mount of the request and the image, parents before what lies below them.

    `inherited` are those of other containers, where the request has none of its own.
    Raises UsageError, MountSourceMissing.
    """
    with of_option("--volume"):
        mounts = [parse_volume(text, cwd) for text in request.volume]
    with of_option("--mount"):
        mounts += [mount for text in request.mount for mount in parse_mounts(text, cwd)]
    with of_option("--tmpfs"):
        mounts += [parse_tmpfs(text) for text in request.tmpfs]
    targets: set[str] = set()
    for position, mount in enumerate(mounts):
        if mount.target in targets:
            raise UsageError(f"{mount.target}: duplicate mount destination")
        targets.add(mount.target)
        if mount.kind == BIND and not os.path.exists(mount.source) and not is_optional(mount):
            with of_option("--volume" if position < len(request.volume) else "--mount"):
                _explain_missing(mount.source)
    for mount in inherited:
        if mount.target not in targets:
            mounts.append(mount)
            targets.add(mount.target)
    if request.read_only and request.read_only_tmpfs:
        for path in ("/run", "/tmp", "/var/tmp"):  # noqa: S108 - of the container
            if path not in targets:
                options = ("rw", "rprivate", "nosuid", "nodev", "tmpcopyup")
                mounts.append(UserMount(TMPFS, "", path, options))
                targets.add(path)
    for path in image_volumes if request.image_volume != "ignore" else ():
        target = _check_target(path, path)
        if target in targets:
            continue
        if request.image_volume == "tmpfs":
            mounts.append(UserMount(TMPFS, "", target, tmpfs_options(("exec",), path)))
        else:
            mounts.append(UserMount(VOLUME, "", target, _bind((), path), copy_up=True))
        targets.add(target)
    return sorted(mounts, key=lambda mount: mount.target.count("/"))


def is_optional(mount: UserMount) -> bool:
    """Tell whether a source that is not there is left out, at each start."""
    return "optional" in mount.options


def _explain_missing(path: str) -> None:
    """Say whether the path is missing or only out of reach."""
    try:
        os.stat(path)
    except PermissionError as error:
        from rootless.container.start_errors import not_reached

        raise not_reached(path) from error
    except OSError as error:
        raise MountSourceMissing(
            f"mount {path}: {(error.strerror or '').lower()}",
            remedy="make the directory first, or use a named volume: -v NAME:TARGET",
        ) from error


def to_json(mount: UserMount, source: str) -> dict[str, object]:
    """Return the entry of config.json; `source` is the path on the host."""
    if mount.kind in _KERNEL:
        return {
            "destination": mount.target,
            "type": mount.kind,
            "source": mount.kind,
            "options": list(mount.options),
        }
    options = [*mount.options, "copyup"] if mount.copy_up else list(mount.options)
    return {"destination": mount.target, "type": "bind", "source": source, "options": options}


def to_record(mount: UserMount, source: str, name: str) -> dict[str, object]:
    """Return the entry of `Mounts` that inspect shows."""
    record: dict[str, object] = {"Type": VOLUME if name else mount.kind}
    if name:
        record["Name"] = name
    record |= {
        "Source": source,
        "Destination": mount.target,
        "Driver": "local" if name else "",
        "Mode": "",
        "Options": [o for o in mount.options if o not in ("rw", "ro", "rprivate", "tmpcopyup")],
        "RW": "ro" not in mount.options and "rro" not in mount.options,
        "Propagation": next((o for o in mount.options if o in PROPAGATION), ""),
    }
    return record
