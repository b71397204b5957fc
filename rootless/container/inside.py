"""Run a function with a container's root file system as root directory, running or not.

Of a running container the namespaces are joined, so volumes and tmpfs are in their place. For one
that does not run its root is mounted, with its volumes, in namespaces of a forked child; the
monitor's lock is held meanwhile, because an overlay must not be mounted twice for writing.

After the entry no file of the host can be found by its path: what the function needs has to be
loaded before, and imports fail.
"""

import os
import time

from rootless.container import fuse
from rootless.container.attach import revive
from rootless.container.rootfs import make_root
from rootless.container.supervise import describe_error
from rootless.errors import ContainerStateError, HostError, RootlessError
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.procfs import entrance, is_same_process
from rootless.linux.userns import IdMaps, apply_maps, become_root
from rootless.sandbox.channel import Channel
from rootless.sandbox.drivers import MOUNTED_FROM_OUTSIDE
from rootless.sandbox.mounts import BindMount, late_readonly
from rootless.sandbox.plan import Config
from rootless.sandbox.root import Root, enter
from rootless.sandbox.targets import StepError
from storage import lightjson as json
from storage.containers import ContainerView, MonitorLock, find_container, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host

_LOCK_WAIT_S = 10.0
_POLL_S = 0.01
_BINDS = ("bind", "rbind")


class Job:
    """A forked child that runs one function; `result` waits for what it returned."""

    __slots__ = ("_pid", "_results")

    def __init__(
        self, function: "Callable[[], object]", prepare: "Callable[[], None] | None" = None
    ) -> None:
        self._results, writer = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _child(function, prepare, writer)
        os.close(writer)

    @property
    def pid(self) -> int:
        return self._pid

    def result(self) -> object:
        """Return the result, a JSON value. Raises what the function raised, HostError."""
        data = b""
        while chunk := os.read(self._results, 1 << 16):
            data += chunk
        os.close(self._results)
        os.waitpid(self._pid, 0)
        if not data:
            raise HostError("the process that works in the container was killed")
        kind, value = json.loads(data)
        if kind == "error":
            raise revive(value)
        return value


def _child(
    function: "Callable[[], object]", prepare: "Callable[[], None] | None", writer: int
) -> None:
    """Body of the forked child; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if prepare is not None:
            prepare()
        answer = ["result", function()]
    except StepError as error:
        step = RootlessError(f"{error.step} {error.path}: {os.strerror(error.number)}")
        answer = ["error", describe_error(step)]
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        answer = ["error", describe_error(error)]
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


class Inside:
    """The way into one container; as a context it keeps a stopped one from being started."""

    def __init__(self, host: "Host", text: str) -> None:
        self._host = host
        self._lock: MonitorLock | None = None
        self.found = find_container(host.layout, text)

    def __enter__(self) -> "Inside":
        end_s = time.monotonic() + _LOCK_WAIT_S
        while self.found.status != "running":
            if self.found.status == "initialized":
                raise ContainerStateError(
                    f"the root of container {self.found.record.name} cannot be entered while it is"
                    " initialized and does not run",
                    remedy=f"start it: rpod start {self.found.record.name}; or stop it",
                )
            os.makedirs(self.found.paths.run_dir, mode=0o700, exist_ok=True)
            self._lock = MonitorLock.take(self.found.paths.lock)
            # With the lock held nobody can start it: what is found now stays so.
            self.found = find_container(self._host.layout, self.found.record.id)
            if self._lock is not None:
                try:
                    self._check_free()
                except BaseException:
                    self.__exit__()
                    raise
                break
            if time.monotonic() > end_s:
                raise ContainerStateError(
                    f"container {self.found.record.name} is being started or copied from",
                    remedy="run the command again",
                )
            time.sleep(_POLL_S)
        return self

    def _check_free(self) -> None:
        """Raise ContainerStateError when `mount` has mounted the root somewhere."""
        if self.found.status != "running" and os.path.exists(self.found.paths.mounted):
            from rootless.container.mounted import check_free

            check_free(self.found)

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock.fd)

    def start(self, function: "Callable[[], object]") -> Job:
        """Start `function` in a child whose root directory is the container's.

        Raises HostError, ContainerStateError.
        """
        if self._lock is None:
            return self._start_joined(function)
        return self._start_mounted(function)

    def _start_joined(self, function: "Callable[[], object]") -> Job:
        state = self.found.state
        try:
            pidfd = os.pidfd_open(entrance(state.pid))
        except ProcessLookupError:
            pidfd = -1
        if pidfd < 0 or not is_same_process(state.pid, state.pid_start_time):
            raise ContainerStateError(f"container {self.found.record.name} has just ended")

        def join() -> None:
            # Nothing in the container may trace a process that has been outside (CVE-2016-9962).
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            syscalls.setns(pidfd, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            _take_root()

        try:
            return Job(function, join)
        finally:
            os.close(pidfd)

    def _start_mounted(self, function: "Callable[[], object]") -> Job:
        view = self.found
        root = make_root(self._host, view)
        binds = _volumes(view)
        ours, theirs = Channel.pair()

        def mount() -> None:
            ours.close()
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            theirs.send(b"u")
            theirs.expect(b"m")
            _mount(root, binds, theirs)

        job = Job(function, mount)
        theirs.close()
        outside = None
        try:
            while message := ours.receive()[0]:
                if message == b"u":
                    record = view.record
                    apply_maps(job.pid, IdMaps(record.uid_map, record.gid_map))
                    outside = (
                        fuse.Namespaces(job.pid) if root.driver in MOUNTED_FROM_OUTSIDE else None
                    )
                elif message == b"f" and outside is not None:
                    os.close(fuse.mount(root, outside))
                ours.send(b"m")
        except ConnectionError:
            pass  # the child tells why by its result
        finally:
            ours.close()
        return job


def _take_root() -> None:
    become_root()
    # Changing the id may have cleared it (prctl(2)).
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0)
    os.chdir("/")


def _volumes(view: ContainerView) -> list[BindMount]:
    """Return the mounts of volumes and of the host's files, as the container would have them."""
    places = {str(entry.get("Destination")) for entry in view.record.mounts}
    config = Config(read_config(view.paths))
    user = config.part("process").part("user")
    owner = (user.number("uid"), user.number("gid"))
    binds = []
    for entry in config.parts("mounts"):
        options = entry.texts("options")
        if entry.text("destination") in places and any(word in _BINDS for word in options):
            binds.append(
                BindMount(entry.text("source"), entry.text("destination"), options, owner=owner)
            )
    return binds


def _mount(root: Root, binds: list[BindMount], channel: Channel) -> None:
    """Mount the root and the volumes in the namespaces of this process, and enter the root."""
    root.open()
    there = []
    for bind in binds:
        try:
            bind.open()
        except OSError:
            continue  # its source has gone: a start would fail, a copy need not
        there.append(bind)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    _take_root()
    if root.driver in MOUNTED_FROM_OUTSIDE:
        channel.send(b"f")
        channel.expect(b"m")
    host = enter(root.mount())
    os.close(host)
    for step in [*there, *late_readonly(there)]:
        step.execute()
    os.chdir("/")
    channel.close()
