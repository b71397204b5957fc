"""Start a container in namespaces of another one, or in those that a path names.

The process that becomes the container is cloned by a child of the monitor that has entered them
(CLONE_PARENT makes it the monitor's own child all the same). A process has rights over a namespace
only in the user namespace that owns it, so the container lives in that one, with its id maps.
"""

import fcntl
import os

from rootless.container.idmap import HOST, KEEP_ID, NOMAP, UserNamespace, choose
from rootless.errors import ContainerStateError, HostError, UsageError, of_option
from rootless.linux import syscalls
from rootless.linux.procfs import entrance, is_same_process
from rootless.linux.userns import IdMaps
from rootless.sandbox.channel import Channel
from rootless.sandbox.mounts import GivenMount, KernelMount
from rootless.sandbox.plan import CLONE_FLAGS
from storage.containers import (
    ContainerRecord,
    ContainerView,
    find_container,
    find_id,
    read_config,
    read_record,
)
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host
    from rootless.sandbox.child import Plan
    from storage.layout import ContainerPaths

CONTAINER, PATH = "container", "ns"
CLONE_PARENT = 0x00008000
# ioctl_ns(2)
_NS_GET_USERNS = 0xB701
_FILES = {"network": "net"}
_OPTIONS = {"user": "userns"}
_SHM = "/dev/shm"  # noqa: S108 - a mount point in a container


# --- when it is made


def with_the_hosts(host: "Host", request: "ContainerRequest") -> "ContainerRequest":
    """Return the request with `host` for the namespaces of containers that have the host's."""
    changes: dict[str, str] = {}
    for kind, text in (
        ("pid", request.pid), ("ipc", request.ipc), ("uts", request.uts),
        ("network", request.network[0] if len(request.network) == 1 else ""),
    ):  # fmt: skip
        if not text.startswith(f"{CONTAINER}:"):
            continue
        try:
            record = read_record(host.layout, find_id(host.layout, text.partition(":")[2]))
        except StorageError:
            continue  # whoever joins says so
        if (record.network if kind == "network" else record.request.get(kind)) == HOST:
            changes[kind] = HOST
    return request._replace(
        pid=changes.get("pid", request.pid),
        ipc=changes.get("ipc", request.ipc),
        uts=changes.get("uts", request.uts),
        network=(HOST,) if "network" in changes else request.network,
    )


def wanted_joins(host: "Host", request: "ContainerRequest") -> dict[str, str]:
    """Return the namespaces that the request takes from elsewhere: kind -> container:ID or ns:PATH.

    Raises ContainerNotFound, UsageError.
    """
    texts = {"pid": request.pid, "ipc": request.ipc, "uts": request.uts, "user": request.userns}
    if len(request.network) == 1:
        texts["network"] = request.network[0]
    result = {}
    for kind, text in texts.items():
        mode, separator, name = text.partition(":")
        if mode not in (CONTAINER, PATH) or not separator:
            continue
        if mode == PATH and not name.startswith("/"):
            raise UsageError(f"--{kind} {text}: ns: wants an absolute path, as /proc/1234/ns/...")
        if mode == PATH:
            result[kind] = text
            continue
        with of_option(f"--{_OPTIONS.get(kind, kind)} {text}"):
            result[kind] = f"{CONTAINER}:{find_id(host.layout, name)}"
    return result


def owners(joins: dict[str, str]) -> list[str]:
    """Return the ids of the containers whose namespaces are shared."""
    prefix = f"{CONTAINER}:"
    return list(dict.fromkeys(t[len(prefix) :] for t in joins.values() if t.startswith(prefix)))


def shared_user_namespace(host: "Host", userns: str, joins: dict[str, str]) -> UserNamespace:
    """Return the user namespace in which a container with these joins lives.

    Raises UsageError when they belong to different ones, HostError.
    """
    found = [_namespace_of_container(host, owner) for owner in owners(joins)]
    paths = [text.partition(":")[2] for text in joins.values() if text.startswith(f"{PATH}:")]
    found += [_namespace_of_path(path) for path in paths]
    first = found[0]
    if any(other.maps != first.maps for other in found):
        raise UsageError(
            "the namespaces to share belong to containers with different user ids",
            remedy="share all of one container, or give both the same --userns",
        )
    if userns not in ("", "host", "private") and "user" not in joins:
        own = choose(userns, host.id_maps(), host.uid, host.gid)
        if own.maps != first.maps:
            raise UsageError(
                f"--userns={userns}: a container that shares namespaces of another lives in its"
                " user namespace, which has other ids",
                remedy="leave --userns out, or make the other with the same one",
            )
    return first


