"""Devices by name: the Container Device Interface, specification 1.1.

A name is vendor.com/class=device. What it stands for is in files of the directories `/etc/cdi` and
`/run/cdi` and of the setting `cdi_directories`; the later directory goes first. Hooks are programs
of the host that would run in the container's set-up: rpod runs none of them, but does itself what
those do that make links or call ldconfig, and names the others.
"""

import os

from rootless.config import parse_yaml
from rootless.container.edits import Injection
from rootless.errors import MountSourceMissing, UsageError
from storage.errors import InvalidDocument
from storage.files import read_file
from storage.oci.checks import (
    as_object,
    get_list,
    get_object,
    get_strings,
    get_text,
    parse_json,
)
from storage.record import NamedTuple

DIRECTORIES = ("/etc/cdi", "/run/cdi")
_ENDINGS = (".json", ".yaml", ".yml")
_GPU = "/gpu"
_MOUNT_TYPES = ("", "bind", "none", "tmpfs")
# Hooks that change nothing which a container of ours has.
_NOTHING_TO_DO = ("disable-device-node-modification", "chmod", "enable-cuda-compat")


class Spec(NamedTuple):
    """One file: its kind and its devices' edits, by name; `common` are the edits of all."""

    kind: str
    common: dict[str, object]
    devices: dict[str, dict[str, object]]
    path: str


def find_devices(names: "tuple[str, ...]", directories: "tuple[str, ...]") -> list[Injection]:
    """Return what each name stands for. Raises UsageError, MountSourceMissing, InvalidDocument."""
    specs, broken = read_specs(directories)
    found: list[Injection] = []
    common: set[str] = set()
    for name in names:
        kind, _, device = name.partition("=")
        candidates = [spec for spec in specs if spec.kind == kind and device in spec.devices]
        if not candidates and broken:
            raise broken[0]
        if not candidates:
            raise MountSourceMissing(
                f"--device {name}: {_why(kind, specs)}", remedy=_remedy(specs, directories)
            )
        spec = candidates[0]
        if spec.path not in common:
            common.add(spec.path)
            found.append(_injection(spec.common, kind, f"{spec.path}: containerEdits"))
        found.append(_injection(spec.devices[device], name, f"{spec.path}: {device}"))
    return found


def gpu_names(text: str, directories: "tuple[str, ...]") -> tuple[str, ...]:
    """Return the CDI names that `--gpus` stands for: all, a number of them, device=A,B or A,B.

    Raises UsageError, MountSourceMissing, InvalidDocument.
    """
    every, broken = read_specs(directories)
    specs = [spec for spec in every if spec.kind.endswith(_GPU)]
    if not specs and broken:
        raise broken[0]
    if not specs:
        raise MountSourceMissing(
            f"--gpus {text}: no file in {', '.join(directories)} describes a GPU",
            remedy="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, as root; or into a"
            " directory of your own that the setting cdi_directories names",
        )
    kind = specs[0].kind
    known = {name: None for spec in specs if spec.kind == kind for name in spec.devices}
    if text == "all" and "all" in known:
        return (f"{kind}=all",)
    numbered = sorted(name for name in known if name != "all")
    if text == "all":
        return tuple(f"{kind}={name}" for name in numbered)
    wanted = text.removeprefix("device=").strip('"').split(",")
    if text.isdecimal() and not text.startswith("device="):
        if int(text) > len(numbered):
            raise UsageError(f"--gpus {text}: there are {len(numbered)}: {', '.join(numbered)}")
        wanted = numbered[: int(text)]
    return tuple(f"{kind}={name}" for name in wanted)


def read_specs(directories: "tuple[str, ...]") -> tuple[list[Spec], list[InvalidDocument]]:
    """Return the files of these directories, what goes first at the beginning, and what is broken.

    Another vendor's broken file is no reason to withhold a device.
    """
    specs: list[Spec] = []
    broken: list[InvalidDocument] = []
    for directory in reversed(directories):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue  # not there, or not for this user
        for name in names:
            if name.endswith(_ENDINGS):
                try:
                    specs.append(_read(f"{directory}/{name}"))
                except InvalidDocument as error:
                    broken.append(error)
                except UsageError as error:
                    broken.append(InvalidDocument(error.message, remedy=error.remedy))
    return specs, broken


