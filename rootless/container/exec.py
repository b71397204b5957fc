"""`exec`: a further process in a running container. The client itself is its parent and relay."""

import errno
import os
import select
import time

from rootless.container.attach import (
    DETACHED,
    catch_signals,
    send_signal,
    write_all,
)
from rootless.container.environment import add_variables, caller_environment
from rootless.container.request import ExecRequest
from rootless.container.rootfs import seccomp_filter
from rootless.container.starting import add_secret_variables, explain
from rootless.container.terminal import DetachKeys, RawTerminal, parse_detach_keys, size_of
from rootless.container.users import check_mapped, resolve_user
from rootless.errors import ContainerStateError, SandboxError, UsageError
from rootless.host.paths import Host
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.procfs import entrance, is_same_process
from rootless.linux.terminal import set_window_size
from rootless.linux.userns import IdMaps
from rootless.sandbox import capabilities
from rootless.sandbox.channel import Channel, parse_error
from rootless.sandbox.defaults import KEEP_GROUPS
from rootless.sandbox.join import join
from rootless.sandbox.plan import CLONE_FLAGS, Config, make_process
from rootless.sandbox.process import Process
from storage import event_log
from storage.containers import ContainerView, find_container, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 16
_PASSWD_LIMIT_BYTES = 1 << 20


def exec_in(
    host: Host, request: ExecRequest, *, timeout_s: float = 0.0, is_check: bool = False
) -> int:
    """Run a command in a running container and return its exit code, 0 when detached.

    An attached one is killed after `timeout_s`, 0 for never. Of a health check only the end is an
    event, as with podman.

    Raises ContainerNotFound, ContainerStateError, CommandNotFound, CommandNotExecutable,
    UnknownUser.
    """
    keys = parse_detach_keys(request.detach_keys)
    if request.preserve_fds:
        from rootless.container.activation import preserved_fds

        preserved_fds(request.preserve_fds, 0)
    if not request.command:
        raise UsageError("must provide a non-empty command to start an exec session")
    found = find_container(host.layout, request.container)
    if found.status != "running":
        raise ContainerStateError(
            f"can only create exec sessions on running containers: {found.record.name} is"
            f" {found.status}",
            remedy=f"start it: rpod start {found.record.name}",
        )
    pidfd = _open_init(found)
    raw = read_config(found.paths)
    process = _make_process(request, raw, found)
    session = _ExecSession(request, process, keys, timeout_s)
    session.emulation_socket = found.paths.emulation_socket
    run_root = host.layout.run_root
    if not is_check:
        event_log.container_event(run_root, "exec", record=found.record)
    code = session.run(pidfd, _namespaces(raw), lambda pid: _enter_cgroup(host, found, pid))
    if not session.goes_on:
        event_log.container_event(
            run_root, "exec_died", record=found.record, ContainerExitCode=code
        )
    return code


def _open_init(found: ContainerView) -> int:
    """Return a pidfd to join; the first process is checked to be the one that was recorded."""
    try:
        pidfd = os.pidfd_open(entrance(found.state.pid))
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0 or not is_same_process(found.state.pid, found.state.pid_start_time):
        raise ContainerStateError(f"container {found.record.name} has just ended")
    return pidfd


def _enter_cgroup(host: Host, found: ContainerView, pid: int) -> None:
    """Put the new process where the container's limits count; it waits for that."""
    if found.state.cgroup:
        from rootless.container.cgroup_use import join as join_cgroup

        join_cgroup(found.state.cgroup, pid, host)


def _namespaces(raw: dict[str, object]) -> int:
    flags = 0
    for entry in Config(raw).part("linux").parts("namespaces"):
        flags |= CLONE_FLAGS[entry.text("type")]
    return flags


