"""Start a container from its bundle: namespaces, id maps, network, then the go to exec.

What can run side by side does: newuidmap beside newgidmap, slirp4netns beside the mounts.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import errno
import fcntl
import os
import time

from rootless.container.etc import (
    hostname_of,
    read_resolv_conf,
    request_of,
    write_network_files,
)
from rootless.container.frames import ERR, OUT
from rootless.container.logfile import STDERR, STDOUT
from rootless.container.own_cgroup import ask_cgroup, begin_cgroup, enter_cgroup
from rootless.container.running import Container
from rootless.errors import (
    HostError,
    RootlessError,
    SandboxError,
)
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.procfs import start_time
from rootless.linux.userns import IdMaps, apply_maps, no_namespace_error, to_host
from rootless.sandbox import child
from rootless.sandbox.channel import Channel, parse_error
from rootless.sandbox.drivers import FUSE, MOUNTED_FROM_OUTSIDE
from rootless.sandbox.plan import make_plan
from rootless.sandbox.root import Root
from rootless.sandbox.targets import StepError
from storage import lightjson as json
from storage.containers import ContainerRecord, ContainerView
from storage.files import read_file
from storage.layers import has_layer, map_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless.container.cgroups import Group
    from rootless.container.frames import StartOptions
    from rootless.container.joined import Joined
    from rootless.container.networks_join import Joining
    from rootless.host.paths import Host
    from rootless.sandbox.process import Process
    from slirp.process import Namespaces, Running
    from storage.layout import ContainerPaths

_PIPE_BYTES = 1 << 18
_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def _large_pipe() -> tuple[int, int]:
    """Make a pipe of four times the usual size: a quarter of the reads for a busy writer."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError as error:
        # EPERM: the user's pipes together have reached pipe-user-pages-soft (pipe(7)).
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
    return reader, writer


class _Streams:
    """The ends of the standard streams: what the child gets, what the monitor keeps."""

    __slots__ = ("child", "stderr", "stdin", "stdout")

    def __init__(
        self, *, interactive: bool, terminal: bool, passed: tuple[int, int, int] | None = None
    ) -> None:
        self.stdin = self.stdout = self.stderr = -1
        if passed is not None:
            self.child = passed
            return
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        first, second, third = null, null, null
        if not terminal:
            if interactive:
                first, self.stdin = os.pipe2(os.O_CLOEXEC)
            self.stdout, second = _large_pipe()
            self.stderr, third = _large_pipe()
        self.child = (first, second, third)

    def close_child(self) -> None:
        for fd in set(self.child):
            os.close(fd)


def _take_streams(record: ContainerRecord, options: "StartOptions", plan: child.Plan) -> _Streams:
    """Let go of the caller's streams and make those of the container, or pass the caller's on."""
    passed = _own_streams() if record.log_driver == "passthrough" else None
    _silence_standard_streams()
    # After that, so that no descriptor of the child is one of 0, 1, 2.
    streams = _Streams(
        interactive=record.interactive or options.interactive,
        terminal=plan.process.terminal,
        passed=passed,
    )
    plan.streams, plan.streams_are_callers = streams.child, passed is not None
    return streams


def _own_streams() -> tuple[int, int, int]:
    """Return copies of the caller's streams, but never a terminal (TIOCSTI)."""
    copies = []
    for fd in (0, 1, 2):
        if os.isatty(fd):
            copies.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        else:
            copies.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
    first, second, third = copies
    return first, second, third


