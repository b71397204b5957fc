"""The cgroup of a container, made at its start (entered and removed: cgroup_use.py).

    rpod-ID.scope/            a transient scope of the user's systemd, delegated
        monitor/              the monitor and the network helper
        container/            the container: its limits, and the root of its cgroup namespace

What counts between containers, weights and protected memory, stands on the scope too (shares.py).

Without a user manager it is one directory, rpod-ID, in a cgroup that is delegated to the caller;
the monitor then stays where the caller is. Only limits that were asked for must hold: the default
of --pids-limit is set where there is a pids controller.
"""

import os

from rootless.container.cgroup_limits import apply, weigh_monitor
from rootless.container.cgroup_places import (
    CONTROLLERS,
    MANAGER,
    MODE,
    PARENT,
    Place,
    find_place,
    missing_error,
    own_place,
)
from rootless.container.request import DEFAULT_PIDS
from rootless.container.resources import Setting, settings
from rootless.errors import LimitError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, has_manager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from rootless.linux.user_manager import Property
    from storage.containers import ContainerView

_SLICE = "user.slice"
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

    __slots__ = ("_about", "_asked", "_failed", "_manager", "_place", "_request", "_settings",
                 "_unit", "born", "directory", "environ", "fd", "is_late", "mode", "note",
                 "uid", "view")  # fmt: skip

    def __init__(self, host: "Host", view: "ContainerView", raw: dict[str, object]) -> None:
        annotations = raw.get("annotations")
        words = annotations if isinstance(annotations, dict) else {}
        linux = raw.get("linux")
        resources = linux.get("resources") if isinstance(linux, dict) else None
        self._settings = settings(resources if isinstance(resources, dict) else {})
        self.mode = str(words.get(MODE, "enabled"))
        self.uid, self.environ, self.view = host.uid, host.environ, view
        self.directory = ""
        self.note = ""
        self.born = False
        self.fd = -1
        self._unit = f"rpod-{view.record.id}.scope"
        self._about = f"rpod container {view.record.name}"
        self._manager = str(words.get(MANAGER, ""))
        self._asked = str(words.get(PARENT, ""))
        self.is_late = False  # systemd makes it, around a child that is there already
        self._place: Place | None = None
        self._request: tuple[UserManager, int] | None = None
        self._failed: Exception | None = None

    def begin(self, *, at_once: bool = False) -> None:
        """Find its place; where systemd is not to make it around the child, make it.

        `fd` is then where the container is to be born. `at_once`: what is started before the child
        has to be in a scope, too. Raises LimitError.
        """
        if self.mode == "disabled":
            return
        if self.mode == "split":
            self._place = own_place()
        else:
            self._place = find_place(self.uid, self.environ, self._manager, self._needed())
        if self._place is None:
            self._complain(None)
        elif self._place.manager != "systemd":
            self._make(self._make_directory(self._place), self._place, 0)
        elif at_once and self.mode != "no-monitor":
            self.ask(0)
            if parent := self._wait_scope(0):
                self._make(parent, self._place, 0)
        else:
            self.is_late = True

    def ask(self, pid: int) -> None:
        """Ask for a scope around a child; what fails here is said by whoever waits for it."""
        from rootless.linux.dbus import DBusError

        runtime = runtime_directory(self.uid, self.environ)
        ahead = _ahead.pop(runtime, None)
        if isinstance(ahead, Exception):
            self._failed = ahead
            return
        try:
            manager = ahead or UserManager(runtime)
            try:
                manager.set_timeout()
                self._request = (manager, manager.ask_scope(self._unit, *self._words(pid)))
            except BaseException:
                manager.close()
                raise
        except (OSError, DBusError) as error:
            # A connection that was made ahead may be one of a manager that has ended since.
            self._failed = None if ahead else error

    def finish(self, pid: int) -> None:
        """Have a child in it that waits; it is born there, or moved. Raises LimitError."""
        if self.is_late:
            assert self._place is not None
            if parent := self._wait_scope(pid):
                self._make(parent, self._place, pid)
        elif self.directory and not self.born:
            try:
                cgroup.move(self.directory, pid)
            except OSError as error:
                raise LimitError(
                    f"move the container into its cgroup {self.directory}: {error.strerror}"
                ) from error

    def _make(self, parent: str, place: Place, pid: int) -> None:
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

    def _wait_scope(self, pid: int) -> str:
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
        return cgroup.mount_point() + cgroup.own_path(pid or "self")

    def _connect(self) -> UserManager:
        if self._failed is not None:
            raise self._failed
        return UserManager(runtime_directory(self.uid, self.environ))

    def _words(self, pid: int) -> "tuple[str, str, list[int], int, list[Property]]":
        """What a scope is asked for with."""
        slice_name = os.path.basename(self._asked) or _SLICE
        monitor = 0 if self.mode == "no-monitor" else os.getpid()
        pids = [one for one in (monitor, pid) if one]
        return slice_name, self._about, pids, self.view.record.stop_timeout_s, self._shares()

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
            from rootless.container.cgroup_use import clear

            clear(leaf, self.view.record)
            cgroup.remove(leaf)
        os.mkdir(leaf)
        if place.manager == "systemd":
            os.mkdir(f"{parent}/monitor")
            if self.mode != "no-monitor":
                cgroup.move(f"{parent}/monitor", 0)
            if pid:
                cgroup.move(leaf, pid)
        elif self.mode == "split":
            _make_room(parent)
        self.directory = leaf
        try:
            there = cgroup.enable(parent, CONTROLLERS)
            self._check_there(there, place)
            apply(leaf, self._settings, self._must())
            if place.manager == "systemd":
                weigh_monitor(parent, self._settings)
            if not pid:
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
