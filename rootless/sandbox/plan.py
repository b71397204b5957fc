"""From an OCI runtime configuration (config.json of a bundle) to the plan that the child executes.

Knows nothing of images. `annotations` with the prefix `dev.rpod.` carry what the specification has
no field for. OCI runtime-spec, config and config-linux.
"""

import os

from rootless.errors import UsageError
from rootless.linux import syscalls as sc
from rootless.sandbox import defaults
from rootless.sandbox.capabilities import to_mask
from rootless.sandbox.child import Plan
from rootless.sandbox.mounts import BindMount, DeviceBind, KernelMount, late_readonly
from rootless.sandbox.operations import (
    Hostname,
    Link,
    LoopbackUp,
    MaskPaths,
    Operation,
    ReadonlyPaths,
    ReadonlyRoot,
    Symlink,
    Sysctl,
    WorkingDirectory,
)
from rootless.sandbox.process import Process
from rootless.sandbox.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.sandbox.holder import Holder

CLONE_FLAGS = {
    "user": sc.CLONE_NEWUSER,
    "mount": sc.CLONE_NEWNS,
    "pid": sc.CLONE_NEWPID,
    "network": sc.CLONE_NEWNET,
    "ipc": sc.CLONE_NEWIPC,
    "uts": sc.CLONE_NEWUTS,
    "cgroup": sc.CLONE_NEWCGROUP,
}
_BINDS = ("bind", "rbind")
_KINDS = (
    "proc",
    "sysfs",
    "tmpfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "ramfs",
    "overlay",
    *_BINDS,
)


class Config:
    """Typed access to config.json; every error names the place in the file."""

    __slots__ = ("raw", "where")

    def __init__(self, raw: object, where: str = "config.json") -> None:
        if not isinstance(raw, dict):
            raise UsageError(f"read {where}: an object was expected")
        self.raw: dict[str, object] = raw
        self.where = where

    def part(self, key: str) -> "Config":
        return Config(self.raw.get(key) or {}, f"{self.where}: {key}")

    def parts(self, key: str) -> "list[Config]":
        value = self.raw.get(key) or []
        if not isinstance(value, list):
            raise UsageError(f"read {self.where}: {key} must be a list")
        return [Config(entry, f"{self.where}: {key}[{i}]") for i, entry in enumerate(value)]

    def text(self, key: str, default: str = "") -> str:
        value = self.raw.get(key, default)
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"read {self.where}: {key} must be text without a NUL in it")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.raw.get(key) or []
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise UsageError(f"read {self.where}: {key} must be a list of texts")
        for position, entry in enumerate(value):
            if "\0" in entry:
                raise UsageError(f"read {self.where}: {key}[{position}] has a NUL in it")
        return [str(entry) for entry in value]

    def number(self, key: str, default: int = 0) -> int:
        value = self.raw.get(key, default)
        if not isinstance(value, int):
            raise UsageError(f"read {self.where}: {key} must be a number")
        return value

    def numbers(self, key: str) -> list[int]:
        value = self.raw.get(key) or []
        if not isinstance(value, list) or not all(isinstance(entry, int) for entry in value):
            raise UsageError(f"read {self.where}: {key} must be a list of numbers")
        return [int(entry) for entry in value]

    def flag(self, key: str) -> bool:
        return bool(self.raw.get(key, False))


def make_plan(raw: object, root: Root, *, seccomp: bytes) -> Plan:
    """Decide every step of the container that a config.json describes.

    `seccomp` is the ready filter. Raises UsageError for what breaks the specification.
    """
    config = Config(raw)
    linux = config.part("linux")
    process = make_process(config.part("process"), seccomp=seccomp)
    namespaces = {entry.text("type") for entry in linux.parts("namespaces")}
    joined = config.part("annotations").text(defaults.JOINED).split(",")
    own = namespaces.difference(joined)
    operations: list[Operation] = []
    if "network" in own:
        operations.append(LoopbackUp())
    if "uts" in own:
        operations.append(Hostname(config.text("hostname"), config.text("domainname")))
    operations += _mounts(config, (process.uid, process.gid))
    operations += _devices(linux)
    operations += _links(config.part("annotations").text("dev.rpod.links"))
    # Written before /proc/sys becomes read-only.
    operations += _sysctls(config, linux)
    operations.append(WorkingDirectory(process.cwd, process.uid, process.gid))
    if linux.raw.get("maskedPaths"):
        operations.append(MaskPaths(linux.texts("maskedPaths")))
    if linux.raw.get("readonlyPaths"):
        operations.append(ReadonlyPaths(linux.texts("readonlyPaths")))
    if config.part("root").flag("readonly"):
        operations.append(ReadonlyRoot())
    annotations = config.part("annotations")
    if mode := annotations.text("dev.rpod.root-emulation"):
        from rootless.sandbox import emulation

        emulation.prepare(process, mode)
    holder = None
    if text := annotations.text("dev.rpod.join"):
        holder = _holder(text)
        operations.append(holder)
    plan = Plan(root, operations, process)
    plan.holder = holder
    for name in own:
        plan.clone_flags |= CLONE_FLAGS[name]
    process.keeps_groups = annotations.text(defaults.KEEP_GROUPS) == "1"
    plan.init = annotations.text("dev.rpod.init") == "true"
    plan.keyring = annotations.text("dev.rpod.keyring")
    return plan