def _make_process(request: ExecRequest, raw: dict[str, object], found: ContainerView) -> Process:
    """Return the container's process with what the request changes."""
    config = Config(raw).part("process")
    emulation = Config(raw).part("annotations").text("dev.rpod.root-emulation")
    fields = dict(config.raw)
    environment: dict[str, str] = {}
    for entry in config.texts("env"):
        name, _, value = entry.partition("=")
        environment[name] = value
    user = config.part("user")
    uid, gid = user.number("uid"), user.number("gid")
    groups = user.numbers("additionalGids")
    if request.user is not None:
        chosen = resolve_user(
            request.user,
            read_inside(found.state.pid, "/etc/passwd"),
            read_inside(found.state.pid, "/etc/group"),
        )
        if not emulation:
            chosen = check_mapped(chosen, IdMaps(found.record.uid_map, found.record.gid_map))
        uid, gid, groups = chosen.uid, chosen.gid, [chosen.gid, *chosen.groups]
        environment["HOME"] = chosen.home
    add_variables(environment, request.env, request.env_file, caller_environment())
    if request.tty:
        environment.setdefault("TERM", "xterm")
    bounding = tuple(config.part("capabilities").texts("bounding"))
    added = tuple(config.part("capabilities").texts("ambient"))
    if request.privileged:
        bounding = capabilities.supported()
    # To the kernel an emulated user is root.
    sets = capabilities.sets_for_user(bounding, added, uid=0 if emulation else uid)
    fields |= {
        "args": list(request.command),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "user": {**user.raw, "uid": uid, "gid": gid, "additionalGids": groups},
        "capabilities": {name: list(value) for name, value in sets._asdict().items()},
        "terminal": request.tty,
        "cwd": request.workdir or config.text("cwd", "/"),
    }
    directory = found.paths.directory
    seccomp = b"" if request.privileged else seccomp_filter({**raw, "process": fields}, directory)
    process = make_process(Config(fields, "config.json: process"), seccomp=seccomp)
    if "secret" in found.record.request:
        add_secret_variables(process, found.paths)
    annotations = Config(raw).part("annotations")
    process.keeps_groups = request.user is None and annotations.text(KEEP_GROUPS) == "1"
    if emulation:
        from rootless.container.emulate import emulate_user

        emulate_user(process, emulation)
    return process


def read_inside(pid: int, path: str) -> bytes:
    """Read a file of the running container; the kernel resolves its links inside the root."""
    root = os.open(f"/proc/{entrance(pid)}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = syscalls.openat2(
            root,
            path,
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            resolve=syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS,
        )
    except OSError:
        return b""
    finally:
        os.close(root)
    try:
        return os.read(fd, _PASSWD_LIMIT_BYTES)
    except OSError:
        return b""  # a directory, a device without data
    finally:
        os.close(fd)