def listen(path: str) -> _socket.socket:
    """Make a socket: 0600, in the run root that only its owner may enter."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = os.path.basename(path)
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # A path in a socket address has 107 bytes (unix(7)); this one is short whatever the path.
        listener.bind(f"/proc/self/fd/{directory}/{name}")
        os.chmod(name, 0o600, dir_fd=directory)
        listener.listen(16)
        listener.setblocking(False)
        return listener
    finally:
        os.close(directory)


def _read_config(view: ContainerView) -> dict[str, object]:
    path = view.paths.config
    try:
        raw = json.loads(read_file(path))
        if isinstance(raw, dict):
            return raw
        problem = "an object was expected"
    except OSError as error:
        problem = error.strerror or "unreadable"
    except ValueError as error:
        problem = str(error)
    raise SandboxError(
        f"start container {view.record.name}: read {path}: {problem}",
        remedy=f"remove the container: rpod rm {view.record.name}",
    )


def _prepare(host: "Host", view: ContainerView) -> dict[str, object]:
    """Return config.json; what the last start has written to overlays goes."""
    if os.path.isdir(view.paths.overlays) or view.record.request.get("rootfs_kind") == "overlay":
        from rootless.container.overlay_mounts import throw_away

        throw_away(host, view)
    return _read_config(view)


def start_container(host: "Host", view: ContainerView, options: "StartOptions") -> Container:
    """Start the container of a bundle; it runs its command when this returns.

    Raises SandboxError and its kinds, IdMapError, NoUserNamespace, slirp.errors.SlirpError.
    """
    record, paths = view.record, view.paths
    raw = _prepare(host, view)
    plan = _make_plan(host, view, raw)
    plan.console_size = options.console_size
    if "secret" in record.request:
        add_secret_variables(plan.process, paths)
    _give_sockets(plan, options.listen_fds, os.environ)
    streams = _take_streams(record, options, plan)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    group = begin_cgroup(host, view, raw, plan)
    joining = _join(host, view, raw, plan)
    channel, pid = clone_child(plan, group, joining)
    streams.close_child()
    container = Container(listen(paths.attach_socket))
    container.pid = pid
    container.pidfd = os.pidfd_open(pid)
    container.is_terminal = plan.process.terminal
    try:
        ask_cgroup(group, raw, container)
        bring_up(
            host,
            view,
            container,
            channel,
            plan.root,
            joining,
            group,
            meanwhile=lambda: write_network_files(
                paths.etc, request_of(record), record, hostname_of(raw)
            ),
        )
    except BaseException:
        _take_back(container, joining)
        raise
    finally:
        channel.close()
        if group is not None:
            group.close()
    if container.is_terminal:
        container.stdin = os.dup(container.terminal)
        container.outputs = [(container.terminal, OUT, STDOUT)]
    elif record.log_driver != "passthrough":
        container.stdin = streams.stdin
        container.outputs = [(streams.stdout, OUT, STDOUT), (streams.stderr, ERR, STDERR)]
    container.start_time = start_time(pid)
    if record.timeout_s:
        container.deadline_s = time.monotonic() + record.timeout_s
    return container


def add_secret_variables(process: "Process", paths: "ContainerPaths") -> None:
    """Give a process of a container the variables that no record has."""
    if os.path.exists(paths.secret_env):
        from rootless.container.secrets import secret_variables

        process.environment |= secret_variables(paths)


def _make_plan(host: "Host", view: ContainerView, raw: dict[str, object]) -> child.Plan:
    """Make the plan; programs of the image's architecture may need an emulator."""
    seccomp = seccomp_filter(raw, view.paths.directory)
    plan = make_plan(raw, make_root(host, view), seccomp=seccomp)
    annotations = raw.get("annotations")
    if isinstance(annotations, dict) and "dev.rpod.architecture" in annotations:
        from rootless.host.emulators import allow_foreign

        allow_foreign(plan, str(annotations["dev.rpod.architecture"]), os.environ)
    return plan


def _give_sockets(plan: child.Plan, count: int, environ: "Mapping[str, str]") -> None:
    """Pass on the sockets that systemd has opened: they are the descriptors from 3 on."""
    if not count:
        return
    plan.listen_fds = count
    if "LISTEN_FDS" not in environ:
        return  # --preserve-fds
    from rootless.container.activation import listen_environment

    # With --init the command is the second process.
    plan.process.environment |= listen_environment(count, 2 if plan.init else 1, environ)


def _take_back(container: Container, joining: "Joining | Joined | None") -> None:
    """End what a start that has failed has begun."""
    signal.pidfd_send_signal(container.pidfd, signal.SIGKILL)
    if container.network is not None:
        container.network.stop()
    if joining is not None:
        joining.abandon()
    os.waitpid(container.pid, 0)


def _join(
    host: "Host", view: ContainerView, raw: dict[str, object], plan: child.Plan
) -> "Joining | Joined | None":
    """Open the namespaces of others, or take part in user-defined networks."""
    if not view.record.joins:
        return _join_networks(host, view, raw)
    if view.record.network == "bridge":
        raise HostError(
            f"start container {view.record.name}: it cannot share a namespace of a container and"
            " be in networks of its own",
            remedy="share the network too: --network container:NAME",
        )
    from rootless.container.joined import Joined

    return Joined(host, view.record, plan)


