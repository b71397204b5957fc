"""The client of a monitor: copies streams, passes signals and sizes on, returns the exit code."""

import _socket  # not `socket`: its enums cost 5 ms of every start
import errno
import os
import select

from rootless.container import frames
from rootless.container.terminal import DetachKeys, RawTerminal, parse_detach_keys, size_of
from rootless.errors import ContainerStateError, HostError, RootlessError
from rootless.host.paths import Host
from rootless.linux import signals as signal
from storage import event_log
from storage import lightjson as json
from storage.containers import ContainerView, find_container
from storage.record import NamedTuple

_CHUNK_BYTES = 1 << 16
# The ones that cannot be caught, that belong to the client itself, or that tell about its children.
_OWN_SIGNALS = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSEGV, signal.SIGBUS,
    signal.SIGFPE, signal.SIGILL, signal.SIGPROF, signal.SIGVTALRM,
}  # fmt: skip
DETACHED = 0


class AttachOptions(NamedTuple):
    """What of the caller is connected; `terminal` when the container has one.

    `streams` names what `--attach` asked for, nothing for all.
    """

    stdin: bool = False
    terminal: bool = False
    sig_proxy: bool = True
    detach_keys: bytes = b""
    streams: tuple[str, ...] = ()


class catch_signals:
    """Have signals written to a pipe, the descriptor of which is the value of the `with`."""

    def __init__(self, *, proxy: bool = True, resize: bool = False) -> None:
        self._numbers = {int(signal.SIGWINCH)} if resize else set()
        if proxy:
            self._numbers |= {int(n) for n in signal.valid_signals() if n not in _OWN_SIGNALS}
        self._fds = (-1, -1)
        self._old_fd = -1
        self._old: dict[int, object] = {}

    def __enter__(self) -> int:
        self._fds = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Writing to a closed pipe is an error to handle, not an end.
        self._old[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._old_fd = signal.set_wakeup_fd(self._fds[1], warn_on_full_buffer=False)
        for number in self._numbers:
            try:
                self._old[number] = signal.signal(number, _ignore)
            except (OSError, ValueError):
                continue  # the two that the C library keeps for threads
        return self._fds[0]

    def __exit__(self, *unused: object) -> None:
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() returned it
        for fd in self._fds:
            os.close(fd)


def _ignore(number: int, stack: object) -> None:
    """A handler has to be there for the wakeup descriptor to be written to."""


def send_signal(pid: int, number: int) -> None:
    """Signal a process that may have gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def write_all(fd: int, data: bytes) -> bool:
    """Write everything, also to a descriptor that does not block; false when nobody reads it.

    Raises HostError when it cannot be written (a full disk).
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                return False
            name = {1: "output", 2: "error"}.get(fd, str(fd))
            raise HostError(f"write to standard {name}: {error.strerror}") from error
    return True


class _End(Exception):
    """The container has ended, or the keys to leave were typed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Session:
    """One attached client; `run` returns the container's exit code, 0 after the detach keys.

    `notes` are what the host could not give when it started the container.
    """

    def __init__(self, connection: _socket.socket, options: AttachOptions) -> None:
        self._connection = connection
        self._options = options
        self._reader = frames.Reader()
        # Keys are typed at a terminal; without one the same bytes are data.
        typed = options.stdin and options.terminal
        self._keys = DetachKeys(options.detach_keys if typed else b"")
        self._poll = select.poll()
        self._pid = 0
        self._wakeup = -1
        self._raw: RawTerminal | None = None
        self._early: list[int] = []
        self._broken: set[int] = set()
        self._unwanted = [
            fd
            for fd, name in ((1, "stdout"), (2, "stderr"))
            if options.streams and name not in options.streams
        ]
        self._lost: HostError | None = None
        self.notes: list[str] = []

    def run(self) -> int:
        """Copy until the container has ended. Raises the error of a start that failed."""
        terminal_in = self._options.terminal and self._options.stdin and os.isatty(0)
        if terminal_in:
            with RawTerminal(0) as self._raw:
                return self._serve()
        return self._serve()

    def _serve(self) -> int:
        options = self._options
        with catch_signals(proxy=options.sig_proxy, resize=options.terminal) as wakeup:
            self._wakeup = wakeup
            self._poll.register(self._connection.fileno(), select.POLLIN)
            self._poll.register(wakeup, select.POLLIN)
            if options.stdin:
                self._poll.register(0, select.POLLIN)
            if options.terminal:
                self._send_size()
            try:
                while True:
                    for fd, _ in self._poll.poll():
                        self._handle(fd)
            except _End as end:
                if self._lost is None:
                    return end.code
                self._lost.exit_code = end.code or self._lost.exit_code
                raise self._lost from None

    def _handle(self, fd: int) -> None:
        if fd == self._connection.fileno():
            self._from_monitor()
        elif fd == self._wakeup:
            for number in os.read(fd, 512):
                self._signal(number)
        else:
            self._from_stdin()

    def _from_monitor(self) -> None:
        data = self._connection.recv(1 << 18)
        if not data:
            raise RootlessError(
                "the container's monitor was killed", remedy="see `rpod ps -a` for the container"
            )
        for kind, payload in self._reader.feed(data):
            if kind == frames.OUT:
                self._write(1, payload)
            elif kind == frames.ERR:
                self._write(2, payload)
            elif kind == frames.STARTED:
                started = json.loads(payload)
                self._pid = int(started["pid"])
                self.notes = list(started.get("notes", ()))
                for number in self._early:
                    send_signal(self._pid, number)
            elif kind == frames.FAILED:
                raise revive(json.loads(payload))
            elif kind == frames.EXIT:
                raise _End(int(payload))

    def _write(self, fd: int, data: bytes) -> None:
        if fd in self._unwanted:
            return
        try:
            if fd in self._broken or write_all(fd, data):
                return
        except HostError as error:
            self._lost = error  # told when the container has ended: it learns of it by SIGPIPE
        # Nobody reads any more: `rpod run IMAGE yes | head` ends as it would without rpod.
        self._broken.add(fd)
        self._send(frames.frame(frames.BROKEN, bytes([fd])))

    def _from_stdin(self) -> None:
        try:
            data = os.read(0, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(0)
            self._send(frames.frame(frames.EOF))
            return
        data, leave = self._keys.feed(data)
        if data:
            self._send(frames.frame(frames.IN, data))
        if leave:
            self._send(frames.frame(frames.LEAVE))
            raise _End(DETACHED)

    def _signal(self, number: int) -> None:
        if number == signal.SIGCONT and self._raw is not None:
            self._raw.again()  # a shell takes its own mode while a job is stopped
        if number == signal.SIGWINCH and self._options.terminal:
            self._send_size()
        elif self._pid:
            send_signal(self._pid, number)
        else:
            self._early.append(number)

    def _send_size(self) -> None:
        rows, columns = size_of(1)
        if rows == 0:
            rows, columns = size_of(0)
        if rows:
            self._send(frames.frame_resize(rows, columns))

    def _send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            return  # its end is read next


def revive(fields: list[str]) -> Exception:
    """Make the error again that a monitor has described as [module, class, message, remedy]."""
    import importlib

    module, name, message, remedy = fields
    kind = getattr(importlib.import_module(module), name, None)
    if callable(kind) and hasattr(kind, "exit_code"):
        error: Exception = kind(message, remedy=remedy)
        return error
    return RootlessError(message, remedy=remedy)


def connect(view: ContainerView) -> _socket.socket:
    """Connect to the attach socket of a running container. Raises ContainerStateError."""
    path = view.paths.attach_socket
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
    except OSError as error:
        connection.close()
        raise ContainerStateError(
            f"attach to container {view.record.name}: it is not running"
        ) from error
    return connection


def attach(
    host: Host,
    text: str,
    *,
    no_stdin: bool = False,
    sig_proxy: bool = True,
    detach_keys: str = "ctrl-p,ctrl-q",
) -> int:
    """Attach to a running container until it ends or the keys are typed; return its exit code.

    Raises ContainerNotFound, ContainerStateError.
    """
    keys = parse_detach_keys(detach_keys)
    view = find_container(host.layout, text)
    if view.status != "running":
        raise ContainerStateError(
            f"you can only attach to running containers: {view.record.name} is {view.status}",
            remedy=f"start it: rpod start --attach {view.record.name}",
        )
    options = AttachOptions(
        stdin=view.record.interactive and not no_stdin,
        terminal=view.record.tty,
        sig_proxy=sig_proxy,
        detach_keys=keys,
    )
    connection = connect(view)
    event_log.container_event(host.layout.run_root, "attach", record=view.record)
    return Session(connection, options).run()