class _ExecSession:
    """The relay between the caller's streams and the process inside."""

    def __init__(
        self, request: ExecRequest, process: Process, keys: bytes, timeout_s: float
    ) -> None:
        self._request = request
        self.emulation_socket = ""
        self.goes_on = request.detach  # without this client, which does not see its end
        self._process = process
        self._keys = DetachKeys(keys if request.interactive and request.tty else b"")
        self._pid = 0
        self._pending = bytearray()
        self._sources: dict[int, int] = {}
        self._stdin = -1
        self._terminal = -1
        self._poll = select.poll()
        self._at_end = False
        self._deadline_s = time.monotonic() + timeout_s if timeout_s else 0.0

    def run(self, pidfd: int, namespaces: int, enter: "Callable[[int], None]") -> int:
        request = self._request
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        streams = (null, null, null)
        kept: list[int] = []
        if not request.tty and not request.detach:
            streams, kept = self._make_pipes(null)
        size = size_of(1) if request.tty else (0, 0)
        ours, theirs = Channel.pair()
        helper = os.fork()
        if helper == 0:
            # The end of the wire has to be seen within when this process ends, or gives up.
            ours.close()
            # What is typed at the caller's terminal is for the process, not for this one.
            os.setsid()
            if request.detach and os.fork():
                os._exit(0)
            kept_fds = request.preserve_fds
            join(pidfd, namespaces, self._process, streams, size, theirs, kept_fds)
        theirs.close()
        for fd in {null, *streams}:
            os.close(fd)
        try:
            self._wait_started(ours, enter)
        except BaseException:
            ours.close()
            os.waitpid(helper, 0)
            raise
        if request.detach:
            os.waitpid(helper, 0)
            return 0
        return self._relay(helper, kept)

    def _make_pipes(self, null: int) -> tuple[tuple[int, int, int], list[int]]:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self._sources = {out_read: 1, err_read: 2}
        stdin = null
        if self._request.interactive:
            stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        return (stdin, out_write, err_write), [out_read, err_read]

    def _wait_started(self, channel: Channel, enter: "Callable[[int], None]") -> None:
        """Return once the program runs; the closed channel says so."""
        while True:
            message, fd = channel.receive()
            kind = message[:1]
            if kind == b"p":
                self._pid = int(message[1:])
                enter(self._pid)
                channel.send(b"x")
            elif kind == b"t":
                self._terminal = fd
                self._sources = {fd: 1}
            elif kind == b"l":
                from rootless.container.emulate import hand_in

                hand_in(self.emulation_socket, fd, self._process)
            elif kind == b"e":
                channel.close()
                raise explain(parse_error(message))
            elif not message:
                break
        channel.close()
        if not self._pid:
            raise SandboxError("start the process: the container has ended")

    def _relay(self, helper: int, kept: list[int]) -> int:
        if self._terminal >= 0 and self._request.interactive:
            self._stdin = os.dup(self._terminal)
        if self._terminal >= 0 and self._request.interactive and os.isatty(0):
            with RawTerminal(0):
                return self._copy(helper)
        return self._copy(helper)

    def _copy(self, helper: int) -> int:
        """Copy until the streams are closed and the process has ended."""
        with catch_signals(resize=self._terminal >= 0) as wakeup:
            self._poll.register(wakeup, select.POLLIN)
            helper_fd = os.pidfd_open(helper)
            self._poll.register(helper_fd, select.POLLIN)
            for fd in self._sources:
                self._poll.register(fd, select.POLLIN)
            if self._stdin >= 0:
                os.set_blocking(self._stdin, False)
                self._poll.register(0, select.POLLIN)
            ended = False
            while self._sources or not ended:
                for fd, _ in self._poll.poll(0 if ended else self._wait_ms()) or [(-1, 0)]:
                    if fd == helper_fd:
                        ended = True
                        self._poll.unregister(helper_fd)
                    elif fd == wakeup:
                        self._signals(wakeup)
                    elif fd in self._sources:
                        self._output(fd)
                    elif fd == 0:
                        if self._input():
                            self._leave()
                            self.goes_on = True
                            return DETACHED
                    elif fd == self._stdin and fd >= 0:
                        self._feed()
                    elif ended:
                        # A child of the command keeps the streams open; the command is over.
                        self._sources.clear()
        _, status = os.waitpid(helper, 0)
        return os.waitstatus_to_exitcode(status)

    def _wait_ms(self) -> int | None:
        """Return how long the process may still run; kill it when its time is over."""
        if not self._deadline_s:
            return None
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            self._deadline_s = 0.0
            send_signal(self._pid, signal.SIGKILL)
            return None
        return int(left_s * 1000) + 1

    def _signals(self, wakeup: int) -> None:
        for number in os.read(wakeup, 512):
            if number == signal.SIGWINCH and self._terminal >= 0:
                self._resize()
            else:
                send_signal(self._pid, number)

    def _leave(self) -> None:
        """Let the process go on: without a reader its terminal would hang up."""
        if os.fork():
            return
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.set_blocking(self._terminal, True)
            while os.read(self._terminal, _CHUNK_BYTES):
                pass
        finally:
            os._exit(0)

    def _resize(self) -> None:
        rows, columns = size_of(1)
        if rows:
            set_window_size(self._terminal, rows, columns)

    def _output(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data or not write_all(self._sources[fd], data):
            self._poll.unregister(fd)
            del self._sources[fd]
            os.close(fd)

    def _input(self) -> bool:
        """Take what the caller typed; true when the keys to leave were among it."""
        try:
            data = os.read(0, _CHUNK_BYTES)
        except OSError:
            data = b""
        if not data:
            self._at_end = True
            self._poll.unregister(0)
        data, leave = self._keys.feed(data)
        self._pending += data
        self._feed()
        return leave

    def _feed(self) -> None:
        if self._stdin < 0:
            return
        while self._pending:
            try:
                written = os.write(self._stdin, self._pending[:_CHUNK_BYTES])
            except BlockingIOError:
                # Read no more until the process takes it.
                self._poll.register(self._stdin, select.POLLOUT)
                if not self._at_end:
                    self._poll.modify(0, 0)
                return
            except OSError:
                self._close_stdin()
                return
            del self._pending[:written]
        try:
            self._poll.unregister(self._stdin)
        except KeyError:
            pass
        if self._at_end:
            if self._terminal < 0:
                self._close_stdin()
        else:
            self._poll.modify(0, select.POLLIN)

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            try:
                self._poll.unregister(self._stdin)
            except KeyError:
                pass
            os.close(self._stdin)
            self._stdin = -1
        self._pending.clear()
        if not self._at_end:
            self._at_end = True
            self._poll.unregister(0)
