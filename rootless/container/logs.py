"""`logs`: read the text log of one or several containers, and go on reading with `--follow`."""

import errno
import os
import time

from rootless.container.attach import write_all
from rootless.container.logfile import timestamp
from rootless.container.tail import find_tail
from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.containers import ContainerView, MonitorLock, find_container
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK_BYTES = 1 << 18
_FOLLOW_S = 0.02


class LogOptions(NamedTuple):
    """What of the log is shown; `since` and `until` as the log writes times, "" for none."""

    follow: bool = False
    tail: int = -1
    since: str = ""
    until: str = ""
    timestamps: bool = False
    names: bool = False


def write_logs(
    host: Host,
    texts: "Iterable[str]",
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    timestamps: bool = False,
    names: bool = False,
) -> None:
    """Write the logs to the standard streams, each line to the one that it came from.

    `since` and `until` are Unix times in seconds. Returns at the end of the logs, with `follow` at
    the end of the containers. Raises ContainerNotFound, UsageError.
    """
    options = LogOptions(
        follow=follow,
        tail=-1 if tail is None else tail,
        since="" if since is None else timestamp(int(since * 1e9)),
        until="" if until is None else timestamp(int(until * 1e9)),
        timestamps=timestamps,
        names=names,
    )
    views = [find_container(host.layout, text) for text in texts]
    for view in views:
        if view.record.log_driver == "none":
            raise UsageError(
                f"container {view.record.name} has no log: it was made with --log-driver=none"
            )
    readers = [_Reader(view, options, several=len(views) > 1) for view in views]
    for reader in readers:
        reader.seek_tail()
    while readers:
        moved = False
        for reader in list(readers):
            ended = not follow or reader.has_ended()
            moved = reader.copy() or moved
            if reader.broken:
                return
            if ended:
                readers.remove(reader)
        if readers and not moved:
            time.sleep(_FOLLOW_S)


class _Reader:
    """Follows one log file; every record is one line of text."""

    def __init__(self, view: ContainerView, options: LogOptions, *, several: bool) -> None:
        self._view = view
        self._options = options
        self._fd = _open(view.paths.log)
        self._rest = b""
        self._prefix = b""
        if options.names or several:
            name = view.record.name if options.names else view.record.id[:12]
            self._prefix = name.encode() + b" "
        self._line_open = {b"stdout": False, b"stderr": False}
        self.broken = False

    def has_ended(self) -> bool:
        return not MonitorLock.is_held(self._view.paths.lock)

    def seek_tail(self) -> None:
        """Go to where the last `tail` lines begin."""
        if self._options.tail >= 0 and self._fd >= 0:
            os.lseek(self._fd, find_tail(self._fd, self._options.tail), os.SEEK_SET)

    def copy(self) -> bool:
        """Write what the file has got since the last call; true when there was something."""
        if self._fd < 0:
            self._fd = _open(self._view.paths.log)
            if self._fd < 0:
                return False
        moved = False
        while chunk := os.read(self._fd, _CHUNK_BYTES):
            moved = True
            whole, newline, rest = chunk.rpartition(b"\n")
            if not newline:
                self._rest += chunk
                continue
            self._write(self._rest + whole)
            self._rest = rest
            if self.broken:
                return True
        return moved

    def _write(self, data: bytes) -> None:
        """Write records, runs of one stream together."""
        since, until = self._options.since.encode(), self._options.until.encode()
        out: list[bytes] = []
        current = b""
        for line in data.split(b"\n"):
            moment, _, rest = line.partition(b" ")
            stream, kind, text = rest[:6], rest[7:8], rest[9:]
            if (since and moment < since) or (until and moment > until):
                continue
            if stream != current:
                self._flush(current, out)
                current, out = stream, []
            if not self._line_open.get(stream, False):
                if self._prefix:
                    out.append(self._prefix)
                if self._options.timestamps:
                    out.append(moment + b" ")
            out.append(text if kind == b"P" else text + b"\n")
            self._line_open[stream] = kind == b"P"
        self._flush(current, out)

    def _flush(self, stream: bytes, out: list[bytes]) -> None:
        if out and not write_all(2 if stream == b"stderr" else 1, b"".join(out)):
            self.broken = True


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return -1  # made, never started