def _namespace_of_container(host: "Host", container_id: str) -> UserNamespace:
    record = read_record(host.layout, container_id)
    mode = str(record.request.get("userns", "host"))
    maps = IdMaps(record.uid_map, record.gid_map)
    if mode.partition(":")[0] not in (KEEP_ID, NOMAP):
        mode = HOST
    default = host.id_maps()
    chosen = choose(mode, default, host.uid, host.gid)
    if maps == chosen.maps:
        return chosen
    from rootless.container.idmap_options import MAP, namespace_of

    found = namespace_of(MAP if mode == HOST else mode, maps, default)
    return chosen._replace(mode=found.mode, maps=maps, own_uid=found.own_uid, own_gid=found.own_gid)


def _namespace_of_path(path: str) -> UserNamespace:
    """Read the id maps as a process of that user namespace has them."""
    ours, theirs = Channel.pair()
    namespace = _open(path)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
            syscalls.setns(owner, syscalls.CLONE_NEWUSER)
            theirs.send(b"e")
            theirs.receive()
        except OSError as error:
            theirs.send(b"n%d" % (error.errno or 1))
        finally:
            os._exit(0)
    os.close(namespace)
    theirs.close()
    try:
        message, _ = ours.receive()
        if message != b"e":
            raise _cannot_join(path, int(message[1:] or b"1"))
        maps = IdMaps(_read_map(pid, "uid_map"), _read_map(pid, "gid_map"))
    finally:
        ours.close()
        os.waitpid(pid, 0)
    return UserNamespace("host", maps, 0, 0)


def _read_map(pid: int, name: str) -> "tuple[tuple[int, int, int], ...]":
    with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    return tuple((row[0], row[1], row[2]) for row in rows)


def shared_files(host: "Host", joins: dict[str, str]) -> tuple[str, str]:
    """Return the directory of /etc/hosts and resolv.conf, and the host name, that are shared."""
    etc, hostname = "", ""
    prefix = f"{CONTAINER}:"
    if joins.get("network", "").startswith(prefix):
        paths = host.layout.container(joins["network"].removeprefix(prefix))
        etc = _real_etc(paths)
    if joins.get("uts", "").startswith(prefix):
        paths = host.layout.container(joins["uts"].removeprefix(prefix))
        hostname = str(read_config(paths).get("hostname") or "")
    return etc, hostname


def _real_etc(paths: "ContainerPaths") -> str:
    """Follow an owner that itself shows the files of another; "" when it has none to show."""
    for entry in read_config(paths).get("mounts", ()):
        if entry.get("destination") == "/etc/hosts" and entry.get("source", "").endswith("/hosts"):
            return os.path.dirname(str(entry["source"]))
    return paths.etc if os.path.exists(f"{paths.etc}/resolv.conf") else ""


