"""The cgroup of a container: found or made at the start, entered by exec, removed at the end.

    rpod-ID.scope/            a transient scope of the user's systemd, delegated
        monitor/              the monitor and the network helper
        container/            the container: its limits, and the root of its cgroup namespace

What counts between containers, weights and protected memory, stands on the scope too (shares.py).

Without a user manager it is one directory, rpod-ID, in a cgroup that is delegated to the caller;
the monitor then stays where the caller is. Only limits that were asked for must hold: the default
of --pids-limit is set where there is a pids controller.
"""

import os

from rootless.container.request import DEFAULT_PIDS
from rootless.container.resources import Setting, check_cpus, settings
from rootless.errors import LimitError, UsageError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, has_manager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.host.paths import Host
    from rootless.linux.user_manager import Property
    from storage.containers import ContainerView

_ALL = ("cpuset", "cpu", "io", "memory", "pids")
_SLICE = "user.slice"
_UNITS = (".scope", ".service", ".slice")
_EXEC = "rpod-exec"
_PARENT = "dev.rpod.cgroup-parent"
_MODE = "dev.rpod.cgroups"
_MANAGER = "dev.rpod.cgroup-manager"
_GET_ONE = (
    "log in as this user (loginctl enable-linger makes a manager that stays), or"
    " start from a delegated cgroup, or add --limits=best-effort"
)
DROP_IN = (
    "as root: mkdir -p /etc/systemd/system/user@.service.d && "
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
    ">/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload && "
    "systemctl restart user@{uid}.service; or add --limits=best-effort"
)


class Place(str):
    """Where cgroups can be made: the directory; `manager` is systemd or cgroupfs."""

    manager = ""
    controllers: tuple[str, ...] = ()


def find_place(
    uid: int, environ: "Mapping[str, str]", manager: str = "", wanted: tuple[str, ...] = _ALL
) -> "Place | None":
    """Return where a container's cgroup would be made, None where nothing is delegated."""
    mount = cgroup.mount_point()
    if not mount:
        return None
    runtime = runtime_directory(uid, environ)
    if manager != "cgroupfs" and has_manager(runtime):
        directory = f"{mount}/user.slice/user-{uid}.slice/user@{uid}.service"
        if not os.path.isdir(directory):
            directory = mount + _ask_control_group(runtime)
        place = Place(directory)
        place.manager, place.controllers = "systemd", cgroup.controllers(directory)
        return place
    return None if manager == "systemd" else _delegated(mount, wanted)


def _ask_control_group(runtime: str) -> str:
    from rootless.linux.dbus import DBusError

    try:
        manager = UserManager(runtime)
        try:
            return manager.control_group()
        finally:
            manager.close()
    except (OSError, DBusError):
        return ""


def _delegated(mount: str, wanted: tuple[str, ...]) -> "Place | None":
    """Return the nearest of the caller's own cgroup and those above it that gives most.

    What lies above a unit of systemd's belongs to systemd, whoever owns the directory.
    """
    best: Place | None = None
    directory = mount + cgroup.own_path()
    while directory.startswith(mount) and cgroup.is_ours(directory):
        place = Place(directory)
        place.manager = "cgroupfs"
        place.controllers = cgroup.enabled(directory)
        if not cgroup.read_or_empty(f"{directory}/cgroup.procs"):
            place.controllers = cgroup.controllers(directory)  # nobody in it: all can be enabled
        gain = set(place.controllers) & set(wanted)
        if best is None or len(gain) > len(set(best.controllers) & set(wanted)):
            best = place
        if directory.endswith(_UNITS):
            break
        directory = os.path.dirname(directory)
    return best


def own_place() -> "Place | None":
    """Return the caller's own cgroup, which `split` divides; None when it is not delegated."""
    mount = cgroup.mount_point()
    directory = mount + cgroup.own_path()
    if not mount or not cgroup.is_ours(directory):
        return None
    place = Place(directory)
    place.manager, place.controllers = "cgroupfs", cgroup.controllers(directory)
    return place


