"""Answers intercepted calls of processes under root emulation: ids and groups.

What a process has been told of its ids is an index into a table, kept in its own soft limit of
RLIMIT_LOCKS, which no kernel since 2.4 uses: the kernel hands it down at fork and exec, so a child
has its parent's ids at the moment of the fork, whoever asks first and in whatever order. Files are
the part of `rootless.sandbox.emulated_files`.
"""

import _socket  # not `socket`: nothing can be loaded any more where this runs
import errno
import os
import resource
import struct

from rootless.linux import notify
from rootless.sandbox import credentials, syscall_numbers
from rootless.sandbox.credentials import KEEP, ROOT, Credentials
from rootless.sandbox.emulated_calls import COMPAT, call_numbers
from rootless.sandbox.emulated_files import Files
from rootless.sandbox.emulated_stat import stat_handlers
from rootless.sandbox.seccomp_compiler import table_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.linux.notify import Notification

_RLIMIT_LOCKS = 10
_GROUPS_LIMIT = 65536
_PR_SET_KEEPCAPS_VALUE = 1
_UCRED = struct.Struct("=III")

PROCEED = None
"""What a handler returns when the kernel shall do the call itself."""


def refuse(number: int) -> OSError:
    """Return the error for a call that fails."""
    return OSError(number, os.strerror(number))


def as_id(word: int) -> int:
    """Return an id argument; KEEP for the one that leaves things as they are."""
    value = word & 0xFFFFFFFF
    return KEEP if value == 0xFFFFFFFF else value