def note_dependents(host: "Host", record: ContainerRecord) -> None:
    """Let the containers whose namespaces it shares know, before it appears."""
    for owner in owners(record.joins):
        directory = host.layout.container(owner).dependents
        os.makedirs(directory, mode=0o700, exist_ok=True)
        os.close(
            os.open(f"{directory}/{record.id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        )


# --- when it starts


class Joined:
    """The namespaces that a container is born in, entered by the process that clones it."""

    def __init__(self, host: "Host", record: ContainerRecord, plan: "Plan") -> None:
        """Open the namespaces. Raises ContainerStateError, HostError."""
        self._flags = 0
        self._fds: list[tuple[int, int]] = []
        self._shm = -1
        for kind, text in record.joins.items():
            mode, _, name = text.partition(":")
            if mode == CONTAINER:
                fd = self._of_container(find_container(host.layout, name), kind, plan)
            else:
                fd = _open(name)
            self._fds.append((fd, CLONE_FLAGS[kind]))
        self._userns = self._owner()

    def _of_container(self, found: ContainerView, kind: str, plan: "Plan") -> int:
        name, pid = found.record.name, found.pid
        if not pid:
            raise ContainerStateError(
                f"share the {kind} namespace of container {name}: it does not run",
                remedy=f"start it: rpod start {name}",
            )
        inside = entrance(pid)
        fd = _open(f"/proc/{inside}/ns/{_FILES.get(kind, kind)}")
        if kind == "ipc":
            self._take_shm(inside, plan)
        if not is_same_process(pid, found.state.pid_start_time):
            raise ContainerStateError(f"container {name} has just ended")
        return fd

    def _owner(self) -> int:
        """Return the user namespace that owns all of them, or that is one of them itself."""
        result = -1
        for fd, kind in self._fds:
            owner = os.dup(fd) if kind == syscalls.CLONE_NEWUSER else _owner_of(fd)
            if result < 0:
                result = owner
                continue
            same = os.path.sameopenfile(result, owner)
            os.close(owner)
            if not same:
                raise HostError(
                    "the namespaces to share belong to different user namespaces",
                    remedy="share all of one container",
                )
        return result

    def _take_shm(self, pid: int, plan: "Plan") -> None:
        """Show the other's /dev/shm: POSIX shared memory is a part of what `ipc` shares."""
        tree = _clone_tree(pid, _SHM)
        if tree < 0:
            return
        for position, step in enumerate(plan.operations):
            if isinstance(step, KernelMount) and step.target == _SHM:
                plan.operations[position] = GivenMount(tree, _SHM)
                self._shm = tree
                return
        os.close(tree)

    def clone(self, flags: int) -> int:
        """Fork into the namespaces, and into new ones: 0 in the child, its pid here.

        Raises OSError.
        """
        ours, theirs = Channel.pair()
        worker = os.fork()
        if worker == 0:
            ours.close()
            try:
                syscalls.setns(self._userns, syscalls.CLONE_NEWUSER)
                for fd, kind in self._fds:
                    if kind != syscalls.CLONE_NEWUSER:
                        syscalls.setns(fd, kind)
                pid = syscalls.clone(flags | CLONE_PARENT)
            except OSError as error:
                theirs.send(b"c%d" % (error.errno or 1))
                os._exit(1)
            if pid == 0:
                theirs.close()
                return 0
            theirs.send(b"p%d" % pid)
            os._exit(0)
        theirs.close()
        message, _ = ours.receive()
        ours.close()
        os.waitpid(worker, 0)
        self._close()
        if message[:1] == b"p":
            return int(message[1:])
        if message[:1] == b"c":
            raise OSError(int(message[1:]), os.strerror(int(message[1:])))
        raise HostError("start the container: the process that makes it was killed")

    def _close(self) -> None:
        for fd, _ in self._fds:
            os.close(fd)
        for fd in (self._userns, self._shm):
            if fd >= 0:
                os.close(fd)
        self._fds, self._userns, self._shm = [], -1, -1

    def wait_mapped(self) -> None:
        """Return at once: the id maps are those of the namespace that it was born in."""

    def wait_ready(self) -> None:
        """Return at once: there is nothing of its own to wait for."""

    def uses(self) -> None:
        """Return nothing: the network is held by the other."""

    def abandon(self) -> None:
        """Give back what was opened: the start has failed."""
        self._close()


def _owner_of(namespace: int) -> int:
    fd = fcntl.ioctl(namespace, _NS_GET_USERNS)
    os.set_inheritable(fd, False)
    return fd


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_join(path, error.errno or 0) from error


def _cannot_join(path: str, number: int) -> HostError:
    return HostError(
        f"join the namespace {path}: {os.strerror(number)}",
        remedy="it must be a file like /proc/PID/ns/net of a process in a user namespace of yours",
    )


def _clone_tree(pid: int, path: str) -> int:
    """Return a detached copy of a mount of another container, -1 when it has none there.

    open_tree(2) copies what is mounted in the caller's own namespace, so a child goes there.
    """
    ours, theirs = Channel.pair()
    helper = os.fork()
    if helper == 0:
        try:
            # Nobody in the container may look into this process.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            pidfd = os.pidfd_open(pid)
            syscalls.setns(pidfd, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            found = syscalls.openat2(
                syscalls.AT_FDCWD,
                path,
                os.O_PATH | os.O_DIRECTORY,
                resolve=syscalls.RESOLVE_NO_SYMLINKS,
            )
            flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH
            theirs.send(b"f", syscalls.open_tree(found, "", flags))
        except OSError:
            theirs.send(b"n")
        finally:
            os._exit(0)
    theirs.close()
    _, tree = ours.receive()
    ours.close()
    os.waitpid(helper, 0)
    return tree
