"""Services of systemd: READY=1 to its socket, and sockets that it has opened (sd_notify(3),
sd_listen_fds(3))."""

import _socket
import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FD = 3
INSIDE = "/run/notify/notify.sock"
_MOST_FDS = 256


def listen_fds(environ: "Mapping[str, str]", pid: int) -> int:
    """Return how many sockets this process was given, from descriptor 3 on. Raises UsageError."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count:
        return 0
    if not count.isdecimal() or int(count[:9]) > _MOST_FDS:
        raise UsageError(f"LISTEN_FDS={count[:80]}: not a number of sockets")
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            raise UsageError(f"LISTEN_FDS={count}: descriptor {fd} is not open") from error
    return int(count)


def preserved_fds(count: int, listening: int) -> int:
    """Return how many descriptors from 3 on go to the container. Raises UsageError."""
    if not 0 <= count <= _MOST_FDS:
        raise UsageError(f"--preserve-fds={count}: use a number from 0 to {_MOST_FDS}")
    for fd in range(FIRST_FD, FIRST_FD + count):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            raise UsageError(
                f"file descriptor {fd} is not available - the preserve-fds option requires that"
                " file descriptors must be passed",
                remedy=f"open it for the command, as in: rpod run --preserve-fds={count} ..."
                f" {fd}<FILE",
            ) from error
    return max(count, listening)


def listen_environment(count: int, pid: int, environ: "Mapping[str, str]") -> dict[bytes, bytes]:
    """Return the variables by which the container's process finds them."""
    result = {b"LISTEN_FDS": str(count).encode(), b"LISTEN_PID": str(pid).encode()}
    if names := environ.get("LISTEN_FDNAMES"):
        result[b"LISTEN_FDNAMES"] = os.fsencode(names)
    return result


def notify(text: str, environ: "Mapping[str, str]" = os.environ) -> None:
    """Tell the service manager; nobody there, or nobody listening, is no error."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = os.fsencode(path) if path[0] == "/" else b"\0" + os.fsencode(path[1:])
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        sender.settimeout(1)
        sender.sendto(text.encode(), address)
    except OSError:
        return
    finally:
        sender.close()


def tell_started(mode: str, *, detached: bool) -> None:
    """Say that the container runs.

    With `container` it says itself when it is ready, with `healthy` its first check that passes.
    """
    words = [f"MAINPID={os.getpid()}"] if detached else []
    if mode == "conmon":
        words.append("READY=1")
    if words and mode != "ignore":
        notify("\n".join(words))


def give_notify_socket(
    volumes: tuple[str, ...], variables: tuple[str, ...], environ: "Mapping[str, str]"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return volumes and variables with the service manager's socket for the container."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith("/"):
        return volumes, variables
    return (*volumes, f"{path}:{INSIDE}"), (*variables, f"NOTIFY_SOCKET={INSIDE}")
