"""Bodies that are archives: a request's as standard input, an answer's from standard output.

What packs and unpacks archives reads and writes the standard streams, for the command line. Here a
child passes on between those and the connection.
"""

import contextlib
import os
import select

from rootless.container.attach import send_signal
from rootless.linux import signals as signal
from rootless.service.exchange import Exchange, Stream
from rootless.service.http import ClientGone, HttpError
from rootless.service.relay import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 16
_MESSAGE_LIMIT_BYTES = 1 << 14


class BodyAsStdin:
    """Makes the body this process's standard input; no other request follows on the connection."""

    def __init__(self, exchange: Exchange) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reader)
            _pass_on(exchange, writer)
        os.close(writer)
        os.dup2(reader, 0)
        os.close(reader)
        exchange.is_over = True

    def check_whole(self) -> None:
        """Wait until all of it has come. Raises ClientGone when it broke off."""
        _, status = os.waitpid(self._pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise ClientGone


def _pass_on(exchange: Exchange, writer: int) -> None:
    """Body of the forked child. Never returns; what nobody reads any more is read to the end."""
    code = 1
    is_open = True
    try:
        for part in exchange.body:
            while part and is_open:
                try:
                    part = part[os.write(writer, part) :]
                except OSError:
                    is_open = False
        code = 0
    except (HttpError, ClientGone):
        pass  # it broke off
    finally:
        os._exit(code)


def download(
    exchange: Exchange,
    work: "Callable[[], int]",
    kind: str,
    headers: dict[str, str] | None = None,
) -> None:
    """Answer with what `work` writes to its standard output.

    A failure before the first byte is an answer, raised as HttpError; one after it breaks off.
    """
    child = Child(work, stdin=False, close=(exchange.connection.fileno(),))
    numbers = {stream: fd for fd, stream in child.outputs.items()}
    message = bytearray()
    stream: Stream | None = None
    poll = select.poll()
    for fd in child.outputs:
        poll.register(fd, select.POLLIN)
    with contextlib.ExitStack() as stack:
        try:
            while child.outputs:
                for fd, _ in poll.poll():
                    data = os.read(fd, _CHUNK_BYTES)
                    if not data:
                        poll.unregister(fd)
                        del child.outputs[fd]
                        os.close(fd)
                    elif fd == numbers[2]:
                        message += data[: _MESSAGE_LIMIT_BYTES - len(message)]
                    else:
                        stream = stream or stack.enter_context(exchange.stream(kind, headers))
                        stream.write(data)
        except ClientGone:
            send_signal(child.pid, signal.SIGKILL)
            child.wait()
            raise
        if child.wait():
            text = message.decode(errors="replace").strip() or "the archive could not be made"
            raise HttpError(500, text)
        if stream is None:
            stack.enter_context(exchange.stream(kind, headers))