class Emulator:
    """All the processes of one container; `serve` answers one call of a listener."""

    def __init__(self, files: Files, machine: str) -> None:
        self.files = files
        self._beginnings: dict[int, Credentials] = {}
        self._table: list[Credentials] = [ROOT]
        self._index: dict[Credentials, int] = {ROOT: 0}
        native = table_name(machine)
        by_name = self._by_name()
        self._handlers = {
            syscall_numbers.AUDIT_ARCH[architecture]: {
                known[name]: handler for name, handler in by_name.items() if name in known
            }
            for architecture in (native, COMPAT.get(native, native))
            for known in (call_numbers(architecture),)
        }

    def _by_name(self) -> "dict[str, Callable[[Notification], int | None]]":
        ids: dict[str, Callable[[Notification], int | None]] = {
            "getuid": lambda n: self.credentials(n.pid).ruid,
            "geteuid": lambda n: self.credentials(n.pid).euid,
            "getgid": lambda n: self.credentials(n.pid).rgid,
            "getegid": lambda n: self.credentials(n.pid).egid,
            "getresuid": self._getresuid,
            "getresgid": self._getresgid,
            "getgroups": self._getgroups,
            "setgroups": self._setgroups,
            "setuid": self._one(credentials.set_uid),
            "setgid": self._one(credentials.set_gid),
            "setreuid": self._two(credentials.set_reuid),
            "setregid": self._two(credentials.set_regid),
            "setresuid": self._three(credentials.set_resuid),
            "setresgid": self._three(credentials.set_resgid),
            "setfsuid": self._setfsuid,
            "setfsgid": self._setfsgid,
            "prctl": self._keepcaps,
            "getsockopt": self._peer,
        }
        for name, handler in (self.files.handlers() | stat_handlers(self.files)).items():
            ids[name] = self._of_files(handler)
        return ids

    def serve(self, listener: int) -> None:
        """Take one call and answer it."""
        try:
            call = notify.receive(listener)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # its process was killed while it waited
            raise
        self.files.listener = listener
        value: int | None = 0
        number = flags = 0
        try:
            if listener in self._beginnings:
                self._become(call.pid, self._beginnings.pop(listener))
            value = self._handlers[call.architecture][call.number](call)
            if value is None:
                value, flags = 0, notify.CONTINUE
        except OSError as error:
            value, number = 0, error.errno or errno.EIO
        except Exception:  # noqa: BLE001 - whatever a program passes, the others are served
            value, number = 0, errno.EINVAL
        if value == self.files.ANSWERED:
            return
        try:
            notify.respond(listener, call.id, value, number, flags)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def begin_as(self, listener: int, ids: list[int]) -> None:
        """Show the process of a listener a user, a group and groups from its first call on."""
        uid, gid, *groups = ids
        users = credentials.set_uid(ROOT, uid)
        self._beginnings[listener] = credentials.set_gid(
            users._replace(capable=True), gid
        )._replace(groups=tuple(groups), capable=uid == 0)

    def credentials(self, pid: int) -> Credentials:
        """Return what a process has been told of its ids."""
        try:
            index = resource.prlimit(pid, _RLIMIT_LOCKS)[0]
        except (OSError, ValueError):
            return ROOT  # it has just ended
        # Not ours: the program uses the limit itself.
        return self._table[index] if 0 <= index < len(self._table) else ROOT

    def _become(self, pid: int, new: Credentials) -> int:
        index = self._index.get(new)
        if index is None:
            index = self._index[new] = len(self._table)
            self._table.append(new)
        _, hard = resource.prlimit(pid, _RLIMIT_LOCKS)
        soft = index if index else hard
        resource.prlimit(pid, _RLIMIT_LOCKS, (soft, hard))
        return 0

    def _one(
        self, rule: "Callable[[Credentials, int], Credentials]"
    ) -> "Callable[[Notification], int | None]":
        return lambda n: self._become(
            n.pid, rule(self.credentials(n.pid), n.arguments[0] & 0xFFFFFFFF)
        )

    def _two(
        self, rule: "Callable[[Credentials, int, int], Credentials]"
    ) -> "Callable[[Notification], int | None]":
        return lambda n: self._become(
            n.pid, rule(self.credentials(n.pid), *map(as_id, n.arguments[:2]))
        )

    def _three(
        self, rule: "Callable[[Credentials, int, int, int], Credentials]"
    ) -> "Callable[[Notification], int | None]":
        return lambda n: self._become(
            n.pid, rule(self.credentials(n.pid), *map(as_id, n.arguments[:3]))
        )

    def _setfsuid(self, call: "Notification") -> int:
        old = self.credentials(call.pid)
        self._become(call.pid, credentials.set_fsuid(old, as_id(call.arguments[0])))
        return old.fsuid

    def _setfsgid(self, call: "Notification") -> int:
        old = self.credentials(call.pid)
        self._become(call.pid, credentials.set_fsgid(old, as_id(call.arguments[0])))
        return old.fsgid

    def _getresuid(self, call: "Notification") -> int:
        own = self.credentials(call.pid)
        return self._write_three(call, (own.ruid, own.euid, own.suid))

    def _getresgid(self, call: "Notification") -> int:
        own = self.credentials(call.pid)
        return self._write_three(call, (own.rgid, own.egid, own.sgid))

    def _write_three(self, call: "Notification", ids: tuple[int, int, int]) -> int:
        for address, value in zip(call.arguments, ids, strict=False):
            notify.write_memory(call.pid, address, struct.pack("=I", value))
        return 0

    def _getgroups(self, call: "Notification") -> int | None:
        groups = self.credentials(call.pid).groups
        if groups is None:
            return PROCEED  # the caller's own, which go on to count
        room = call.arguments[0] & 0xFFFFFFFF
        if room:
            if room < len(groups):
                raise refuse(errno.EINVAL)
            data = struct.pack(f"={len(groups)}I", *groups)
            if data:
                notify.write_memory(call.pid, call.arguments[1], data)
        return len(groups)

    def _setgroups(self, call: "Notification") -> int:
        count = call.arguments[0] & 0xFFFFFFFF
        if count > _GROUPS_LIMIT:
            raise refuse(errno.EINVAL)
        data = b""
        while len(data) < 4 * count:
            part = min(4 * count - len(data), 4096)
            data += notify.read_memory(call.pid, call.arguments[1] + len(data), part)
        groups = struct.unpack(f"={count}I", data)
        return self._become(call.pid, credentials.set_groups(self.credentials(call.pid), groups))

    def _keepcaps(self, call: "Notification") -> int | None:
        keep = call.arguments[1] == _PR_SET_KEEPCAPS_VALUE
        self._become(call.pid, self.credentials(call.pid)._replace(keep=keep))
        return PROCEED

    def _peer(self, call: "Notification") -> int | None:
        """SO_PEERCRED: the ids that the peer of a socket has been told, with its own number."""
        fd, _, _, address, length_address, _ = call.arguments
        length = struct.unpack("=I", notify.read_memory(call.pid, length_address, 4))[0]
        if length < _UCRED.size:
            return PROCEED
        group = self.files.thread_group(call.pid)
        pidfd = os.pidfd_open(group)
        try:
            mine = notify.get_fd(pidfd, fd & 0xFFFFFFFF)
        finally:
            os.close(pidfd)
        peer = _socket.socket(fileno=mine)
        try:
            data = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
        finally:
            peer.close()
        pid, _, _ = _UCRED.unpack(data)
        inside = self.files.inner_pid(pid) if pid else 0
        if not inside:
            return PROCEED
        own = self.credentials(pid)
        notify.write_memory(call.pid, address, _UCRED.pack(inside, own.euid, own.egid))
        notify.write_memory(call.pid, length_address, struct.pack("=I", _UCRED.size))
        return 0

    def _of_files(
        self, handler: "Callable[[Notification, Credentials], int | None]"
    ) -> "Callable[[Notification], int | None]":
        return lambda n: handler(n, self.credentials(n.pid))
