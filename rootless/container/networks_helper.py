"""The helper of a network in use: answers names, and keeps the way out open.

It lives in the host's namespaces, so it reaches the host's name servers wherever they are and sees
resolv.conf change; only its sockets are in the network's. It ends when the last monitor has hung
up, under the network's lock, so nobody can come in at that moment.
"""

import _socket
import os
import struct
import time

from rootless.container.networks_names import Names
from rootless.linux.footprint import release_start_memory
from slirp.dns_server import Server
from slirp.loop import Loop
from storage import lightjson as json
from storage.layout import Layout
from storage.networks import network_lock, read_network

_SO_PEERCRED = 17
_TRY_AGAIN_S = 0.2
_BACKOFF_S = 1.0


class Helper:
    """State of one network's helper."""

    def __init__(self, words: dict[str, object]) -> None:
        self._layout = Layout(str(words["store"]), str(words["run_root"]))
        self._record = read_network(self._layout, str(words["name"]))
        self._loop = Loop(release_start_memory)
        self._userns, self._netns = _number(words, "user"), _number(words, "net")
        self._exit_fd, self._pidfd = _number(words, "exit"), _number(words, "pidfd")
        self._outgoing_since_s = time.monotonic()
        self._listener = _socket.socket(fileno=_number(words, "listener"))
        self._listener.setblocking(False)
        self._clients: dict[int, _socket.socket] = {}
        self._loop.watch(self._listener.fileno(), self._accept)
        if self._pidfd >= 0:
            self._loop.watch(self._pidfd, self._outgoing_ended)
        self._serve_names(words["sockets"])

    def _serve_names(self, sockets: object) -> None:
        assert isinstance(sockets, dict)
        names = Names(self._layout, self._record)
        server = Server(self._loop, names.lookup, names.servers)
        self._sockets = []
        for name, fd in sockets.items():
            sock = _socket.socket(fileno=fd)
            self._sockets.append(sock)
            if name.startswith("udp"):
                server.serve_udp(sock)
            else:
                server.serve_tcp(sock)

    def run(self) -> None:
        """Serve until nobody uses the network any more."""
        self._loop.later(_TRY_AGAIN_S, self._end_if_unused)
        while True:
            self._loop.turn()

    # --- who uses the network

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        client = _socket.socket(fileno=fd)
        credentials = client.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)
        if struct.unpack("iII", credentials)[1] != os.geteuid():
            client.close()
            return
        fds = struct.pack("ii", self._userns, self._netns)
        try:
            client.sendmsg([b"r"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
        except OSError:
            client.close()
            return
        client.setblocking(False)
        self._clients[fd] = client
        self._loop.watch(fd, lambda: self._client_said(fd))

    def _client_said(self, fd: int) -> None:
        try:
            if self._clients[fd].recv(64):
                return  # nothing is asked over it
        except BlockingIOError:
            return
        except OSError:
            pass
        self._loop.forget(fd)
        self._clients.pop(fd).close()
        if not self._clients:
            self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._clients:
            return
        lock = network_lock(self._layout, self._record.id)
        if not lock.acquire(wait=False):
            # Somebody is on the way in.
            self._loop.later(_TRY_AGAIN_S, self._end_if_unused)
            return
        self._accept()  # came in before the lock was there
        if self._clients:
            lock.release()
            return
        try:
            os.unlink(f"{self._layout.network_run_dir(self._record.id)}/helper.sock")
        except FileNotFoundError:
            pass
        os._exit(0)

    # --- the way out

    def _outgoing_ended(self) -> None:
        """slirp4netns or pasta was killed: start it again, not more than once in a second."""
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass  # the first one is a child of the monitor that started it
        lived_s = time.monotonic() - self._outgoing_since_s
        self._loop.later(max(0.0, _BACKOFF_S - lived_s), self._start_outgoing)

    def _start_outgoing(self) -> None:
        from rootless.container.networks_connection import Connection
        from rootless.container.networks_prepare import Prepared
        from rootless.container.networks_start import start_outgoing, wait_outgoing
        from rootless.errors import RootlessError
        from slirp.errors import SlirpError

        if self._exit_fd >= 0:
            os.close(self._exit_fd)
            self._exit_fd = -1
        self._outgoing_since_s = time.monotonic()
        try:
            without_dns = self._record._replace(dns=False)  # its sockets are here
            held = Connection(-1, self._userns, self._netns)
            with Prepared(without_dns, held, None) as prepared:
                prepared.connection.close()
                running = start_outgoing(self._record, prepared)
                wait_outgoing(self._record, prepared, running)
        except (RootlessError, SlirpError, OSError):
            self._loop.later(_BACKOFF_S, self._start_outgoing)
            return
        self._exit_fd = running.exit_fd
        self._pidfd = os.pidfd_open(running.pid)
        self._loop.watch(self._pidfd, self._outgoing_ended)


def _number(words: dict[str, object], key: str) -> int:
    fd = int(str(words[key]))
    if fd >= 0:
        os.set_inheritable(fd, False)
    return fd


def main(text: str) -> None:
    """Be the helper that `words` describe. Never returns."""
    try:
        os.chdir("/")
        helper = Helper(json.loads(text))
        helper.run()
    except BaseException:
        if os.environ.get("RPOD_DEBUG"):
            raise
    finally:
        os._exit(1)