def make_process(process: Config, *, seccomp: bytes) -> Process:
    """Read `process`: OCI runtime-spec, config, process."""
    import resource

    result = Process()
    result.arguments = process.texts("args")
    if not result.arguments:
        raise UsageError("no command was given, and the image has none")
    for entry in process.texts("env"):
        name, _, value = entry.partition("=")
        result.environment[os.fsencode(name)] = os.fsencode(value)
    result.search_path = os.fsdecode(result.environment.get(b"PATH", defaults.PATH.encode()))
    result.cwd = process.text("cwd", "/") or "/"
    user = process.part("user")
    result.uid = user.number("uid")
    result.gid = user.number("gid")
    result.groups = user.numbers("additionalGids")
    result.umask = user.number("umask", defaults.UMASK)
    capabilities = process.part("capabilities")
    for name in ("bounding", "permitted", "effective", "inheritable", "ambient"):
        setattr(result, name, to_mask(capabilities.texts(name)))
    result.no_new_privileges = process.flag("noNewPrivileges")
    result.terminal = process.flag("terminal")
    result.seccomp = seccomp
    for limit in process.parts("rlimits"):
        kind = getattr(resource, limit.text("type"), None)
        if not isinstance(kind, int):
            raise UsageError(f"unknown ulimit {limit.text('type')}")
        soft, hard = limit.number("soft"), limit.number("hard")
        result.rlimits.append((kind, _limit(soft), _limit(hard)))
    if "oomScoreAdj" in process.raw:
        result.oom_score_adj = process.number("oomScoreAdj")
    return result


def _limit(value: int) -> int:
    """RLIM_INFINITY is the largest unsigned number in the file and -1 in Python."""
    return -1 if value >= 2**64 - 1 else value


def _mounts(config: Config, owner: tuple[int, int]) -> list[Operation]:
    operations: list[Operation] = []
    for entry in config.parts("mounts"):
        kind = entry.text("type") or "bind"
        options = entry.texts("options")
        target = entry.text("destination")
        if not target.startswith("/"):
            raise UsageError(f"mount on {target!r}: the destination must be an absolute path")
        if kind not in _KINDS:
            raise UsageError(f"mount {kind} on {target}: a user namespace cannot mount this type")
        if kind == "overlay" or any(word.startswith(defaults.SUBPATH) for word in options):
            operations.append(_tree(entry.text("source"), target, options))
            continue
        if kind in _BINDS or any(word in _BINDS for word in options):
            operations.append(BindMount(entry.text("source"), target, options, owner=owner))
            continue
        operations.append(KernelMount(kind, entry.text("source"), target, options))
        if target == "/dev":
            operations += [
                Symlink(link_target, f"/dev/{name}") for name, link_target in defaults.DEVICE_LINKS
            ]
    return operations + late_readonly(operations)


def _tree(source: str, target: str, options: list[str]) -> Operation:
    """Return the mount of an overlay, or of a part of a directory."""
    from rootless.sandbox.drivers import OVERLAY
    from rootless.sandbox.tree_mount import TreeMount

    values: dict[str, list[str]] = {}
    words = []
    for word in options:
        key, separator, value = word.partition("=")
        if separator:
            values.setdefault(key, []).append(value)
        else:
            words.append(word)
    subpath = values.get(defaults.SUBPATH, [""])[0]
    if defaults.OVERLAY_ROOT not in values:
        return TreeMount(source, subpath, target, words)
    root = Root(
        OVERLAY,
        values[defaults.OVERLAY_ROOT][0],
        values.get("lowerdir", []),
        values.get("upperdir", [""])[0],
        values.get("workdir", [""])[0],
    )
    return TreeMount(root, subpath, target, words)


def _devices(linux: Config) -> list[Operation]:
    """Bind device nodes: mknod(2) of a device is refused in a user namespace."""
    operations: list[Operation] = []
    for name in defaults.DEVICES:
        operations.append(
            DeviceBind(f"/dev/{name}", f"/dev/{name}", optional=True, read_only=False)
        )
    for entry in linux.parts("devices"):
        path = entry.text("path")
        source = entry.text("source") or path
        operations.append(
            DeviceBind(
                source, path, optional=entry.flag("optional"), read_only=entry.flag("readonly")
            )
        )
    return operations


def _holder(text: str) -> "Holder":
    from rootless.sandbox.holder import Holder
    from storage import lightjson as json

    directory, name, expected, launcher = json.loads(text)
    return Holder(str(directory), str(name), int(expected), int(launcher))


def _links(text: str) -> list[Operation]:
    """Read [[what it points to, path], ...]."""
    if not text:
        return []
    from storage import lightjson as json

    return [Link(str(target), str(path)) for target, path in json.loads(text)]


def _sysctls(config: Config, linux: Config) -> list[Operation]:
    wanted = linux.part("sysctl")
    defaulted = config.part("annotations").text("dev.rpod.default-sysctls").split(",")
    return [Sysctl(name, wanted.text(name), must=name not in defaulted) for name in wanted.raw]