def _read(path: str) -> Spec:
    try:
        data = read_file(path)
    except OSError as error:
        raise InvalidDocument(f"read {path}: {error.strerror}") from error
    raw = as_object(parse_json(data, path) if path.endswith(".json") else parse_yaml(data, path),
                    path)  # fmt: skip
    devices = {}
    for number, entry in enumerate(get_list(raw, "devices", path)):
        where = f"{path}: devices[{number}]"
        device = as_object(entry, where)
        devices[get_text(device, "name", where)] = get_object(device, "containerEdits", where)
    kind = get_text(raw, "kind", path)
    if kind.count("/") != 1:
        raise InvalidDocument(f"{path}: kind {kind!r} is not vendor/class")
    return Spec(kind, get_object(raw, "containerEdits", path), devices, path)


def _why(kind: str, specs: list[Spec]) -> str:
    names = sorted({name for spec in specs if spec.kind == kind for name in spec.devices})
    return f"there are {', '.join(names)}" if names else "no such device is described"


def _remedy(specs: list[Spec], directories: "tuple[str, ...]") -> str:
    kinds = sorted({spec.kind for spec in specs})
    return f"kinds in {', '.join(directories)}: {', '.join(kinds) or 'none'}"


def _injection(edits: dict[str, object], name: str, where: str) -> Injection:
    """Read one `containerEdits`. Raises InvalidDocument."""
    result = Injection(name)
    for text in get_strings(edits, "env", where) or ():
        variable, separator, value = text.partition("=")
        if not variable or not separator:
            raise InvalidDocument(f"{where}: env: {text!r} is not NAME=VALUE")
        result.env[variable] = value
    for entry in get_list(edits, "deviceNodes", where):
        node = as_object(entry, where)
        path = _absolute(node, "path", where)
        result.devices.append((get_text(node, "hostPath", where) or path, path))
    for entry in get_list(edits, "mounts", where):
        mount = as_object(entry, where)
        options = get_strings(mount, "options", where) or ()
        kind = get_text(mount, "type", where)
        if kind not in _MOUNT_TYPES:
            raise InvalidDocument(
                f"{where}: mounts: type {kind!r} is none of a user: bind or tmpfs"
            )
        source = kind if kind == "tmpfs" else _absolute(mount, "hostPath", where)
        target = _absolute(mount, "containerPath", where)
        result.mounts.append((source, target, options, kind))
    for entry in get_list(edits, "hooks", where):
        hook = as_object(entry, where)
        words = get_strings(hook, "args", where) or (get_text(hook, "path", where),)
        _add_hook(result, words, where)
    gids = get_list(edits, "additionalGids", where)
    if gids:
        # A group of the host has no number in the container's user namespace.
        result.notes.append(
            f"{name}: additionalGids {', '.join(map(str, gids))}: groups of the host cannot be"
            " given; --group-add keep-groups keeps those that you are in"
        )
    for key in edits:
        if key in ("intelRdt", "netDevices") and edits[key]:
            result.notes.append(f"{name}: {key} is left out: it takes privilege over the host")
    return result


def _absolute(fields: dict[str, object], key: str, where: str) -> str:
    path = get_text(fields, key, where)
    if not path.startswith("/") or not path.strip("/"):
        raise InvalidDocument(f"{where}: {key}: {path!r} is not an absolute path")
    return path


def _add_hook(result: Injection, words: "tuple[str, ...]", where: str) -> None:
    """Do what a hook would do, as far as it is links and ldconfig."""
    program = os.path.basename(words[0])
    rest = [word for word in words[1:] if word != "hook"]
    action = rest[0] if rest else ""
    if program == "ldconfig":
        result.library_path += [word for word in rest if word.startswith("/")]
    elif program == "ln" and len(rest) >= 2:
        result.links.append((rest[-2], rest[-1]))
    elif action == "create-symlinks":
        for link in _values(rest, "--link"):
            target, separator, path = link.partition("::")
            if not separator or not target or not path.strip("/"):
                raise InvalidDocument(f"{where}: hooks: --link {link}: TARGET::PATH is expected")
            result.links.append((target, path if path.startswith("/") else f"/{path}"))
    elif action in ("update-ldcache", "create-soname-symlinks"):
        result.library_path += _values(rest, "--folder")
    elif action not in _NOTHING_TO_DO:
        line = " ".join(words[:3])
        result.notes.append(f"{result.name}: the hook `{line}` is left out: rpod runs none")


def _values(words: list[str], option: str) -> list[str]:
    """Return the values of a repeatable option: `--link A`, `--link=A`."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return found + [words[n + 1] for n, word in enumerate(words[:-1]) if word == option]
