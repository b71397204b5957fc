"""What of the host is put into a container by name: devices (CDI) and profiles.

A profile is a TOML file `NAME.toml` below `/etc/rpod/inject.d` (the site's) or
`$XDG_CONFIG_HOME/rpod/inject.d` (the user's, which goes first). Libraries of the host run with the
image's C library, so what they need of it is compared before anything is made.
"""

import glob
import os
import stat

from rootless.config import config_files, load_toml
from rootless.container.edits import Injection
from rootless.container.elf import parse_library, read_library
from rootless.errors import HostError, UsageError
from storage import lightjson as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.elf import Read
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host

LINKS = "dev.rpod.links"
_KEYS: dict[str, type[object]] = {
    "description": str, "env": dict, "binds": list, "devices": list, "library-path": list,
    "links": dict, "conflicts": list,
}  # fmt: skip
_WORDS: dict[type[object], str] = {
    str: "a string",
    dict: "a table of strings",
    list: "a list of strings",
}
_LIBC = ("/lib/{0}-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/{0}-linux-gnu/libc.so.6",
         "/usr/lib64/libc.so.6", "/usr/lib/libc.so.6", "/lib/libc.so.6")  # fmt: skip
_LIBC_BYTES = 1 << 24
# Each takes a descriptor at the start, of which a process has 1024.
_MAX_BINDS = 500


def inject(
    host: "Host",
    request: "ContainerRequest",
    layers: list[str],
    config: dict[str, object],
) -> None:
    """Put what was asked for by name into a config.json; what is left out is noted.

    Raises UsageError, HostError, MountSourceMissing, InvalidDocument.
    """
    found = [*_profiles(host, request), *_devices(host, request)]
    _check_libraries(found, layers)
    for one in found:
        _apply(one, config)
        for note in one.notes:
            host.note(note)


def _devices(host: "Host", request: "ContainerRequest") -> list[Injection]:
    from rootless.container.cdi import DIRECTORIES, find_devices, gpu_names
    from rootless.sandbox.devices import is_cdi_name

    directories = (*DIRECTORIES, *host.config.cdi_directories)
    names = tuple(text for text in request.device if is_cdi_name(text))
    if request.gpus:
        names += gpu_names(request.gpus, directories)
    return find_devices(names, directories) if names else []


def _profiles(host: "Host", request: "ContainerRequest") -> list[Injection]:
    names = tuple(dict.fromkeys((*host.config.inject, *request.inject)))
    tables = {name: _load(host, name) for name in names}
    found = []
    for name, table in tables.items():
        for other in _texts(table, "conflicts"):
            if other in tables and other != name:
                raise UsageError(
                    f"inject {name}: it cannot be together with {other}", remedy="leave one out"
                )
        found.append(_read_profile(host, name, table))
    return found


def profile_directories(host: "Host") -> list[str]:
    """Return where profiles are looked for, what goes first at the end."""
    files = config_files(host.environ, host.environ.get("HOME"))
    return [f"{os.path.dirname(path)}/inject.d" for path in files]


def _load(host: "Host", name: str) -> dict[str, object]:
    directories = profile_directories(host)
    if not name or "/" in name or name.startswith("."):
        raise UsageError(f"inject {name}: not the name of a profile")
    for directory in reversed(directories):
        path = f"{directory}/{name}.toml"
        if os.path.exists(path):
            _check_place(path)
            table = load_toml(path)
            _check(table, path)
            return table
    known = sorted(
        {os.path.basename(path)[:-5] for one in directories for path in glob.glob(f"{one}/*.toml")}
    )
    raise UsageError(
        f"inject {name}: no {name}.toml in {' or '.join(directories)}",
        remedy=f"known: {', '.join(known)}" if known else "none is there yet: rpod.toml(5)",
    )


def _check_place(path: str) -> None:
    """Raises UsageError when anybody may have written what the profile says."""
    for one in (path, os.path.dirname(path)):
        if os.stat(one).st_mode & stat.S_IWOTH:
            raise UsageError(
                f"{path} is not used: everybody may write to {one}", remedy=f"chmod o-w {one}"
            )


def _check(table: dict[str, object], path: str) -> None:
    for key, value in table.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise UsageError(f"{path}: unknown key {key!r}", remedy=f"known: {', '.join(_KEYS)}")
        texts: list[object] = []
        if isinstance(value, list):
            texts = value
        elif isinstance(value, dict):
            texts = list(value.values())
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{path}: {key}: must be {_WORDS[kind]}")
        names = list(value) if isinstance(value, dict | list) else [value]
        if "\0" in "".join(map(str, [*names, *texts])):
            raise UsageError(f"{path}: {key}: has a NUL in it")
        _check_names(key, [str(name) for name in names], path)


def _check_names(key: str, names: list[str], path: str) -> None:
    for name in names:
        if key == "env" and (not name or "=" in name):
            raise UsageError(f"{path}: env: {name!r} is no name of a variable")
        if key == "links" and (not name.startswith("/") or not name.strip("/")):
            raise UsageError(f"{path}: links: {name!r} is no absolute path in the container")
        if key == "library-path" and (not name.startswith("/") or ":" in name):
            raise UsageError(f"{path}: library-path: {name!r} is no absolute path")


def _texts(table: dict[str, object], key: str) -> list[str]:
    value = table.get(key, [])
    return [str(one) for one in value] if isinstance(value, list) else []


def _pairs(table: dict[str, object], key: str) -> dict[str, str]:
    value = table.get(key, {})
    return {str(name): str(one) for name, one in value.items()} if isinstance(value, dict) else {}