def missing_error(option: str, controller: str, place: "Place | None", uid: int) -> LimitError:
    """Return what a limit without its controller is told."""
    if place is None:
        return LimitError(
            f"{option}: no cgroup here is delegated to you, so it cannot be enforced"
            f" (missing controller: {controller})",
            remedy=_GET_ONE,
        )
    if place.manager == "systemd":
        return LimitError(
            f"{option}: the controller {controller} is not delegated to you",
            remedy=DROP_IN.format(uid=uid),
        )
    return LimitError(
        f"{option}: the controller {controller} cannot be used below {place}",
        remedy="it has to be enabled in cgroup.subtree_control of a cgroup of yours that has no"
        " processes of its own; or add --limits=best-effort",
    )


# The connection of this monitor to a manager, by its runtime directory, or why there is none.
_ahead: "dict[str, UserManager | Exception]" = {}


def connect_ahead(host: "Host") -> None:
    """Connect to the user's systemd, where there is one, before it is known what to ask it for."""
    from rootless.linux.dbus import DBusError

    runtime = runtime_directory(host.uid, host.environ)
    if has_manager(runtime):
        try:
            _ahead[runtime] = UserManager(runtime)
        except (OSError, DBusError) as error:
            _ahead[runtime] = error


def _is_made(manager: UserManager, call: int) -> bool:
    """Wait for a scope; false where one of its name is still there. Raises OSError, DBusError."""
    from rootless.linux.dbus import DBusError

    try:
        manager.wait_scope(call)
    except DBusError as error:
        if error.name.endswith("UnitExists"):
            return False
        raise
    return True


