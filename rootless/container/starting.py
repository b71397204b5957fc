"""Start a container from its bundle: namespaces, id maps, network, then the go to exec.

What can run side by side does: newuidmap beside newgidmap, slirp4netns beside the mounts.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import errno
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
from rootless.container.rootfs import make_root, seccomp_filter
from rootless.container.running import Container
from rootless.container.starting_network import open_namespaces, start_network, wait_network
from rootless.container.streams import Streams, take_streams
from rootless.errors import HostError, RootlessError, SandboxError
from rootless.host.paths import boot_id
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.procfs import start_time
from rootless.linux.userns import IdMaps, apply_maps, no_namespace_error
from rootless.sandbox import child
from rootless.sandbox.channel import Channel, parse_error
from rootless.sandbox.drivers import MOUNTED_FROM_OUTSIDE
from rootless.sandbox.plan import make_plan
from rootless.sandbox.root import Root
from rootless.sandbox.targets import StepError
from storage import lightjson as json
from storage.containers import ContainerState, ContainerView
from storage.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless.container.cgroups import Group
    from rootless.container.frames import StartOptions
    from rootless.container.joined import Joined
    from rootless.container.networks_join import Joining
    from rootless.host.paths import Host
    from rootless.sandbox.process import Process
    from storage.layout import ContainerPaths


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


def start_container(
    host: "Host",
    view: ContainerView,
    options: "StartOptions",
    hold: "Callable[[Container], None] | None" = None,
) -> Container:
    """Start the container of a bundle; it runs its command when this returns.

    `hold` is called when everything is ready but the command, which waits for its return.

    Raises SandboxError and its kinds, IdMapError, NoUserNamespace, slirp.errors.SlirpError.
    """
    record, paths = view.record, view.paths
    raw = _prepare(host, view)
    plan = _make_plan(host, view, raw)
    plan.console_size = options.console_size
    if "secret" in record.request:
        add_secret_variables(plan.process, paths)
    _give_sockets(plan, options.listen_fds, os.environ)
    streams = take_streams(record, options, plan)
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
        if hold is not None:
            hold(container)
        let_run(view, container, channel)
    except BaseException:
        _take_back(container, joining)
        raise
    finally:
        channel.close()
        if group is not None:
            group.close()
    _keep_streams(container, streams, record.log_driver)
    container.start_time = start_time(pid)
    if record.timeout_s:
        container.deadline_s = time.monotonic() + record.timeout_s
    return container


def state_of(container: Container, options: "StartOptions", started_at: str) -> ContainerState:
    """Return what is written down of a container that has just been started, or prepared."""
    return ContainerState(
        started_at=started_at,
        pid=container.pid,
        pid_start_time=container.start_time,
        monitor_pid=os.getpid(),
        boot_id=boot_id(),
        ports=tuple(container.ports),
        cgroup=container.cgroup,
        restart_count=options.restart_count,
    )


def _keep_streams(container: Container, streams: Streams, log_driver: str) -> None:
    """Give the monitor its ends of the streams."""
    if container.is_terminal:
        container.stdin = os.dup(container.terminal)
        container.outputs = [(container.terminal, OUT, STDOUT)]
    elif log_driver != "passthrough":
        container.stdin = streams.stdin
        container.outputs = [(streams.stdout, OUT, STDOUT), (streams.stderr, ERR, STDERR)]


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
    """See a child of `clone_child` through until it waits for nothing but the word to go on.

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
    namespaces = open_namespaces(view, container.pid)
    from_outside = root.driver in MOUNTED_FROM_OUTSIDE
    mount_root = _fuse_mount(root, container) if from_outside else None
    channel.send(b"m")
    container.network = start_network(host, view, container, namespaces)
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
    wait_network(view, container, joining, namespaces)
    if namespaces is not None:
        namespaces.close()
    _note_process(view, container)


def let_run(view: ContainerView, container: Container, channel: Channel) -> None:
    """See a child that `bring_up` has prepared through to the execution of its command.

    Raises SandboxError and its kinds.
    """
    channel.send(b"x")
    message, fd = channel.receive()
    if message == b"l":
        from rootless.container.emulate import answer

        answer(view, container, fd, listen(view.paths.emulation_socket))
        message, _ = channel.receive()
    if message:
        raise explain(parse_error(message))


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


def explain(error: StepError) -> RootlessError:
    """Turn a step's errno into the error that a person sees, with podman's exit codes."""
    from rootless.container.start_errors import explain_step

    return explain_step(error)
