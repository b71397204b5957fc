"""`system service`: listen, fork a process for each connection, end when nobody has come.

A process for each connection, because starting a container forks and enters namespaces, which a
process with threads must not; and because one client's trouble is then nobody else's. Containers
belong to their monitors, as with any command: nothing of them is in these processes.
"""

import errno
import importlib
import os
import select
import socket
import stat
import struct
import sys
import time

from rootless.container.activation import FIRST_FD, listen_fds, notify
from rootless.errors import HostError, UsageError
from rootless.linux import signals as signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_CONNECTIONS = 256
_BACKLOG = 1024
# Loaded once, and not by each connection; the rest when it is asked for.
_OFTEN_USED = ("containers", "creating", "starting", "streams", "system", "waiting")
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Of the service alone: a container must not take them for its own.
_OWN_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")


class Place:
    """A socket to listen on; `path` and `identity` of one that was made here, else ""."""

    __slots__ = ("identity", "listener", "path")

    def __init__(self, listener: socket.socket, path: str = "") -> None:
        self.listener = listener
        self.path = path
        self.identity = _identity(path) if path else (0, 0)

    def leave(self) -> None:
        """Remove the socket, unless another service has put its own there."""
        if self.path and _identity(self.path) == self.identity:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                return
        self.path = ""


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def open_place(uri: str, environ: "Mapping[str, str]") -> list[Place]:
    """Return what to listen on: the sockets that systemd has opened, else one made for `uri`.

    `uri` is unix://PATH or tcp://ADDRESS:PORT of this machine's loopback.
    Raises UsageError, HostError.
    """
    if count := listen_fds(environ, os.getpid()):
        return [_inherited(fd) for fd in range(FIRST_FD, FIRST_FD + count)]
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "unix", uri
    if scheme == "unix":
        return [_open_unix(os.path.abspath(rest))]
    if scheme == "tcp":
        return [_open_tcp(rest, uri)]
    raise UsageError(f"listen on {uri}: the scheme {scheme} is not known", remedy="use unix://PATH")


def _inherited(fd: int) -> Place:
    listener = socket.socket(fileno=fd)
    if listener.family != socket.AF_UNIX and not _is_loopback(listener.getsockname()[0]):
        raise _refuse_address(str(listener.getsockname()[0]))
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UsageError(f"descriptor {fd} of LISTEN_FDS does not listen for connections")
    listener.setblocking(False)
    return Place(listener)


def _open_unix(path: str) -> Place:
    directory, name = os.path.split(path)
    if not name:
        raise UsageError(f"listen on {path}: no name of a file")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"listen on {path}: {error.strerror}") from error
    short = f"/proc/self/fd/{fd}/{name}"  # a path of a socket has 107 bytes at most: unix(7)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _remove_stale(short, path)
        listener.bind(short)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostError(f"listen on {path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.umask(mask)
        os.close(fd)
    return Place(listener, path)


def _remove_stale(short: str, path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises HostError when somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(short).st_mode):
            raise HostError(f"listen on {path}: there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(short)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(short)
                return
            raise
    raise HostError(
        f"listen on {path}: another service answers there", remedy="use that one, or another URI"
    )


def _open_tcp(rest: str, uri: str) -> Place:
    host, _, port = rest.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port[:6]) > 65535:
        raise UsageError(f"listen on {uri}: no port", remedy="use tcp://127.0.0.1:PORT")
    address = "127.0.0.1" if host == "localhost" else host
    if not _is_loopback(address):
        raise _refuse_address(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, int(port)))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostError(f"listen on {uri}: {error.strerror}") from error
    return Place(listener)


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _refuse_address(address: str) -> UsageError:
    return UsageError(
        f"listen on {address}: who reaches it has all rights of your account, without a password",
        remedy="listen on a unix socket, and reach it from elsewhere with ssh:"
        " ssh -L /tmp/rpod.sock:$XDG_RUNTIME_DIR/rpod/rpod.sock HOST",
    )


def watch_signals() -> tuple[int, int]:
    """Have children's ends, and requests to end, written to a pipe; return its two ends."""
    wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: None)
    return wakeup, writer


