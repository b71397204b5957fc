"""When a container gets root emulation, and who answers for it: `--root-emulation`."""

import os

from rootless.container.idmap import HOST, UserNamespace
from rootless.errors import HostError, UsageError
from rootless.sandbox import emulation
from rootless.sandbox.emulated_calls import AUTO, BPF, FULL, MODES, OFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from rootless.container.merged import Accounts
    from rootless.container.request import ContainerRequest
    from rootless.container.running import Container
    from rootless.host.paths import Host
    from rootless.sandbox.process import Process
    from storage.containers import ContainerView

ANNOTATION = "dev.rpod.root-emulation"
APT_FILE = "rpod-apt.conf"
# Without answers apt finds out that its sandbox user has not changed anything.
APT_SETTINGS = b'APT::Sandbox::User "root";\n'


def check_mode(mode: str) -> None:
    """Raises UsageError."""
    if mode not in MODES:
        raise UsageError(f"--root-emulation={mode}: unknown mode", remedy="use " + ", ".join(MODES))


def choose_emulation(
    host: "Host", mode: str, namespace: UserNamespace, *, auto: str = AUTO
) -> UserNamespace:
    """Return the namespace with the emulation that root of it gets: full, auto, bpf or none.

    A process that is not root, or that has its ids for real, needs none. `auto` is what the mode of
    that name stands for.
    """
    is_root = namespace.mode == HOST and namespace.own_uid == 0 and namespace.own_gid == 0
    if mode == OFF or not namespace.maps.is_single or not is_root:
        if mode in (FULL, BPF):
            host.note(f"--root-emulation={mode}: there is nothing to emulate for this container")
        return namespace
    if mode in (AUTO, FULL) and (problem := emulation.listener_problem()):
        if mode == FULL:
            host.note(
                f"--root-emulation=full cannot be had here ({problem}): changes of owners and ids"
                " succeed without effect"
            )
        mode = BPF
    return namespace._replace(emulation=auto if mode == AUTO else mode)


def choose_for_image(
    host: "Host",
    request: "ContainerRequest",
    namespace: UserNamespace,
    layers: list[str],
    accounts: "Accounts | None",
) -> UserNamespace:
    """Return the namespace with the emulation for what is in unpacked layers, the top one first.

    `auto` is `full` for an image with a service that looks whose its data is, and for a command
    that may install one.
    """
    chosen = choose_emulation(host, request.root_emulation, namespace)
    if chosen.emulation == AUTO and accounts is not None:
        from rootless.container.owned_homes import has_owned_home, names_package_manager

        if names_package_manager(request.command) or has_owned_home(layers, accounts):
            return chosen._replace(emulation=FULL)
    return chosen


def answer(
    view: "ContainerView", container: "Container", listener: int, door: "_socket.socket"
) -> None:
    """Start the process that answers for a container; both descriptors are its own from now on."""
    from rootless.linux.procfs import entrance

    links = open_links(view.paths.directory)
    inside = os.pidfd_open(entrance(container.pid))
    try:
        emulation.start(inside, listener, door, links)
    finally:
        for fd in (inside, links, listener):
            os.close(fd)
        door.close()


def emulate_user(process: "Process", mode: str) -> None:
    """Put a process that joins a container under its emulation, as the user that was asked for."""
    emulation.prepare(process, mode)
    if process.uid or process.gid:
        process.emulated_ids = (process.uid, process.gid, process.groups)
        process.uid = process.gid = 0
    process.groups = [0]


def hand_in(path: str, listener: int, process: "Process") -> None:
    """Let the process that answers for the container answer for another. Raises HostError."""
    try:
        ids: list[int] = []
        if process.emulated_ids is not None:
            uid, gid, groups = process.emulated_ids
            ids = [uid, gid, *groups]
        emulation.hand_in(path, listener, ids)
    except OSError as error:
        raise HostError(
            f"reach the root emulation of the container: {error.strerror}",
            remedy="restart the container",
        ) from error
    finally:
        os.close(listener)


def open_links(directory: str) -> int:
    """Open the record of owners of symbolic links in a container's directory."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return os.open(f"{directory}/links", flags, 0o600)
