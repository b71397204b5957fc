"""Execute the command of a RUN, in the same sandbox as `rpod run`.

A bundle is made in the build's directory under `tmp/`; this process is the parent of the container
for as long as it runs, and the container dies with it.
"""

import errno
import os
import select
import time

from rootless.container import spec
from rootless.container.bundle import check_limits, copy_seccomp, top_mode, write_etc
from rootless.container.emulate import choose_emulation
from rootless.container.enclosed import fit_host_name
from rootless.container.etc import hostname_of, write_network_files
from rootless.container.idmap import choose, fit_single_id
from rootless.container.logfile import timestamp
from rootless.container.merged import Accounts
from rootless.container.mounts import UserMount
from rootless.container.network_choice import network_mode
from rootless.container.own_cgroup import ask_cgroup, begin_cgroup
from rootless.container.request import ContainerRequest, asked_limits
from rootless.container.rootfs import seccomp_filter
from rootless.container.running import Container
from rootless.container.starting import bring_up, clone_child, let_run
from rootless.host.emulators import allow_foreign
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.sandbox.emulated_calls import FULL
from rootless.sandbox.operations import Operation, WorkingDirectory
from rootless.sandbox.plan import make_plan
from rootless.sandbox.root import Root
from storage.containers import ContainerRecord, ContainerState, ContainerView, new_id
from storage.files import read_file
from storage.layout import ContainerPaths
from storage.oci.config import ImageConfig
from storage.owners import Owner
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host
    from rootless.sandbox.child import Plan

    Output = Callable[[int, bytes], None]

HOSTNAME = "rpod-build"
_CHUNK_BYTES = 1 << 16
_LAST_OUTPUT_S = 1.0
_FUSE_END_S = 60.0
_PARTS = ("rootfs", "upper", "work", "etc", "mounts")


