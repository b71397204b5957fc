"""The client's half of a start: fork the monitor early, then tell it which container is its own.

The monitor needs 30 modules that a client does not, and the client as many to make or find the
container. So it is forked first, loads its half on another processor, and waits. It gets the id of
the container and its lock over the socket pair that carries the first client's streams later; when
the client ends without a word (bad input, kill -9) it reads the end of that socket, and ends.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import time

from rootless.container import frames
from rootless.container.frames import StartOptions
from rootless.errors import HostError
from storage import lightjson as json
from storage.containers import ContainerView, MonitorLock, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_POLL_S = 0.01


class MonitorProcess:
    """A forked monitor that waits for its container; ends with the context if it gets none."""

    __slots__ = ("_is_told", "_listen_fds", "_pid", "_socket", "attach")

    def __init__(self, host: "Host", *, attach: bool, preserve_fds: int = 0) -> None:
        """`preserve_fds` descriptors from 3 on are for the container. Raises UsageError."""
        self.attach = attach
        self._is_told = False
        self._listen_fds = _listen_fds(host)
        if preserve_fds:
            from rootless.container.activation import preserved_fds

            self._listen_fds = preserved_fds(preserve_fds, self._listen_fds)
        self._socket, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._pid = os.fork()
        if self._pid == 0:
            _be_monitor(host, theirs, self._listen_fds, attach=attach)
        theirs.close()

    def __enter__(self) -> "MonitorProcess":
        return self

    def __exit__(self, *unused: object) -> None:
        self._socket.close()
        if not (self.attach and self._is_told):
            os.waitpid(self._pid, 0)

    def launch(
        self, host: "Host", found: ContainerView, options: StartOptions
    ) -> "_socket.socket | None":
        """Hand the container over and return the connection of its first client.

        None when somebody else has started it meanwhile. Raises HostError, ContainerStateError.
        """
        os.makedirs(found.paths.run_dir, mode=0o700, exist_ok=True)
        lock = _take_lock(host, found)
        if lock is None:
            return None
        words = [found.record.id, *options._replace(listen_fds=self._listen_fds)]
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, lock.fd.to_bytes(4, "little"))
        try:
            if os.path.exists(found.paths.mounted):
                from rootless.container.mounted import check_free

                check_free(found)
            _forget_stop(found)
            message = json.dumps(words).encode()
            self._socket.sendmsg([message], [rights], _socket.MSG_NOSIGNAL)
            self._is_told = True
        except OSError as error:
            raise _monitor_killed() from error
        finally:
            os.close(lock.fd)
        return self._socket

    def wait_started(self) -> list[str]:
        """Return what the host could not give, once the command runs.

        Raises what kept it from running.
        """
        reader = frames.Reader()
        while data := self._socket.recv(1 << 16):
            for kind, payload in reader.feed(data):
                if kind == frames.STARTED:
                    notes: list[str] = json.loads(payload)["notes"]
                    return notes
                if kind == frames.FAILED:
                    from rootless.container.attach import revive

                    raise revive(json.loads(payload))
        raise _monitor_killed()


def _listen_fds(host: "Host") -> int:
    """Return how many sockets systemd has opened for this command."""
    if "LISTEN_FDS" not in host.environ:
        return 0
    from rootless.container.activation import listen_fds

    return listen_fds(host.environ, os.getpid())


def _forget_stop(found: ContainerView) -> None:
    """Take the note back that the user stopped the container."""
    try:
        os.unlink(found.paths.stopped)
    except FileNotFoundError:
        return


def _monitor_killed() -> HostError:
    return HostError("start the container: its monitor was killed")


def _be_monitor(host: "Host", end: _socket.socket, listen_fds: int, *, attach: bool) -> None:
    """Body of the forked process. Never returns."""
    try:
        if attach or not os.fork():  # the monitor of a detached container is nobody's child
            from rootless.container.supervise import run_monitor

            run_monitor(host, end, listen_fds)
    finally:
        os._exit(1)


def _take_lock(host: "Host", found: ContainerView) -> MonitorLock | None:
    """Take the monitor's lock; None when somebody else has started the container.

    `cp` and `export` hold it while they have the root of a stopped container mounted.
    """
    while (lock := MonitorLock.take(found.paths.lock)) is None:
        now = view(host.layout, found.record)
        if (
            now.status in ("running", "initialized")
            or now.state.started_at != found.state.started_at
        ):
            return None
        time.sleep(_POLL_S)
    return lock