def _read_profile(host: "Host", name: str, table: dict[str, object]) -> Injection:
    result = Injection(f"profile {name}")
    result.env = {
        variable: os.path.expandvars(value) for variable, value in _pairs(table, "env").items()
    }
    result.links = [(target, path) for path, target in _pairs(table, "links").items()]
    result.library_path = _texts(table, "library-path")
    for text in _texts(table, "binds"):
        _add_bind(result, text)
    for text in _texts(table, "devices"):
        paths = sorted(glob.glob(text))
        result.devices += [(path, path) for path in paths]
        for path in paths:
            mode = os.stat(path).st_mode if os.path.exists(path) else 0
            if not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode):
                raise UsageError(
                    f"{result.name}: devices: {path} is no device", remedy="binds are for files"
                )
        if not paths:
            result.notes.append(f"{result.name}: {text} is left out: there is no such device here")
    return result


def _add_bind(result: Injection, text: str) -> None:
    """Read `PATTERN[:TARGET[:OPTIONS]]`: matches of a pattern go into the directory TARGET."""
    pattern, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    pattern = os.path.expandvars(os.path.expanduser(pattern))
    if not pattern.startswith("/") or (target and not target.startswith("/")):
        raise UsageError(
            f"{result.name}: binds: {text!r}", remedy="use /PATTERN[:/TARGET[:OPTIONS]]"
        )
    is_pattern = glob.has_magic(pattern)
    if target and os.path.normpath(target).lstrip("/") == "" and not is_pattern:
        raise UsageError(f"{result.name}: binds: {text!r}: nothing can be put over /")
    paths = [path for path in sorted(glob.glob(pattern)) if os.path.exists(path)]
    if len(paths) + len(result.mounts) > _MAX_BINDS:
        raise UsageError(
            f"{result.name}: binds: {text!r} is {len(paths)} files: more than {_MAX_BINDS} in a"
            " profile",
            remedy="bind the directory",
        )
    if not paths:
        result.notes.append(f"{result.name}: {pattern} is left out: it is not on this host")
    words = tuple(options.split(",")) if options else ("ro",)
    for path in paths:
        place = target or path
        if target and is_pattern:
            place = f"{target.rstrip('/')}/{os.path.basename(path)}"
        result.mounts.append((path, place, words, ""))


def _check_libraries(found: list[Injection], layers: list[str]) -> None:
    """Compare the glibc that injected libraries need with the image's. Raises HostError."""
    newest: tuple[tuple[int, ...], str, str] | None = None
    for one in found:
        for source, target, _, _ in one.mounts:
            library = read_library(source) if ".so" in os.path.basename(source) else None
            if library is None:
                continue
            _add_soname(one, library.soname, target)
            if library.needs and (newest is None or library.needs[-1] > newest[0]):
                newest = (library.needs[-1], source, one.name)
    if newest is None:
        return
    needed, source, name = newest
    has = image_glibc(layers)
    if has is None or needed > has:
        version = ".".join(map(str, needed))
        image = f"glibc {'.'.join(map(str, has))}" if has else "no glibc"
        raise HostError(
            f"inject {name}: {source} needs glibc {version}, the image has {image}",
            remedy="take an image with that or a newer one, or leave the injection out",
        )


def _add_soname(one: Injection, soname: str, target: str) -> None:
    """Do for a library what ldconfig does: a link with the name by which programs look for it."""
    directory, _, base = target.rpartition("/")
    taken = {place for _, place, _, _ in one.mounts} | {path for _, path in one.links}
    if soname and "/" not in soname and soname != base and f"{directory}/{soname}" not in taken:
        one.links.append((base, f"{directory}/{soname}"))


def image_glibc(layers: list[str]) -> tuple[int, ...] | None:
    """Return the newest version of glibc that the image's C library has; None without glibc."""
    from rootless.container.merged import read_merged

    machine = os.uname().machine
    for pattern in _LIBC:
        try:
            data = read_merged(layers, pattern.format(machine), limit_bytes=_LIBC_BYTES)
        except OSError:
            continue
        if data is not None:
            library = parse_library(_reader(data))
            if library is not None and library.defines:
                return library.defines[-1]
    return None


def _reader(data: bytes) -> "Read":
    return lambda offset, size: data[offset : offset + size]


def _apply(one: Injection, config: dict[str, object]) -> None:
    process, linux = config["process"], config["linux"]
    mounts, annotations = config["mounts"], config["annotations"]
    assert isinstance(process, dict) and isinstance(linux, dict)
    assert isinstance(mounts, list) and isinstance(annotations, dict)
    env = dict(entry.split("=", 1) for entry in process["env"])
    env.update(one.env)
    if one.library_path:
        before = [part for part in env.get("LD_LIBRARY_PATH", "").split(":") if part]
        env["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys((*before, *one.library_path)))
    process["env"] = [f"{name}={value}" for name, value in env.items()]
    for source, target, options, kind in one.mounts:
        mounts.append(_mount(one, source, target, options, kind))
    for source, path in one.devices:
        if not os.path.exists(source):
            raise HostError(
                f"inject {one.name}: {source} is not on this host", remedy="ask for another device"
            )
        linux["devices"] = [*linux["devices"], {"path": path, "source": source}]
    links = json.loads(annotations.get(LINKS, "[]"))
    assert isinstance(links, list)
    if one.links:
        annotations[LINKS] = json.dumps([*links, *([target, path] for target, path in one.links)])


def _mount(
    one: Injection, source: str, target: str, options: "tuple[str, ...]", kind: str
) -> dict[str, object]:
    if kind == "tmpfs":
        return {"destination": target, "type": "tmpfs", "source": "tmpfs",
                "options": list(options)}  # fmt: skip
    if not os.path.exists(source):
        raise HostError(
            f"inject {one.name}: {source} is not on this host",
            remedy="make the description of the device again: it is of another state of the host",
        )
    words = [word for word in options if word not in ("bind", "rbind")]
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", *words]}
