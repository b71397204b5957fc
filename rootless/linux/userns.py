"""User namespaces: id maps, the two setuid helpers, and running a function as root of one.

user_namespaces(7): the parent writes the maps of its child. Ranges other than the caller's own
id need newuidmap(1) and newgidmap(1), started side by side: they are the longest wait of a start.
"""

import errno
import os
import sys

from rootless.errors import HostError, IdMapError, NoUserNamespace, RootlessError, words_of
from rootless.linux import signals as signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Emit = Callable[[object], None]

IdRange = tuple[int, int, int]


class IdMaps:
    """(container id, host id, count) ranges for users and for groups."""

    __slots__ = ("gids", "uids")

    def __init__(self, uids: tuple[IdRange, ...], gids: tuple[IdRange, ...]) -> None:
        self.uids = uids
        self.gids = gids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdMaps):
            return NotImplemented
        return (self.uids, self.gids) == (other.uids, other.gids)

    def __hash__(self) -> int:
        return hash((self.uids, self.gids))

    def __repr__(self) -> str:
        return f"IdMaps({self.uids!r}, {self.gids!r})"

    @property
    def is_single(self) -> bool:
        """Whether only one user and one group id can be had."""
        return sum(r[2] for r in self.uids) == 1 and sum(r[2] for r in self.gids) == 1


def to_host(ranges: tuple[IdRange, ...], container_id: int) -> int | None:
    """Return the host's id for one of the container, None when it is not mapped."""
    for inside, outside, count in ranges:
        if inside <= container_id < inside + count:
            return outside + container_id - inside
    return None


def apply_maps(pid: int, maps: IdMaps, meanwhile: "Callable[[], object] | None" = None) -> None:
    """Write the id maps of `pid`, which has just entered a new user namespace.

    `meanwhile` is called once, where newuidmap and newgidmap are started while they work.
    Raises IdMapError with what they said.
    """
    if maps.is_single or os.geteuid() == 0:
        _write_maps(pid, maps)
        if meanwhile is not None:
            meanwhile()
        return
    running = [
        _start_helper("newuidmap", pid, maps.uids),
        _start_helper("newgidmap", pid, maps.gids),
    ]
    try:
        if meanwhile is not None:
            meanwhile()
    finally:
        failures = [text for helper in running if (text := _finish_helper(*helper))]
    if failures:
        raise IdMapError(
            "map user and group ids: " + "; ".join(failures),
            remedy="run `rpod doctor`: /etc/subuid and /etc/subgid must grant these ranges,"
            " and newuidmap and newgidmap must be setuid root",
        )


def _write_maps(pid: int, maps: IdMaps) -> None:
    try:
        if maps.is_single and os.geteuid() != 0:
            _write(f"/proc/{pid}/setgroups", b"deny")
        for name, ranges in (("uid_map", maps.uids), ("gid_map", maps.gids)):
            text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
            _write(f"/proc/{pid}/{name}", text.encode())
    except OSError as error:
        remedy = ""
        if error.errno == errno.EPERM and not _has_all_ids():
            remedy = "ids are missing in this namespace: run it outside of `rpod unshare`"
        raise IdMapError(
            f"map user and group ids: write {error.filename}: {error.strerror}", remedy=remedy
        ) from error