class Group:
    """A container's cgroup while it is being made."""

    __slots__ = ("_about", "_asked", "_failed", "_manager", "_request", "_settings", "_unit",
                 "born", "directory", "environ", "fd", "mode", "note", "uid", "view")  # fmt: skip

    def __init__(self, host: "Host", view: "ContainerView", raw: dict[str, object]) -> None:
        annotations = raw.get("annotations")
        words = annotations if isinstance(annotations, dict) else {}
        linux = raw.get("linux")
        resources = linux.get("resources") if isinstance(linux, dict) else None
        self._settings = settings(resources if isinstance(resources, dict) else {})
        self.mode = str(words.get(_MODE, "enabled"))
        self.uid, self.environ, self.view = host.uid, host.environ, view
        self.directory = ""
        self.note = ""
        self.born = False
        self.fd = -1
        self._unit = f"rpod-{view.record.id}.scope"
        self._about = f"rpod container {view.record.name}"
        self._manager = str(words.get(_MANAGER, ""))
        self._asked = str(words.get(_PARENT, ""))
        self._request: tuple[UserManager, int] | None = None
        self._failed: Exception | None = None

    def ask(self) -> None:
        """Ask for the scope that `make` will wait for; what fails here is said there."""
        from rootless.linux.dbus import DBusError

        if self.mode in ("disabled", "no-monitor", "split"):
            return
        runtime = runtime_directory(self.uid, self.environ)
        if self._manager == "cgroupfs" or not has_manager(runtime):
            return
        ahead = _ahead.pop(runtime, None)
        if isinstance(ahead, Exception):
            self._failed = ahead
            return
        try:
            manager = ahead or UserManager(runtime)
            try:
                manager.set_timeout()
                self._request = (manager, manager.ask_scope(self._unit, *self._words(os.getpid())))
            except BaseException:
                manager.close()
                raise
        except (OSError, DBusError) as error:
            # A connection that was made ahead may be one of a manager that has ended since.
            self._failed = None if ahead else error

    def make(self) -> None:
        """Make it around the calling monitor; `fd` is where the container is to be born.

        Raises LimitError.
        """
        if self.mode in ("disabled", "no-monitor"):
            return
        self._make(0)

    def adopt(self, pid: int) -> None:
        """Take in a process that was not born in it. Raises LimitError."""
        if self.mode == "disabled" or (not self.directory and self.mode != "no-monitor"):
            return
        if not self.directory:
            self._make(pid)
        try:
            if self.directory:
                cgroup.move(self.directory, pid)
        except OSError as error:
            raise LimitError(
                f"move the container into its cgroup {self.directory}: {error.strerror}"
            ) from error

    def _make(self, pid: int) -> None:
        if self.mode == "split":
            place = own_place()
        else:
            place = find_place(self.uid, self.environ, self._manager, self._needed())
        if place is None:
            self._complain(None)
            return
        if place.manager == "systemd":
            parent = self._make_scope(pid or os.getpid())
            if not parent:
                return
        else:
            parent = self._make_directory(place)
        try:
            self._fill(parent, place, pid)
        except OSError as error:
            raise LimitError(
                f"make the cgroup {parent}: {error.strerror}",
                remedy="somebody else may have removed it: start the container again",
            ) from error

    def _needed(self) -> tuple[str, ...]:
        return tuple({setting.controller for setting in self._settings})

    def _must(self) -> list[Setting]:
        """The settings that were asked for."""
        default = Setting("pids.max", str(DEFAULT_PIDS), "--pids-limit")
        return [setting for setting in self._settings if setting != default]

    def _complain(self, place: Place | None) -> None:
        for setting in self._must():
            if setting.value != "max" and not setting.file.startswith("memory.swap"):
                raise missing_error(setting.option, setting.controller, place, self.uid)

    def _make_scope(self, pid: int) -> str:
        from rootless.linux.dbus import DBusError

        try:
            manager, call = self._request or (self._connect(), None)
            try:
                about = self._words(pid)
                try:
                    if call is None or not _is_made(manager, call):
                        manager.make_scope(self._unit, *about)
                except DBusError as error:
                    if not error.name.endswith("UnitExists"):
                        raise
                    # The last monitor still waits for a client that reads slowly.
                    self._unit = f"rpod-{self.view.record.id}-{os.getpid()}.scope"
                    manager.make_scope(self._unit, *about)
            finally:
                manager.close()
        except (OSError, DBusError) as error:
            text = getattr(error, "text", "") or getattr(error, "strerror", "") or str(error)
            if not self._must() and not self._asked:
                # Nothing was promised, but less is there than is usual.
                self.note = (
                    f"the user's systemd made no {self._unit[:17]}... ({text}): this container has"
                    " no cgroup of its own, so no limits, stats of its own or pause"
                )
                return ""
            raise LimitError(
                f"ask the user's systemd for {self._unit}: {text}",
                remedy="look at systemctl --user status; or use --cgroups=disabled without limits",
            ) from error
        return cgroup.mount_point() + cgroup.own_path(pid)

    def _connect(self) -> UserManager:
        if self._failed is not None:
            raise self._failed
        return UserManager(runtime_directory(self.uid, self.environ))

    def _words(self, pid: int) -> "tuple[str, str, int, int, list[Property]]":
        """What a scope is asked for with."""
        slice_name = os.path.basename(self._asked) or _SLICE
        return slice_name, self._about, pid, self.view.record.stop_timeout_s, self._shares()

    def _shares(self) -> "list[Property]":
        if all(setting.controller == "pids" for setting in self._settings):
            return []
        from rootless.container.shares import scope_properties

        return scope_properties(self._settings)

    def _make_directory(self, place: Place) -> str:
        parent = str(place)
        if self._asked:
            mount = cgroup.mount_point()
            parent = self._asked if self._asked.startswith(mount) else f"{mount}/{self._asked}"
            parent = os.path.normpath(parent)
            if not cgroup.is_ours(parent):
                raise LimitError(
                    f"--cgroup-parent {self._asked}: not a cgroup that is delegated to you",
                    remedy=f"use one below {place}",
                )
        return parent

    def _fill(self, parent: str, place: Place, pid: int) -> None:
        """Make the leaves and set the limits. Raises OSError, LimitError."""
        name = "container" if place.manager == "systemd" else f"rpod-{self.view.record.id}"
        leaf = f"{parent}/{name}"
        if os.path.isdir(leaf):
            cgroup.remove(leaf)
        os.mkdir(leaf)
        if place.manager == "systemd":
            os.mkdir(f"{parent}/monitor")
            cgroup.move(leaf if pid else f"{parent}/monitor", pid)
        elif self.mode == "split":
            _make_room(parent)
        self.directory = leaf
        try:
            there = cgroup.enable(parent, _ALL)
            self._check_there(there, place)
            apply(leaf, self._settings, self._must())
            if place.manager == "systemd":
                _weigh_monitor(parent, self._settings)
            self.fd = os.open(leaf, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            if place.manager == "cgroupfs":
                cgroup.remove(leaf)
            raise

    def _check_there(self, there: tuple[str, ...], place: Place) -> None:
        for setting in self._must():
            if setting.controller not in there and setting.value != "max":
                raise missing_error(setting.option, setting.controller, place, self.uid)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _make_room(parent: str) -> None:
    """Move rpod's own processes, and nobody else, out of the way of the limits: into a leaf."""
    leaf = f"{parent}/supervisor"
    os.makedirs(leaf, exist_ok=True)
    own = cgroup.own_path()
    command = cgroup.read_or_empty("/proc/self/cmdline")
    client = os.getppid()  # the command that forked this monitor, while it is attached
    if (
        cgroup.read_or_empty(f"/proc/{client}/cmdline") == command
        and cgroup.own_path(client) == own
    ):
        cgroup.move(leaf, client)
    cgroup.move(leaf, 0)


def apply(leaf: str, wanted: list[Setting], must: list[Setting]) -> None:
    """Write limits; a failure counts for those of `must`. Raises LimitError."""
    check_cpus(wanted, os.path.dirname(leaf))
    for setting in wanted:
        if setting in must:
            _check_parents(os.path.dirname(leaf), setting)
        try:
            cgroup.write(f"{leaf}/{setting.file}", setting.value)
        except FileNotFoundError as error:
            # Without swap accounting there is no swap either that could be used beyond --memory.
            if setting in must and not setting.file.startswith("memory.swap"):
                raise LimitError(
                    f"{setting.option}: this kernel has no {setting.file}"
                    f" (missing controller: {setting.controller})",
                    remedy="add --limits=best-effort to go without",
                ) from error
        except OSError as error:
            if setting in must:
                raise LimitError(
                    f"{setting.option}: write {setting.value!r} to {setting.file}: {error.strerror}"
                ) from error


def _weigh_monitor(scope: str, wanted: list[Setting]) -> None:
    """Give the monitor the weight of its container: its network helper works for that one."""
    for setting in wanted:
        if setting.file == "cpu.weight":
            cgroup.write(f"{scope}/monitor/{setting.file}", setting.value)


def share(directory: str, wanted: list[Setting], host: "Host") -> None:
    """Set on the scope of a container that runs what counts between containers.

    Raises LimitError.
    """
    from rootless.container.shares import scope_properties
    from rootless.linux.dbus import DBusError

    scope, leaf = os.path.split(directory)
    properties = scope_properties(wanted)
    if not properties or leaf != "container" or not scope.endswith(".scope"):
        return
    try:
        manager = UserManager(runtime_directory(host.uid, host.environ))
        try:
            manager.set_properties(os.path.basename(scope), properties)
        finally:
            manager.close()
        _weigh_monitor(scope, wanted)
    except (OSError, DBusError) as error:
        text = getattr(error, "text", "") or str(error)
        raise LimitError(
            f"ask the user's systemd for {properties[0][0]} of {os.path.basename(scope)}: {text}",
            remedy="look at systemctl --user status",
        ) from error


def _check_parents(directory: str, setting: Setting) -> None:
    """Refuse a limit that one above makes smaller."""
    if setting.file not in ("memory.max", "pids.max") or not setting.value.isdecimal():
        return
    mount = cgroup.mount_point()
    while mount and len(directory) > len(mount):
        text = cgroup.read_or_empty(f"{directory}/{setting.file}")
        if text.isdecimal() and int(text) < int(setting.value):
            raise LimitError(
                f"{setting.option} {setting.value}: more than {text}, the limit of {directory}",
                remedy=f"use at most {text}",
            )
        directory = os.path.dirname(directory)


def _place_for(
    host: "Host", annotations: dict[str, object], needed: tuple[str, ...]
) -> "Place | None":
    mode, parent = annotations.get(_MODE), str(annotations.get(_PARENT, ""))
    if mode == "disabled":
        return None
    if mode == "split":
        return own_place()
    place = find_place(host.uid, host.environ, str(annotations.get(_MANAGER, "")), needed)
    if parent and place is not None and place.manager == "systemd" and parent[-6:] != ".slice":
        raise UsageError(
            f"--cgroup-parent {parent}: systemd makes scopes below slices",
            remedy="use the name of a slice such as batch.slice, or --cgroup-manager=cgroupfs",
        )
    return place


def prepare(host: "Host", raw: dict[str, object], asked: list[str], limits: str) -> None:
    """Check the limits in config.json before anything is made; with best-effort replace some.

    Raises LimitError, UsageError.
    """
    if limits not in ("strict", "best-effort"):
        raise UsageError(f"--limits={limits}: use strict or best-effort")
    linux, annotations, process = raw["linux"], raw["annotations"], raw["process"]
    assert isinstance(linux, dict) and isinstance(annotations, dict) and isinstance(process, dict)
    parent = str(annotations.get(_PARENT, ""))
    if not asked and not parent:
        return
    resources = linux["resources"]
    wanted = settings(resources)
    needed = tuple({setting.controller for setting in wanted})
    place = _place_for(host, annotations, needed)
    there = place.controllers if place is not None else ()
    if limits == "best-effort":
        from rootless.container.best_effort import Effort

        effort = Effort(resources, [name for name in _ALL if name not in there])
        linux["resources"] = effort.left
        kinds = {entry["type"] for entry in effort.rlimits}
        others = [entry for entry in process["rlimits"] if entry["type"] not in kinds]
        process["rlimits"] = others + effort.rlimits
        if effort.cpus:
            annotations["dev.rpod.affinity"] = ",".join(str(number) for number in effort.cpus)
        for text in effort.notes:
            host.note(text)
        if parent and place is None:
            host.note(f"--cgroup-parent {parent}: left out, no cgroup here is delegated to you")
        return
    default = Setting("pids.max", str(DEFAULT_PIDS), "--pids-limit")
    for setting in wanted:
        if setting.controller in there or setting.value == "max" or setting == default:
            continue
        if annotations.get(_MODE) == "disabled":
            raise UsageError(f"{setting.option} and --cgroups=disabled do not go together")
        raise missing_error(setting.option, setting.controller, place, host.uid)
    if place is not None:
        check_cpus(wanted, place)
    elif parent and annotations.get(_MODE) != "disabled":
        raise LimitError(
            f"--cgroup-parent {parent}: no cgroup here is delegated to you", remedy=_GET_ONE
        )


def leave(directory: str) -> bool:
    """Remove the cgroup of an ended container; true when the kernel killed in it for memory."""
    events = cgroup.counters(f"{directory}/memory.events")
    if os.path.basename(directory) != "container":
        cgroup.kill(directory)
        cgroup.remove(directory)
    # A scope ends with the monitor, which is the last process in it; systemd removes it.
    return events.get("oom_kill", 0) > 0


def join(directory: str, pid: int, host: "Host") -> None:
    """Move a process that exec has made into the container's cgroup. Raises LimitError."""
    try:
        if cgroup.enabled(directory):
            # The container divides it (systemd does): processes may be in its leaves only (EBUSY).
            directory = f"{directory}/{_EXEC}"
            os.makedirs(directory, exist_ok=True)
        cgroup.move(directory, pid)
    except PermissionError:
        _join_by_manager(directory, pid, host)  # the cgroup above both is root's
    except OSError as error:
        raise LimitError(
            f"enter the cgroup {directory}: {error.strerror}",
            remedy="somebody else may have removed it: start the container again",
        ) from error


def _join_by_manager(directory: str, pid: int, host: "Host") -> None:
    from rootless.linux.dbus import DBusError

    unit, below = _unit_and_rest(directory)
    try:
        manager = UserManager(runtime_directory(host.uid, host.environ))
        try:
            manager.attach(unit, f"/{below}", pid)
        finally:
            manager.close()
    except (OSError, DBusError) as error:
        text = getattr(error, "text", "") or str(error)
        raise LimitError(f"enter the cgroup of the container by {unit}: {text}") from error


def _unit_and_rest(directory: str) -> tuple[str, str]:
    """Return the innermost unit that a cgroup is in, and the path below it."""
    parts = directory.split("/")
    index = next(
        (index for index in range(len(parts) - 2, 0, -1) if parts[index].endswith(_UNITS)),
        len(parts) - 2,
    )
    return parts[index], "/".join(parts[index + 1 :])