def _join_networks(host: "Host", view: ContainerView, raw: dict[str, object]) -> "Joining | None":
    """Take addresses in the container's user-defined networks, and write them into its files."""
    if view.record.network != "bridge":
        return None
    from rootless.container.networks_files import write_files
    from rootless.container.networks_join import Joining

    hostname = hostname_of(raw)
    joining = Joining(host, view.record, hostname)
    write_files(view.paths, view.record, hostname, joining.networks, joining.endpoints)
    return joining


def clone_child(
    plan: child.Plan, group: "Group | None" = None, joining: "Joining | Joined | None" = None
) -> tuple[Channel, int]:
    """Make the process that becomes the container, in its new namespaces."""
    ours, theirs = Channel.pair()
    try:
        if joining is not None:
            pid = joining.clone(plan.clone_flags)
        else:
            pid = _clone_into(plan.clone_flags, group)
    except BaseException as error:
        if joining is not None:
            joining.abandon()
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EPERM, errno.ENOSPC, errno.EUSERS, errno.EINVAL):
            raise no_namespace_error(error) from error
        raise HostError(f"make the container's process: {error.strerror}") from error
    if pid == 0:
        child.run(plan, theirs)
    theirs.close()
    return ours, pid


def _clone_into(flags: int, group: "Group | None") -> int:
    if group is not None and group.fd >= 0:
        try:
            pid = syscalls.clone_into(flags, group.fd)
        except OSError as error:
            # Before Linux 5.7, under a seccomp filter, with a cgroup that is nobody's but root's
            # above: the child is moved.
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EACCES, errno.EPERM):
                raise
        else:
            group.born = True
            return pid
    return syscalls.clone(flags)


def make_root(host: "Host", view: ContainerView) -> Root:
    """Describe the root file system; the layers are checked to be there. Raises HostError."""
    record, paths = view.record, view.paths
    if record.request.get("rootfs_kind"):
        from rootless.container.plain_rootfs import make_root as make_plain_root

        return make_plain_root(view)
    if directory := record.request.get("rootfs"):
        from rootless.container.host_copy import make_root as make_copy

        return make_copy(view, str(directory))
    lower = []
    for chain_id in reversed(record.chain_ids):
        if not has_layer(host.layout, record.map_key, chain_id):
            raise HostError(
                f"start container {record.id[:12]}: its layer {chain_id[:19]} is not in the store",
                remedy=f"pull the image again: rpod pull {record.image_name}",
            )
        lower.append(host.layout.layer_diff(record.map_key, chain_id))
    root = Root(record.driver, paths.rootfs, lower, paths.upper, paths.work)
    if record.driver == FUSE:
        root.mapping = _mapping(host, record)
    return root


def _mapping(host: "Host", record: ContainerRecord) -> str:
    """Return how fuse-overlayfs is to show layers of the default map in another one."""
    default, own = host.id_maps(), IdMaps(record.uid_map, record.gid_map)
    if own == default or record.map_key != map_key(default.uids, default.gids):
        return ""
    from rootless.container.mapped import mapping_options

    return mapping_options(default, own)


def seccomp_filter(raw: dict[str, object], directory: str) -> bytes:
    """Return the filter that the bundle names: the default, a profile of its own, or none."""
    annotations = raw.get("annotations")
    process = raw.get("process")
    choice = annotations.get("dev.rpod.seccomp", "") if isinstance(annotations, dict) else ""
    if choice == "unconfined":
        return b""
    from rootless.sandbox import seccomp

    capabilities = process.get("capabilities", {}) if isinstance(process, dict) else {}
    bounding = capabilities.get("bounding", [])
    machine = os.uname().machine
    if choice in ("", "default"):
        return seccomp.default_filter(machine, bounding)
    path = f"{directory}/seccomp.json"
    profile = json.loads(read_file(path))
    return seccomp.compile_profile(profile, machine, bounding, os.uname().release, where=choice)


