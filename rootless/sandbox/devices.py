"""`--device` and the devices of a privileged container, as entries of an OCI config.json.

A user namespace cannot make device nodes, so each is the host's own, bound into the container. What
the container can do with it is what the caller can: the node's owner and mode decide on the host.
"""

import os
import stat

from rootless.errors import MountSourceMissing, UsageError
from rootless.sandbox.defaults import DEVICES
from storage.record import NamedTuple

_PERMISSIONS = frozenset("rwm")
# Directories of /dev that are file systems of their own in a container, or not devices at all.
_OWN_DIRECTORIES = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/hugepages")  # noqa: S108
# A second terminal multiplexer or the host's consoles would break out of the container's devpts.
_TERMINALS = ("ptmx", "tty", "console", "vcs")


class Device(NamedTuple):
    """One node: `path` in the container, `source` on the host; `kind` is c or b."""

    path: str
    source: str
    kind: str
    major: int
    minor: int
    mode: int
    optional: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the entry: OCI runtime-spec, config-linux, devices; two keys are our own."""
        entry: dict[str, object] = {
            "path": self.path,
            "type": self.kind,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
        }
        if self.source != self.path:
            entry["source"] = self.source
        if self.optional:
            entry["optional"] = True
        return entry


def is_cdi_name(text: str) -> bool:
    """Tell a name of the container device interface from the path of a device node."""
    return "=" in text and not text.startswith("/")


def parse_device(text: str) -> list[Device]:
    """Read `HOST[:CONTAINER][:PERMISSIONS]`; a directory stands for every device in it.

    Raises UsageError; MountSourceMissing: no such device on the host.
    """
    source, path, permissions = _split(text)
    if permissions and not {"r", "w"} <= set(permissions):
        # A read-only bind mount does not stop writing to a device, only a device cgroup would.
        raise UsageError(
            f"--device {text}: access to a device cannot be limited without root",
            remedy=f"leave out :{permissions}; the container can then do what you can",
        )
    try:
        found = os.stat(source)
    except OSError as error:
        raise MountSourceMissing(
            f"--device {text}: {source}: {(error.strerror or str(error)).lower()}",
            remedy="give a device node of this host; `ls -l /dev` shows them",
        ) from error
    if stat.S_ISDIR(found.st_mode):
        devices = _below(source, path)
        if not devices:
            raise UsageError(f"--device {text}: there is no device in the directory {source}")
        return devices
    device = _device(path, source, found)
    if device is None:
        raise UsageError(
            f"--device {text}: {source} is not a device", remedy=f"use -v {source}:{path}"
        )
    return [device]


def privileged_devices(directory: str = "/dev") -> list[Device]:
    """Return the nodes of the host that the caller can open, without terminals and the defaults.

    They are optional: one that disappears before the start is left out.
    """
    wanted = []
    for device in _below(directory, directory):
        name = device.path[len(directory) + 1 :]
        if name in DEVICES or name.startswith(_TERMINALS):
            continue
        if os.access(device.source, os.R_OK) or os.access(device.source, os.W_OK):
            wanted.append(device._replace(optional=True))
    return wanted


def _split(text: str) -> tuple[str, str, str]:
    fields = text.split(":")
    source, rest = fields[0], fields[1:]
    if is_cdi_name(text):
        raise UsageError(
            f"--device {text}: devices by name are for run, create and shell",
            remedy="name the device nodes: --device /dev/...",
        )
    permissions = ""
    if rest and rest[-1] and set(rest[-1]) <= _PERMISSIONS:
        permissions = rest.pop()
    if len(rest) > 1 or not source.startswith("/") or not all(part for part in rest):
        raise UsageError(
            f'--device: invalid device "{text}"', remedy="use --device /dev/NAME[:/PATH][:rwm]"
        )
    path = rest[0] if rest else source
    if not path.startswith("/"):
        raise UsageError(
            f'--device: invalid device "{text}": the path in the container must be absolute'
        )
    return os.path.normpath(source), os.path.normpath(path), permissions


def _below(source: str, path: str) -> list[Device]:
    """Return the devices in a directory and those below it, in the order of their names."""
    devices: list[Device] = []
    try:
        names = sorted(os.listdir(source))
    except OSError as error:
        if not isinstance(error, PermissionError):
            raise UsageError(f"list devices in {source}: {error.strerror}") from error
        names = []  # others' directories, say /dev/vfio: the caller has nothing there
    for name in names:
        inner = f"{source}/{name}"
        if inner in _OWN_DIRECTORIES:
            continue
        try:
            found = os.lstat(inner)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode):
            devices += _below(inner, f"{path}/{name}")
        else:
            device = _device(f"{path}/{name}", inner, found)
            if device is not None:
                devices.append(device)
    return devices


def _device(path: str, source: str, found: os.stat_result) -> Device | None:
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    number = found.st_rdev
    mode = stat.S_IMODE(found.st_mode)
    return Device(path, source, kind, os.major(number), os.minor(number), mode)