class Server:
    """Accept until `idle_s` seconds have gone by without a connection; 0 is for ever."""

    def __init__(
        self,
        places: list[Place],
        idle_s: float,
        handle: "Callable[[socket.socket], None]",
        fds: tuple[int, int],
    ) -> None:
        """`fds` are the ends of the pipe of `watch_signals`."""
        self._places = places
        self._idle_s = idle_s
        self._handle = handle
        self._fds = fds
        self._children: set[int] = set()
        self._is_ending = False

    def serve(self) -> None:
        """Return at the end; connections that are open go on in their own processes."""
        try:
            for name in _OFTEN_USED:
                importlib.import_module(f"rootless.service.{name}")
            self._loop(self._fds[0])
        finally:
            for place in self._places:
                place.leave()
        # Who has connected between the last look and the removal is served, too.
        while not self._is_ending and self._accept_all():
            continue

    def _loop(self, wakeup: int) -> None:
        last_s = time.monotonic()
        while not self._is_ending:
            poll = select.poll()
            poll.register(wakeup, select.POLLIN)
            if len(self._children) < _MOST_CONNECTIONS:
                for place in self._places:
                    poll.register(place.listener, select.POLLIN)
            is_idle = not self._children and self._idle_s > 0
            left_s = last_s + self._idle_s - time.monotonic()
            if is_idle and left_s <= 0:
                return
            for fd, _ in poll.poll(left_s * 1000 if is_idle else None):
                if fd == wakeup:
                    self._signalled(os.read(wakeup, 512))
            self._accept_all()
            if self._children:
                last_s = time.monotonic()
            elif not is_idle:
                last_s = time.monotonic()  # the last connection has just ended

    def _signalled(self, numbers: bytes) -> None:
        if any(number != signal.SIGCHLD for number in numbers):
            self._is_ending = True
        while self._children:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                return
            if not pid:
                return
            self._children.discard(pid)

    def _accept_all(self) -> bool:
        found = False
        for place in self._places:
            while len(self._children) < _MOST_CONNECTIONS:
                try:
                    client, _ = place.listener.accept()
                except OSError:
                    break  # nobody, or one that has gone again
                found = True
                with client:
                    if is_allowed(client):
                        self._fork(client)
        return found

    def _fork(self, client: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError:
            return  # too many processes: the client sees a connection that ends
        if pid:
            self._children.add(pid)
            return
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            for place in self._places:
                place.listener.close()
            for fd in self._fds:
                os.close(fd)
            self._handle(client)
        finally:
            os._exit(0)


def is_allowed(client: socket.socket) -> bool:
    """Whether the other end is a process of this user."""
    client.setblocking(True)
    if client.family != socket.AF_UNIX:
        return _tcp_owner(client) == os.geteuid()
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("iII", credentials)
    return bool(uid == os.geteuid())


def _tcp_owner(client: socket.socket) -> int:
    """Return the user of the other end of a connection on the loopback, -1 when it is unknown.

    proc(5), /proc/net/tcp: addresses are words in the machine's order of bytes.
    """
    name = "tcp6" if client.family == socket.AF_INET6 else "tcp"
    wanted = [_word(client.family, one) for one in (client.getpeername(), client.getsockname())]
    with open(f"/proc/net/{name}", encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[1:3] == wanted:
                return int(words[7])
    return -1


def _word(family: int, address: tuple[str, int]) -> str:
    data = socket.inet_pton(family, address[0])
    words = [data[start : start + 4][::-1] for start in range(0, len(data), 4)]
    if sys.byteorder == "big":
        words = [word[::-1] for word in words]
    return f"{b''.join(words).hex().upper()}:{address[1]:04X}"


def serve(
    uri: str,
    idle_s: float,
    handle: "Callable[[socket.socket], None]",
    tell: "Callable[[str], None]",
) -> None:
    """Listen and answer until nobody comes for `idle_s` seconds, or a signal ends it.

    Raises UsageError, HostError.
    """
    fds = watch_signals()  # before there is a socket that a signal could leave behind
    places = open_place(uri, os.environ)
    for place in places:
        if place.listener.family != socket.AF_UNIX:
            tell("listening on TCP: containers that reach the host's loopback can use the service")
    notify("READY=1")
    for name in _OWN_VARIABLES:
        os.environ.pop(name, None)
    os.chdir("/")
    Server(places, idle_s, handle, fds).serve()