def _has_all_ids(path: str = "/proc/self/uid_map") -> bool:
    with open(path, encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _start_helper(name: str, pid: int, ranges: tuple[IdRange, ...]) -> tuple[str, int, int]:
    arguments = [name, str(pid)]
    for entry in ranges:
        arguments += [str(number) for number in entry]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.posix_spawnp(
            name,
            arguments,
            {"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            file_actions=[(os.POSIX_SPAWN_DUP2, writer, 2)],
        )
    except OSError as error:
        os.close(reader)
        raise IdMapError(
            f"start {name}: {error.strerror}", remedy="install it: apt-get install uidmap"
        ) from error
    finally:
        os.close(writer)
    return name, child, reader


def _finish_helper(name: str, child: int, reader: int) -> str:
    said = b""
    while chunk := os.read(reader, 4096):
        said += chunk
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return ""
    return said.decode(errors="replace").strip() or f"{name}: exit status {status >> 8}"


def no_namespace_error(error: OSError) -> NoUserNamespace:
    """Explain a refused user namespace with the setting to change."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        is_filtered = "\nSeccomp:\t0\n" not in file.read()
    if error.errno == errno.EPERM and is_filtered:
        return NoUserNamespace(
            f"make a user namespace: {error.strerror}: a seccomp filter forbids it",
            remedy="in a container: start that one with --security-opt seccomp=unconfined (docker),"
            " or by podman or rpod; `rpod doctor` tells more",
        )
    return NoUserNamespace(
        f"make a user namespace: {error.strerror}",
        remedy="ask the administrator to allow it: sysctl user.max_user_namespaces,"
        " kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0;"
        " `rpod doctor` names the one that is missing",
    )


def become_root() -> None:
    """Take uid and gid 0 of the user namespace whose maps have been written.

    With a single id that stands for itself (keep-id) there is no 0: the process keeps its id, and
    with it all capabilities over the namespace, until it executes a program.
    """
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def run_in_userns(
    function: "Callable[[Emit], object]",
    maps: IdMaps,
    *,
    on_event: "Emit | None" = None,
    new_mounts: bool = False,
    prepare: "Callable[[], object] | None" = None,
) -> object:
    """Run `function(emit)` as root of a new user namespace, in a forked child.

    `prepare`, say imports, runs in the child while newuidmap and newgidmap do their work. What
    `function` returns and what it emits must be JSON values; they reach the caller over a pipe.
    An error with `message` and `remedy` is raised again here with its class.
    """

    sys.stdout.flush()
    sys.stderr.flush()
    results, child_results = os.pipe2(os.O_CLOEXEC)
    ready, child_ready = os.pipe2(os.O_CLOEXEC)
    go, parent_go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        for fd in (results, ready, parent_go):
            os.close(fd)

        def enter() -> None:
            from rootless.linux import syscalls

            try:
                flags = syscalls.CLONE_NEWUSER | (syscalls.CLONE_NEWNS if new_mounts else 0)
                syscalls.unshare(flags)
            except OSError as error:
                raise no_namespace_error(error) from error
            os.write(child_ready, b"r")
            if prepare is not None:
                prepare()
            if not os.read(go, 1):
                raise HostError("the id maps of a user namespace were not written")

        _child(function, enter, child_results)
    for fd in (child_results, child_ready, go):
        os.close(fd)
    try:
        if os.read(ready, 1):
            apply_maps(pid, maps)
            os.write(parent_go, b"g")
        return _receive(results, on_event)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        for fd in (results, ready, parent_go):
            os.close(fd)
        os.waitpid(pid, 0)


class UserNamespace:
    """A user namespace that lasts as long as the object: maps are written once, for many jobs."""

    def __init__(self, maps: IdMaps) -> None:
        """Raise NoUserNamespace, IdMapError."""
        from rootless.linux import syscalls

        ready, child_ready = os.pipe2(os.O_CLOEXEC)
        go, parent_go = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                os.close(parent_go)
                syscalls.unshare(syscalls.CLONE_NEWUSER)
                os.write(child_ready, b"r")
                os.read(go, 1)
            except OSError as error:
                os.write(child_ready, b"%d" % (error.errno or 0))
            finally:
                os._exit(0)
        os.close(child_ready)
        os.close(go)
        try:
            answer = os.read(ready, 16)
            if answer != b"r":
                number = int(answer or b"0")
                raise no_namespace_error(OSError(number, os.strerror(number)))
            self._fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                apply_maps(pid, maps)
            except BaseException:
                self.close()
                raise
        finally:
            os.close(ready)
            os.close(parent_go)
            os.waitpid(pid, 0)

    def run(self, function: "Callable[[Emit], object]", on_event: "Emit | None" = None) -> object:
        """Run `function(emit)` as root of the namespace; see `run_in_userns`."""
        from rootless.linux import syscalls

        sys.stdout.flush()
        sys.stderr.flush()
        results, child_results = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(results)
            _child(
                function, lambda: syscalls.setns(self._fd, syscalls.CLONE_NEWUSER), child_results
            )
        os.close(child_results)
        try:
            return _receive(results, on_event)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(results)
            os.waitpid(pid, 0)

    @property
    def fd(self) -> int:
        """A descriptor of the namespace, for setns(2)."""
        return self._fd

    def close(self) -> None:
        """Let go of the namespace."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> "UserNamespace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _child(function: "Callable[[Emit], object]", enter: "Callable[[], None]", results: int) -> None:
    """Body of the forked child; never returns."""
    import json

    from rootless.linux import syscalls

    def send(kind: str, value: object) -> None:
        data = json.dumps([kind, value]).encode() + b"\n"
        while data:
            data = data[os.write(results, data) :]

    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        enter()
        become_root()
        # Changing the id may have cleared it (prctl(2)).
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        send("result", function(lambda event: send("event", event)))
        status = 0
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        kind = type(error)
        if not hasattr(error, "message") and os.environ.get("RPOD_DEBUG"):
            import traceback

            traceback.print_exc()
        send("error", [kind.__module__, kind.__name__, *words_of(error)])
    finally:
        os._exit(status)


def _receive(fd: int, on_event: "Emit | None") -> object:
    import json

    pending = b""
    while chunk := os.read(fd, 1 << 16):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            kind, value = json.loads(line)
            if kind == "result":
                return value
            if kind == "error":
                raise _revive(*value)
            if on_event is not None:
                on_event(value)
    raise HostError("the process inside the user namespace was killed")


def _revive(module: str, name: str, message: str, remedy: str) -> Exception:
    kind = getattr(sys.modules.get(module), name, None)
    if kind is KeyboardInterrupt:
        raise KeyboardInterrupt
    if callable(kind) and hasattr(kind, "exit_code"):
        error: Exception = kind(message, remedy=remedy)
        return error
    return RootlessError(message, remedy=remedy)
