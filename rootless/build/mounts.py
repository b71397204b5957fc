"""`RUN --mount`: what the key of the step knows of them, and how they come into the sandbox."""

import contextlib
import os
import re

from rootless.build import image_config
from rootless.build.cache_mounts import open_cache
from rootless.build.contexts import Context
from rootless.build.copying import Copying
from rootless.build.model import Copy, CopyScope, Mount, Range, Tree
from rootless.build.mount_fields import SOURCES, TARGETS
from rootless.build.secrets import Secrets, SshAgents
from rootless.container import spec
from rootless.container.mounts import UserMount, parse_tmpfs
from rootless.errors import UsageError
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.operations import Operation
from rootless.sandbox.root import Root
from rootless.sandbox.tree_mount import SecretFile, TreeMount
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless.build.stage import StageBuilder

_TRUE = ("true", "1", "")
_FALSE = ("false", "0")
_SIZE = re.compile(r"\d{1,15}[kKmMgG]?[bB]?|\d{1,3}%")
_MODES = ("shared", "private", "locked")
_SECRET_MODE = 0o400
_SOCKET_MODE = 0o600


class Made(NamedTuple):
    """Mounts that are ready: what config.json says, what is done besides, and their places."""

    sources: tuple[spec.Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    targets: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012 - a record: never changed


class Fields:
    """The fields of one mount, by the names that they have. Raises UsageError."""

    def __init__(self, mount: Mount, workdir: str) -> None:
        self.kind = mount.kind
        self._values = dict(mount.fields)
        self._workdir = workdir

    def text(self, *names: str, default: str = "") -> str:
        for name in names:
            if name in self._values:
                return self._values[name]
        return default

    def target(self, default: str = "") -> str:
        text = self.text(*TARGETS, default=default)
        if not text:
            raise UsageError(f"--mount=type={self.kind}: a target is needed: target=PATH")
        path = image_config.join(self._workdir, text)
        if path == "/":
            raise UsageError(f"--mount=type={self.kind}: the target cannot be /")
        return path

    def flag(self, *names: str) -> bool | None:
        for name in names:
            value = self._values.get(name)
            if value is None:
                continue
            if value.lower() in _TRUE:
                return True
            if value.lower() in _FALSE:
                return False
            raise UsageError(f"--mount=type={self.kind}: {name} is true or false, not {value[:40]}")
        return None

    def number(self, name: str, default: int, *, base: int = 10) -> int:
        text = self._values.get(name)
        if text is None:
            return default
        try:
            value = int(text, base)
        except ValueError:
            value = -1
        if not 0 <= value < 2**31 or (base == 8 and value > 0o7777):
            raise UsageError(f"--mount=type={self.kind}: {name}={text[:40]} is no such number")
        return value

    def is_readonly(self, *, default: bool) -> bool:
        readonly = self.flag("ro", "readonly")
        writable = self.flag("rw", "readwrite")
        if readonly is not None:
            return readonly
        return not writable if writable is not None else default


class Mounts:
    """All mounts of one RUN, their words expanded."""

    def __init__(self, builder: "StageBuilder", mounts: tuple[Mount, ...]) -> None:
        self._builder = builder
        workdir = image_config.text(builder.config, "WorkingDir")
        self._all = [(mount, Fields(mount, workdir)) for mount in mounts]
        request = builder.build.request
        self._secrets = Secrets(request.secrets)
        self._agents = SshAgents(request.ssh)

    def inputs(self) -> dict[str, str]:
        """Return what the key of the step knows: contents of binds, of the others the words."""
        found = {}
        for number, (mount, fields) in enumerate(self._all, 1):
            text = f"{mount.kind} {sorted(mount.fields)}"
            if mount.kind == "bind":
                text += f" {self._digest(fields)}"
            found[f"mount {number} ({mount.kind})"] = text
        return found

    def _digest(self, fields: Fields) -> str:
        origin = self._origin(fields)
        source = fields.text(*SOURCES, default="/")
        copy = Copy(Range(0, 0), (source,), "/mount/")
        scope = CopyScope(b"", b"", "/", self._builder.build.platform)
        return Copying(self._builder.build.workplace, copy, origin, scope).digest()

    def _origin(self, fields: Fields) -> Context | Tree:
        name = fields.text("from")
        sources = self._builder.build.sources
        return sources.find(name) if name else sources.context()

    @contextlib.contextmanager
    def prepared(self, directory: str) -> "Iterator[Made]":
        """Make everything ready for one execution in the bundle `directory`."""
        with contextlib.ExitStack() as stack:
            made = Made()
            for number, (mount, fields) in enumerate(self._all):
                place = f"{directory}/mounts/{number}"
                os.mkdir(place, 0o711)
                make = getattr(self, f"_{mount.kind}")
                made = _joined(made, make(fields, place, stack))
            yield made

    def _bind(self, fields: Fields, place: str, stack: contextlib.ExitStack) -> Made:
        origin = self._origin(fields)
        target = fields.target()
        readonly = fields.is_readonly(default=True)
        path = fields.text(*SOURCES, default="/")
        tree: Root | str
        copied = isinstance(origin, Context) and self._has_foreign(origin, path, readonly=readonly)
        if isinstance(origin, Context) and readonly and not copied and not origin.is_filtered:
            tree = origin.path
        elif self._builder.build.workplace.driver == OVERLAY:
            tree = _overlay(place, self._lower(origin, copied=copied))
        else:
            tree = self._copied(origin, place, copied=copied)
        options = ["rbind", "rprivate", "nosuid", "nodev", *(["ro"] if readonly else [])]
        return Made(operations=(TreeMount(tree, path, target, options),), targets=(target,))

    def _has_foreign(self, origin: Context, path: str, *, readonly: bool) -> bool:
        """Whether only a copy, which belongs to root as after COPY, can be used as is promised."""
        maps = self._builder.build.host.id_maps()
        return origin.has_foreign(path, maps, readable=readonly)

    def _lower(self, origin: Context | Tree, *, copied: bool = False) -> list[str]:
        """Return directories, the top one first, that show the origin when they are merged."""
        if isinstance(origin, Context):
            return [self._builder.build.sources.filtered(origin, copied=copied)]
        layout = self._builder.build.host.layout
        return [layout.layer_diff(origin.map_key, chain) for chain in reversed(origin.chain_ids)]

    def _copied(self, origin: Context | Tree, place: str, *, copied: bool) -> str:
        """Return a copy of the origin, for hosts that cannot throw away what is written to it."""
        from storage.flatten import flatten_directories

        lower = self._lower(origin, copied=copied)
        os.mkdir(f"{place}/copy", 0o755)
        self._builder.build.workplace.run(
            lambda _: flatten_directories(reversed(lower), f"{place}/copy")
        )
        return f"{place}/copy"

    def _tmpfs(self, fields: Fields, place: str, stack: contextlib.ExitStack) -> Made:
        target = fields.target()
        words = ["notmpcopyup"]
        if text := fields.text("size"):
            if not _SIZE.fullmatch(text):
                raise UsageError(f"--mount=type=tmpfs: size={text[:40]} is not a size: 64m, 50%")
            words.append(f"size={text.lower().removesuffix('b')}")
        if fields.text("mode"):
            words.append(f"mode={fields.number('mode', 0, base=8):o}")
        mount = parse_tmpfs(f"{target}:{','.join(words)}")
        options = tuple(word for word in mount.options if word != "noexec")
        source = spec.Source(mount._replace(options=options), "", "")
        return Made(sources=(source,), targets=(target,))

    def _cache(self, fields: Fields, place: str, stack: contextlib.ExitStack) -> Made:
        target = fields.target()
        sharing = fields.text("sharing", default="shared")
        if sharing not in _MODES:
            raise UsageError(
                f"--mount=type=cache: unknown sharing {sharing[:40]!r}",
                remedy="use shared, private or locked",
            )
        seed = self._origin(fields) if fields.text("from") else None
        if isinstance(seed, Context):
            raise UsageError("--mount=type=cache: from= must name a stage or an image")
        path = stack.enter_context(
            open_cache(
                self._builder.build.workplace,
                fields.text("id", default=target),
                sharing,
                owner=(fields.number("uid", 0), fields.number("gid", 0)),
                mode=fields.number("mode", 0o755, base=8),
                seed=(seed, fields.text(*SOURCES, default="/")) if seed is not None else None,
            )
        )
        options = ("rbind", "rprivate", "ro" if fields.is_readonly(default=False) else "rw")
        source = spec.Source(UserMount("bind", path, target, options), path, "")
        return Made(sources=(source,), targets=(target,))

    def _secret(self, fields: Fields, place: str, stack: contextlib.ExitStack) -> Made:
        target, variable = fields.text(*TARGETS), fields.text("env")
        name = fields.text("id") or os.path.basename(target)
        if not name:
            raise UsageError("--mount=type=secret: id=NAME is needed")
        data = self._secrets.read(name, required=bool(fields.flag("required")))
        if data is None:
            return Made()
        environment = {}
        if variable:
            if b"\0" in data:
                raise UsageError(f"secret {name}: it has a NUL, so no variable can hold it")
            environment[variable] = os.fsdecode(data)
            if not target:
                return Made(environment=environment)
        path = fields.target(f"/run/secrets/{name}")
        ids = (fields.number("uid", 0), fields.number("gid", 0))
        mode = fields.number("mode", _SECRET_MODE, base=8)
        operation = SecretFile(path, data, mode, ids, int(os.path.basename(place)))
        return Made(operations=(operation,), targets=(path,), environment=environment)

    def _ssh(self, fields: Fields, place: str, stack: contextlib.ExitStack) -> Made:
        name = fields.text("id", default="default")
        path = self._agents.open(name, place, stack, required=bool(fields.flag("required")))
        if path is None:
            return Made()
        if any(fields.text(key) for key in ("uid", "gid", "mode")):
            path = self._forwarded(path, fields, place, stack)
        number = os.path.basename(place)
        target = fields.target(f"/run/buildkit/ssh_agent.{number}")
        options = ("bind", "rprivate", "rw")
        source = spec.Source(UserMount("bind", path, target, options), path, "")
        return Made(sources=(source,), targets=(target,), environment={"SSH_AUTH_SOCK": target})

    def _forwarded(
        self, agent: str, fields: Fields, place: str, stack: contextlib.ExitStack
    ) -> str:
        """Return a socket with the owner and mode that are asked for."""
        from rootless.build.agent_forward import forward

        ids = (fields.number("uid", 0), fields.number("gid", 0))
        mode = fields.number("mode", _SOCKET_MODE, base=8)
        path = forward(agent, place, stack)

        def give(_: object) -> None:
            os.chmod(path, mode)
            os.chown(path, *ids)

        self._builder.build.workplace.run(give)
        return path


def _overlay(place: str, lower: list[str]) -> Root:
    """Describe a root file system of layers whose changes are thrown away."""
    for name in ("rootfs", "upper", "work", "empty"):
        os.mkdir(f"{place}/{name}", 0o755)
    return Root(
        OVERLAY, f"{place}/rootfs", lower or [f"{place}/empty"], f"{place}/upper", f"{place}/work"
    )


def _joined(one: Made, two: Made) -> Made:
    return Made(
        one.sources + two.sources,
        one.operations + two.operations,
        one.targets + two.targets,
        {**one.environment, **two.environment},
    )