def _silence_standard_streams() -> None:
    """Let go of the caller's streams: a pipe that it reads must end when it ends."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def bring_up(
    host: "Host",
    view: ContainerView,
    container: Container,
    channel: Channel,
    root: Root,
    joining: "Joining | Joined | None" = None,
    group: "Group | None" = None,
    meanwhile: "Callable[[], object] | None" = None,
) -> None:
    """See a child of `clone_child` through to the execution of its command.

    `meanwhile` is called before anything is mounted, beside other programs' work.
    Raises SandboxError and its kinds, IdMapError, slirp.errors.SlirpError.
    """
    record = view.record
    if joining is None:
        apply_maps(container.pid, IdMaps(record.uid_map, record.gid_map), meanwhile)
    else:
        joining.wait_mapped()
        if record.joins and meanwhile is not None:
            meanwhile()
    enter_cgroup(group, container)
    namespaces = _open_namespaces(view, container.pid)
    from_outside = root.driver in MOUNTED_FROM_OUTSIDE
    mount_root = _fuse_mount(root, container) if from_outside else None
    channel.send(b"m")
    container.network = _start_network(host, view, container, namespaces)
    while True:
        message, fd = channel.receive()
        kind = message[:1]
        if kind == b"t":
            container.terminal = fd
        elif kind == b"f" and mount_root is not None:
            mount_root()
            channel.send(b"m")
        elif kind == b"e":
            raise explain(parse_error(message))
        elif kind == b"r":
            break
        else:
            raise SandboxError("set up the container: its process was killed")
    _wait_network(view, container, joining)
    if namespaces is not None:
        namespaces.close()
    _note_process(view, container)
    channel.send(b"x")
    message, fd = channel.receive()
    if message == b"l":
        from rootless.container.emulate import answer

        answer(view, container, fd, listen(view.paths.emulation_socket))
        message, _ = channel.receive()
    if message:
        raise explain(parse_error(message))


def _wait_network(
    view: ContainerView, container: Container, joining: "Joining | Joined | None"
) -> None:
    """Return once the network works and the ports are published. Raises SlirpError, HostError."""
    if container.network is not None:
        container.network.wait_ready()
    if joining is not None:
        joining.wait_ready()
        container.uses = joining.uses()
    if container.published is not None:
        from rootless.container.publishing import settle

        settle(view, container)


def _note_process(view: ContainerView, container: Container) -> None:
    """Note what has to be known of the first process while it waits to execute the command."""
    _write_pidfile(view.record.pidfile, container.pid)
    container.resolv = read_resolv_conf(view.paths.etc)
    if view.record.request.get("pid") == "host":
        from rootless.container.orphans import mount_namespace

        container.mounts = mount_namespace(container.pid)


def _write_pidfile(path: str, pid: int) -> None:
    if not path:
        return
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(pid))
    except OSError as error:
        raise RootlessError(f"write --pidfile {path}: {error.strerror}") from error


def _fuse_mount(root: Root, container: Container) -> "Callable[[], None]":
    """Return what mounts the root once the child asks for it."""
    from rootless.container import fuse

    namespaces = fuse.Namespaces(container.pid)

    def mount() -> None:
        container.fuse = fuse.mount(root, namespaces)

    return mount


def _open_namespaces(view: ContainerView, pid: int) -> "Namespaces | None":
    """Open them for the network helper when root of the namespace is not the caller's id."""
    if to_host(view.record.uid_map, 0) == os.geteuid():
        return None
    from slirp.process import Namespaces

    return Namespaces.open(pid)


def _start_network(
    host: "Host", view: ContainerView, container: Container, namespaces: "Namespaces | None"
) -> "Running | None":
    """Start the helper for the network namespace of the child; ports are chosen here."""
    mode = view.record.network.partition(":")[0]
    if mode == "bridge" and view.record.ports:
        from rootless.container.publishing import bind

        bind(host, view, container)
    if mode not in ("slirp4netns", "pasta"):
        return None
    from slirp.model import PortMapping
    from slirp.settings import parse_network

    settings = parse_network(view.record.network)
    ports: tuple[PortMapping, ...] = ()
    if view.record.ports and settings.forwards:
        from rootless.container.publishing import bind

        bind(host, view, container)
    elif view.record.ports:
        from slirp.ports import choose_host_ports

        ports = choose_host_ports(PortMapping.from_json(entry) for entry in view.record.ports)
        container.ports = [mapping.to_json() for mapping in ports]
    if mode == "pasta":
        from slirp import pasta

        return pasta.start(container.pid, settings.pasta, ports=ports, namespaces=namespaces)
    from slirp import slirp4netns

    socket_path = view.paths.network_socket if container.ports else None
    if socket_path and os.path.exists(socket_path):
        os.unlink(socket_path)
    return slirp4netns.start(
        container.pid,
        settings.slirp,
        ports=ports,
        api_socket=socket_path,
        namespaces=namespaces,
    )


def explain(error: StepError) -> RootlessError:
    """Turn a step's errno into the error that a person sees, with podman's exit codes."""
    from rootless.container.start_errors import explain_step

    return explain_step(error)
