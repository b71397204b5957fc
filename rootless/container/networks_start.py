"""Bring a network up: its namespaces, its way out, its helper.

All user-defined networks of a user share one user namespace, and containers in them have theirs
below it: only so may one process have rights over the namespaces of a network and of a container,
which a pair of virtual interfaces takes. The namespaces are held by descriptors of the helper and
of the monitors, so they outlive whichever of these is killed, and end with the last.
"""

import _socket
import fcntl
import os
import sys

from rootless.container.networks_connection import Connection, connect, socket_name
from rootless.container.networks_prepare import Prepared, slirp_options
from rootless.errors import HostError
from storage import lightjson as json
from storage.containers import read_state
from storage.files import Lock
from storage.networks import NetworkRecord, list_networks, live_endpoints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.linux.userns import IdMaps
    from slirp.process import Running
    from storage.layout import Layout

# ioctl_nsfs(2).
_NS_GET_PARENT = 0xB702
_TAP = "tap0"
_QUEUE = 128
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split(':');"
    "from rootless.container.networks_helper import main; main(sys.argv[2])"
)


class Starting:
    """A network that comes up: `wait_ready` before a container in it runs.

    Until then nobody else gets into the network.
    """

    __slots__ = ("_lock", "_outgoing", "_prepared", "_record", "connection")

    def __init__(
        self,
        record: NetworkRecord,
        connection: Connection,
        lock: Lock,
        prepared: Prepared | None = None,
        outgoing: "Running | None" = None,
    ) -> None:
        self._record = record
        self.connection = connection
        self._lock = lock
        self._prepared = prepared
        self._outgoing = outgoing

    def wait_ready(self) -> None:
        """Return once the way out works; let others in. Raises SlirpError, HostError."""
        try:
            if self._outgoing is not None and self._prepared is not None:
                wait_outgoing(self._record, self._prepared, self._outgoing)
        finally:
            self.release()

    def release(self) -> None:
        """Let others in, whatever has become of it."""
        if self._prepared is not None:
            self._prepared.__exit__()
            self._prepared = None
        if self._outgoing is not None:
            # The helper has the other copy of what keeps it alive.
            self._outgoing.release()
            self._outgoing = None
        self._lock.release()


def bring_up(
    layout: "Layout", record: NetworkRecord, maps: "Callable[[], IdMaps]", lock: Lock
) -> Starting:
    """Return a connection to the network's helper, which is started when there is none.

    The caller holds the network's lock. Raises HostError, SlirpError.
    """
    connection = connect(layout, record.id)
    if connection is not None:
        return Starting(record, connection, lock)
    os.makedirs(layout.network_run_dir(record.id), mode=0o700, exist_ok=True)
    with Lock(f"{layout.networks_run_dir}/lock"):
        userns = _find_user_namespace(layout)
        try:
            prepared = Prepared(record, Connection(-1, userns, -1), maps)
        finally:
            if userns >= 0:
                os.close(userns)
        return _start_helper(layout, record, prepared, lock)


def start_again(layout: "Layout", network_id: str, held: Connection, lock: Lock) -> None:
    """Start a helper that was killed; the caller holds the lock. Raises HostError, SlirpError."""
    for record in list_networks(layout):
        if record.id == network_id:
            prepared = Prepared(record, held, None)
            _start_helper(layout, record, prepared, lock).wait_ready()


def _find_user_namespace(layout: "Layout") -> int:
    """Return a descriptor of the namespace that all networks share, -1 when none is in use."""
    ids = [name for name in os.listdir(layout.networks_run_dir) if name != "lock"]
    for network_id in ids:
        connection = connect(layout, network_id)
        if connection is not None:
            connection._replace(userns=-1).close()
            return connection.userns
    # Helpers that have just been killed: the containers' own namespaces lie below it.
    for network_id in ids:
        for endpoint in live_endpoints(layout, network_id):
            pid = read_state(layout.container(endpoint.container_id)).pid
            if pid and (userns := user_namespace_above(pid)) >= 0:
                return userns
    return -1


def user_namespace_above(pid: int) -> int:
    """Return a descriptor of the parent of a process's user namespace, -1 when it has ended."""
    try:
        own = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fd = fcntl.ioctl(own, _NS_GET_PARENT)
    except OSError:
        return -1
    finally:
        os.close(own)
    os.set_inheritable(fd, False)
    return fd