class Command(NamedTuple):
    """What a RUN executes, and in what. `environment` is complete but for rpod's defaults.

    `layers` are unpacked layers, the top one first, which `driver` makes a root file system of: for
    a copy it is in the bundle already. `sources` are mounts that the request has no
    words for; `operations` are executed after all mounts.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    user: str
    workdir: str
    layers: tuple[str, ...]
    driver: str
    platform: str
    accounts: Accounts
    request: ContainerRequest
    sources: tuple[spec.Source, ...] = ()
    operations: tuple[Operation, ...] = ()


def make_bundle(directory: str, layers: tuple[str, ...]) -> None:
    """Make the directories of a bundle. Raises OSError."""
    for part in ("", *(f"/{name}" for name in _PARTS)):
        os.mkdir(directory + part, 0o711)
    for name in ("upper", "rootfs"):
        os.chmod(f"{directory}/{name}", top_mode(list(layers)))
    if not layers:
        os.mkdir(f"{directory}/mounts/empty", 0o755)


def _root_of(directory: str, command: "Command") -> Root:
    """Describe the root file system of a bundle; without layers it is an empty directory."""
    lower = list(command.layers) or [f"{directory}/mounts/empty"]
    parts = (f"{directory}/{name}" for name in ("upper", "work"))
    return Root(command.driver, f"{directory}/rootfs", lower, *parts)


def run_command(host: "Host", directory: str, command: Command, output: "Output") -> int:
    """Run a command to its end and return its exit code, 128 + N for signal N.

    Raises SandboxError and its kinds, UnknownUser, UsageError, NetworkError.
    """
    view, plan, raw = prepare(host, directory, command)
    # A cgroup only where a limit needs one: it costs as much as the rest of a short step.
    group = begin_cgroup(host, view, raw, plan) if asked_limits(command.request) else None
    reader, writer = os.pipe2(os.O_CLOEXEC)
    error_reader, error_writer = os.pipe2(os.O_CLOEXEC)
    is_asking = command.request.interactive
    stdin = os.dup(0) if is_asking else os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    plan.streams = (stdin, writer, error_writer)
    if command.request.pid == "host":
        # What its command leaves running becomes a child of this process, which ends it.
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    try:
        channel, pid = clone_child(plan, group)
    finally:
        for fd in plan.streams:
            os.close(fd)
    container = Running(pid, {reader: 1, error_reader: 2})
    try:
        try:
            ask_cgroup(group, raw, container)
            bring_up(host, view, container, channel, plan.root, group=group)
            let_run(view, container, channel)
        finally:
            channel.close()
            if group is not None:
                group.close()
        return container.wait(output)
    finally:
        container.end()


def prepare(
    host: "Host", directory: str, command: Command
) -> "tuple[ContainerView, Plan, dict[str, object]]":
    """Make the configuration and the plan of a bundle whose directories are there."""
    namespace = choose("host", host.id_maps(), host.uid, host.gid)
    request = command.request
    if b"\nSeccomp:\t0\n" not in read_file("/proc/self/status"):
        request = fit_host_name(host, request)
    request = request._replace(
        command=command.arguments, entrypoint="", user=None,
        workdir=command.workdir or None,
        hostname=None if request.uts == "host" else HOSTNAME,
        cgroups="no-monitor",
    )  # fmt: skip
    variables = [f"{name}={value}" for name, value in command.environment.items()]
    config = ImageConfig.from_json({"config": {"Env": variables, "User": command.user}}, "build")
    if namespace.maps.is_single:
        user = spec.wanted_user(request, config, namespace, command.accounts)
        # What installs packages looks at the owners that it has given, and goes on without what
        # then fails: PostgreSQL makes no cluster, and apt is content.
        fitted = fit_single_id(namespace, user.uid, user.gid)
        namespace = choose_emulation(host, request.root_emulation, fitted, auto=FULL)
    around = spec.Surroundings(
        container_id=new_id(),
        name=HOSTNAME,
        directory=directory,
        namespace=namespace,
        layers=list(command.layers),
        accounts=command.accounts,
        network=spec.Network(network_mode(host, request)),
        sources=list(command.sources),
    )
    user = spec.find_user(request, config, around)
    raw = spec.make_config(request, config, user, around)
    check_limits(host, request, raw)
    copy_seccomp(raw, directory)
    record = _record(around, request, command.driver)
    write_etc(host, request, record, raw, directory)
    write_network_files(f"{directory}/etc", request, record, hostname_of(raw))
    root = _root_of(directory, command)
    plan = make_plan(raw, root, seccomp=seccomp_filter(raw, directory))
    place = next(n for n, one in enumerate(plan.operations) if isinstance(one, WorkingDirectory))
    plan.operations[place:place] = command.operations
    allow_foreign(plan, command.platform.split("/")[1], host.environ)
    view = ContainerView(record, ContainerState(), "created", ContainerPaths(directory, directory))
    return view, plan, raw


def owner_of(host: "Host", command: Command) -> Owner:
    """Return who owns what the command makes. Raises UnknownUser, UsageError."""
    namespace = choose("host", host.id_maps(), host.uid, host.gid)
    request = command.request._replace(user=None)
    config = ImageConfig.from_json({"config": {"User": command.user}}, "build")
    user = spec.wanted_user(request, config, namespace, command.accounts)
    return Owner(user.uid, user.gid)


def _record(around: spec.Surroundings, request: ContainerRequest, driver: str) -> ContainerRecord:
    return ContainerRecord(
        id=around.container_id,
        name=around.name,
        created_at=timestamp(time.time_ns()),
        image_name="",
        image_id="",
        image_digest="",
        command=request.command,
        map_key="",
        chain_ids=(),
        uid_map=around.namespace.maps.uids,
        gid_map=around.namespace.maps.gids,
        driver=driver,
        network=around.network.mode,
        ports=(),
        mounts=(),
        labels={},
        annotations={},
        stop_signal=int(signal.SIGTERM),
        stop_timeout_s=0,
        timeout_s=0,
        tty=request.tty,
        interactive=request.interactive,
        auto_remove=True,
        init=False,
        log_driver="none",
        anonymous_volumes=(),
        cidfile="",
        pidfile="",
        request={"pid": request.pid},
    )


def bind(source: str, target: str, *options: str) -> spec.Source:
    """Return a mount of a file or directory of the host that rpod itself has made or chosen."""
    mount = UserMount("bind", source, target, ("rbind", "rprivate", *options))
    return spec.Source(mount, source, "")


class Running(Container):
    """A container that this process waits for; nothing outlives it."""

    __slots__ = ("_outputs", "_status")

    def __init__(self, pid: int, outputs: dict[int, int]) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # nobody attaches to a build step
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self._outputs = outputs
        self._status: int | None = None

    def wait(self, output: "Output") -> int:
        """Pass on what it writes until it has ended; return its exit code."""
        poll = select.poll()
        for fd in (self.pidfd, *self._outputs):
            poll.register(fd, select.POLLIN)
        deadline_s = 0.0
        while self._outputs or self._status is None:
            wait_ms = None
            if deadline_s:
                # Something outside of its namespaces may hold the pipes: nothing is waited for.
                wait_ms = int(max(0.0, deadline_s - time.monotonic()) * 1000)
            ready = poll.poll(wait_ms)
            if not ready:
                break
            for fd, _ in ready:
                if fd == self.pidfd:
                    poll.unregister(fd)
                    _, self._status = os.waitpid(self.pid, 0)
                    deadline_s = time.monotonic() + _LAST_OUTPUT_S
                elif data := os.read(fd, _CHUNK_BYTES):
                    output(self._outputs[fd], data)
                else:
                    poll.unregister(fd)
                    os.close(fd)
                    del self._outputs[fd]
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """See that nothing of it is left."""
        if self._status is None:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
            os.waitpid(self.pid, 0)
        if self.mounts:
            from rootless.container.orphans import end_orphans

            end_orphans(self.mounts)
        if self.network is not None:
            self.network.stop()
        if self.cgroup:
            from rootless.container.cgroup_use import leave

            leave(self.cgroup)
        if self.fuse >= 0:
            # What the program has written last is on its way to the disk through the server.
            select.select([self.fuse], [], [], _FUSE_END_S)
            os.close(self.fuse)
        for fd in (self.pidfd, *self._outputs):
            os.close(fd)
