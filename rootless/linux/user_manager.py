"""The user's systemd manager over D-Bus: scopes, and processes that are moved into them.

systemd's own socket is asked first (no bus in between, there even without a session bus), then the
user's bus. org.freedesktop.systemd1(5).
"""

import os
import time

from rootless.linux.dbus import Connection, DBusError

_MANAGER = "org.freedesktop.systemd1.Manager"
_PATH = "/org/freedesktop/systemd1"
_DESTINATION = "org.freedesktop.systemd1"
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_UNLIMITED = 2**64 - 1
_RETRY_S = 0.02
_STOP_S, _MARGIN_S = 85, 5
TIMEOUT_S = 10.0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Property = tuple[str, tuple[str, object]]


def runtime_directory(uid: int, environ: "Mapping[str, str]") -> str:
    """Return the user's runtime directory, one with a manager first.

    That of another user, left by su, does not count.
    """
    found = ""
    for path in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        try:
            if path.startswith("/") and os.stat(path).st_uid == uid:
                if has_manager(path):
                    return path
                found = found or path
        except OSError:
            continue
    return found


def has_manager(runtime: str) -> bool:
    """Whether a user manager listens there."""
    return bool(runtime) and os.path.exists(f"{runtime}/systemd/private")


class UserManager:
    """A connection to the user's systemd."""

    __slots__ = ("_connection", "_destination")

    def __init__(self, runtime: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Connect. Raises OSError, DBusError."""
        self._destination = ""
        try:
            path = f"{runtime}/systemd/private"
            self._connection = Connection(path, is_bus=False, timeout_s=timeout_s)
        except (OSError, DBusError) as error:
            if isinstance(error, DBusError) and error.name == "timeout":
                raise
            self._connection = Connection(f"{runtime}/bus", is_bus=True, timeout_s=timeout_s)
            self._destination = _DESTINATION
            rule = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"
            driver = "org.freedesktop.DBus"
            self._connection.send(
                (driver, "/org/freedesktop/DBus", driver, "AddMatch"), "s", (rule,)
            )

    def close(self) -> None:
        self._connection.close()

    def set_timeout(self, timeout_s: float = TIMEOUT_S) -> None:
        """Begin to count the time that all further calls together may take."""
        self._connection.set_timeout(timeout_s)

    def ask_scope(
        self,
        name: str,
        slice_name: str,
        about: str,
        pids: "Sequence[int]",
        stop_timeout_s: int = 0,
        more: "Sequence[Property]" = (),
    ) -> int:
        """Ask for a scope around processes and return the call to wait for.

        `stop_timeout_s` is how long it takes to stop what is in it, -1 for no limit; systemd's
        own 90 seconds are the least. `more` are other properties: a name and a variant each.
        """
        properties: list[object] = [
            ("Description", ("s", about)),
            ("PIDs", ("au", list(pids))),
            ("Delegate", ("b", True)),
            ("CollectMode", ("s", "inactive-or-failed")),
            # What a container may have is said by its own limits below the scope.
            ("TasksMax", ("t", _UNLIMITED)),
            *more,
        ]
        if stop_timeout_s < 0 or stop_timeout_s > _STOP_S:
            usec = _UNLIMITED if stop_timeout_s < 0 else (stop_timeout_s + _MARGIN_S) * 1_000_000
            properties.append(("TimeoutStopUSec", ("t", usec)))
        if slice_name:
            properties.append(("Slice", ("s", slice_name)))
        return self._connection.send(
            self._target("StartTransientUnit"), "ssa(sv)a(sa(sv))", (name, "fail", properties, [])
        )

    def wait_scope(self, serial: int) -> None:
        """Return when the scope stands and the processes are in it. Raises OSError, DBusError."""
        self._wait_job(serial)

    def restart_unit(self, name: str) -> None:
        """Restart a unit, or start it, and wait until it has. Raises OSError, DBusError."""
        target = self._target("RestartUnit")
        self._wait_job(self._connection.send(target, "ss", (name, "replace")))

    def _wait_job(self, serial: int) -> None:
        job = self._connection.reply(serial)[0]
        while True:
            body = self._connection.signal("JobRemoved")
            if body[1] == job:
                break
        if body[3] != "done":
            raise DBusError(str(body[3]), f"the job ended with {body[3]}")

    def make_scope(
        self,
        name: str,
        slice_name: str,
        about: str,
        pids: "Sequence[int]",
        stop_timeout_s: int = 0,
        more: "Sequence[Property]" = (),
    ) -> None:
        """Make a scope, after an ended one of the same name has gone. Raises OSError, DBusError."""
        last_s = time.monotonic() + 0.5
        while True:
            try:
                call = self.ask_scope(name, slice_name, about, pids, stop_timeout_s, more)
                self.wait_scope(call)
            except DBusError as error:
                if error.name != _EXISTS or time.monotonic() > last_s:
                    raise
            else:
                return
            time.sleep(_RETRY_S)

    def attach(self, unit: str, below: str, pid: int) -> None:
        """Move a process into a delegated unit, `below` it ("/leaf"). Raises OSError, DBusError."""
        target = self._target("AttachProcessesToUnit")
        self._connection.call(target, "ssau", (unit, below, [pid]))

    def set_properties(self, unit: str, properties: "Sequence[Property]") -> None:
        """Change properties of a unit until it ends. Raises OSError, DBusError."""
        body = (unit, True, list(properties))
        self._connection.call(self._target("SetUnitProperties"), "sba(sv)", body)

    def reload(self) -> None:
        """Have the units read anew. Raises OSError, DBusError."""
        self._connection.call(self._target("Reload"), "", ())

    def control_group(self) -> str:
        """Return the path of the manager's own cgroup. Raises OSError, DBusError."""
        interface = "org.freedesktop.DBus.Properties"
        target = (self._destination, _PATH, interface, "Get")
        value = self._connection.call(target, "ss", (_MANAGER, "ControlGroup"))
        return str(value[0])

    def _target(self, member: str) -> tuple[str, str, str, str]:
        return (self._destination, _PATH, _MANAGER, member)