# --- the way out


def start_outgoing(record: NetworkRecord, prepared: Prepared) -> "Running":
    """Start slirp4netns or pasta for a network. Raises HelperMissing, HelperFailed."""
    if record.options.get("outgoing") == "pasta":
        from slirp import pasta

        arguments = ["--ns-ifname", _TAP, *(() if record.ipv6 else ("--ipv4-only",))]
        return pasta.start(prepared.pid, arguments)
    from slirp import slirp4netns

    return slirp4netns.start(prepared.pid, slirp_options(record), interface=_TAP)


def wait_outgoing(record: NetworkRecord, prepared: Prepared, outgoing: "Running") -> None:
    """Wait for it and set up its interface. Raises HelperFailed, HostError."""
    outgoing.wait_ready()
    by_pasta = record.options.get("outgoing") == "pasta"
    # pasta has given its interface the host's addresses and routes, IPv6 ones as well.
    prepared.configure_outgoing(_TAP, ipv6=record.ipv6 and not by_pasta)


# --- the helper


def _start_helper(
    layout: "Layout", record: NetworkRecord, prepared: Prepared, lock: Lock
) -> Starting:
    """Start what serves the network; the connection is made before it runs."""
    outgoing = None
    try:
        if not record.internal:
            outgoing = start_outgoing(record, prepared)
        connection = _spawn(layout, record, prepared, outgoing)
    except BaseException:
        if outgoing is not None:
            outgoing.stop()
        prepared.__exit__()
        raise
    finally:
        for fd in prepared.sockets.values():
            os.close(fd)
    return Starting(record, connection, lock, prepared, outgoing)


def _spawn(
    layout: "Layout", record: NetworkRecord, prepared: Prepared, outgoing: "Running | None"
) -> Connection:
    """Start the helper's interpreter; what it needs is inherited, named by `words`."""
    directory = os.open(layout.network_run_dir(record.id), os.O_PATH | os.O_CLOEXEC)
    listener, own = (
        _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        for _ in range(2)
    )
    pidfd = -1
    try:
        try:
            os.unlink("helper.sock", dir_fd=directory)
        except FileNotFoundError:
            pass
        listener.bind(socket_name(directory))
        os.chmod("helper.sock", 0o600, dir_fd=directory)
        listener.listen(_QUEUE)
        own.connect(socket_name(directory))
        if outgoing is not None:
            pidfd = os.pidfd_open(outgoing.pid)
        words = {
            "store": layout.store,
            "run_root": layout.run_root,
            "name": record.name,
            "listener": listener.fileno(),
            "user": prepared.connection.userns,
            "net": prepared.connection.netns,
            "sockets": prepared.sockets,
            "exit": outgoing.exit_fd if outgoing is not None else -1,
            "pidfd": pidfd,
        }
        _exec_helper(words)
        return prepared.connection._replace(fd=own.detach())
    except OSError as error:
        raise HostError(f"start the helper of network {record.name}: {error.strerror}") from error
    finally:
        for fd in (directory, pidfd):
            if fd >= 0:
                os.close(fd)
        listener.close()
        own.close()


def _exec_helper(words: dict[str, object]) -> None:
    sockets = words["sockets"]
    assert isinstance(sockets, dict)
    numbers = [words["listener"], words["user"], words["net"], words["exit"], words["pidfd"]]
    fds = [int(str(fd)) for fd in (*numbers, *sockets.values()) if int(str(fd)) >= 0]
    search_path = ":".join(path for path in sys.path if path)
    program = [sys.executable, "-I", "-S", "-c", _BOOT, search_path, json.dumps(words)]
    environment = {key: os.environ[key] for key in ("HOME", "PATH") if key in os.environ}
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    if debug := os.environ.get("RPOD_NETWORK_LOG"):
        null[2] = (os.POSIX_SPAWN_OPEN, 2, debug, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        os.posix_spawn(
            program[0],
            program,
            environment,
            file_actions=null,
            setsid=True,
            setsigmask=(),
            setsigdef=range(1, 32),
        )
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
