"""`logs`: read the text log of one or several containers, and go on reading with `--follow`."""

import errno
import fcntl
import os
import time

from rootless.container.attach import write_all
from rootless.container.logfile import timestamp
from rootless.container.tail import find_tail
from rootless.errors import UsageError
from rootless.host.paths import Host
from storage.containers import ContainerView, MonitorLock, find_container
from storage.errors import NO_LOCKS
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.container.journal import JournalProcess

_CHUNK_BYTES = 1 << 18
_FOLLOW_S = 0.02
_JOURNAL_S = 0.5
_HEAD_BYTES = 64


# Of several containers, each has the next of podman's colors.
_COLORS = (37, 31, 33, 34, 35, 36, 32)


class LogOptions(NamedTuple):
    """What of the log is shown; `since` and `until` as the log writes times, "" for none."""

    follow: bool = False
    tail: int = -1
    since: str = ""
    until: str = ""
    timestamps: bool = False
    names: bool = False


def write_logs(  # noqa: PLR0913 - the options of a command
    host: Host,
    texts: "Iterable[str]",
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    timestamps: bool = False,
    names: bool = False,
    color: bool = False,
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
        if view.record.log_driver in ("none", "passthrough"):
            raise UsageError(
                f"container {view.record.name} has no log: it was made with"
                f" --log-driver={view.record.log_driver}"
            )
    several = len(views) > 1
    readers = [
        (_JournalReader if view.record.log_driver == "journald" else LogReader)(
            view, options, several=several, color=_COLORS[number % 7] if color else 0
        )
        for number, view in enumerate(views)
    ]
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


def open_log(
    view: ContainerView, options: LogOptions, prefix: bytes = b"", end: bytes = b"\n"
) -> "LogReader":
    """Return a reader of one container's log; its lines begin and end as the caller says."""
    kind = _JournalReader if view.record.log_driver == "journald" else LogReader
    reader = kind(view, options, several=False, color=0)
    reader.set_looks(prefix, end)
    reader.seek_tail()
    return reader


class LogReader:
    """Follows one log file; every record is one line of text."""

    def __init__(
        self, view: ContainerView, options: LogOptions, *, several: bool, color: int
    ) -> None:
        self._view = view
        self._options = options
        self._path = view.record.log_options.get("path") or view.paths.log
        self._fd = _open(self._path)
        self._older: list[int] = []
        self._rest = b""
        self._prefix = b""
        self._end = b"\n"
        if color:
            self._prefix, self._end = b"\033[%dm" % color, b"\033[0m\n"
        if several:
            name = view.record.name if options.names else view.record.id[:12]
            self._prefix += name.encode() + b" "
        self._line_open = {b"stdout": False, b"stderr": False}
        self.broken = False

    def set_looks(self, prefix: bytes, end: bytes) -> None:
        """Choose what is written before and after each line."""
        self._prefix, self._end = prefix, end

    def has_ended(self) -> bool:
        return not MonitorLock.is_held(self._view.paths.lock)

    def seek_tail(self) -> None:
        """Go to where the last `tail` lines begin, or to the first file where there are several."""
        wanted = self._options.tail
        if self._fd < 0:
            return
        offset = find_tail(self._fd, wanted) if wanted >= 0 else 0
        os.lseek(self._fd, offset, os.SEEK_SET)
        if not offset and wanted and "max_file" in self._view.record.log_options:
            self._take_older(wanted)

    def _take_older(self, wanted: int) -> None:
        from rootless.container.logrotate import older_files

        wanted -= _count_lines(self._fd) if wanted > 0 else 0
        for path in reversed(older_files(self._path)):
            fd = _open(path)
            if fd < 0 or os.fstat(fd).st_ino == os.fstat(self._fd).st_ino or not wanted:
                continue
            offset = find_tail(fd, wanted) if wanted > 0 else 0
            wanted = max(0, wanted - _count_lines(fd)) if wanted > 0 else wanted
            os.lseek(fd, offset, os.SEEK_SET)
            self._older.insert(0, fd)

    def copy(self) -> bool:
        """Write what the log has got since the last call; true when there was something."""
        moved = False
        while self._older:
            fd = self._older.pop(0)
            moved = self._copy_file(fd) or moved
            os.close(fd)
        if self._fd < 0:
            self._fd = _open(self._path)
        while self._fd >= 0:
            moved = self._copy_file(self._fd) or moved
            if self.broken or not self._is_rotated():
                break
            # It has got what it will ever have; the writer waits for us to take the next.
            moved = self._copy_file(self._fd) or moved
            following = _open(self._path)
            os.close(self._fd)
            self._fd = following
        return moved

    def _is_rotated(self) -> bool:
        try:
            return os.stat(self._path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False  # at this very moment

    def _copy_file(self, fd: int) -> bool:
        moved = False
        while chunk := os.read(fd, _CHUNK_BYTES):
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
            out.append(text if kind == b"P" else text + self._end)
            self._line_open[stream] = kind == b"P"
        self._flush(current, out)

    def _flush(self, stream: bytes, out: list[bytes]) -> None:
        if out and not write_all(2 if stream == b"stderr" else 1, b"".join(out)):
            self.broken = True


def _hold(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in NO_LOCKS:  # --log-opt path= may lead anywhere
            raise


def _open(path: str) -> int:
    """Open a file of a log and hold it: see `rootless.container.logrotate`. -1: there is none."""
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _hold(fd)
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
            os.close(fd)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return -1  # made, never started


def _count_lines(fd: int) -> int:
    """Return how many lines a file ends; its place for reading stays."""
    count = offset = 0
    rest = b""
    while chunk := os.pread(fd, _CHUNK_BYTES, offset):
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        count += sum(line[:_HEAD_BYTES].split(b" ", 3)[2:3] == [b"F"] for line in lines)
    return count


class _JournalReader(LogReader):
    """Follows what a container has sent to systemd's journal."""

    def __init__(
        self, view: ContainerView, options: LogOptions, *, several: bool, color: int
    ) -> None:
        super().__init__(view, options, several=several, color=color)
        self._process: JournalProcess | None = None
        self._quiet_since_s = 0.0

    def has_ended(self) -> bool:
        """Wait a moment longer: the journal writes when it likes."""
        if not super().has_ended():
            return False
        self._quiet_since_s = self._quiet_since_s or time.monotonic()
        return time.monotonic() - self._quiet_since_s > _JOURNAL_S

    def seek_tail(self) -> None:
        from rootless.container.journal import JournalProcess

        tail = self._options.tail
        self._process = JournalProcess(
            self._view.record.id, follow=self._options.follow, tail=tail if tail >= 0 else None
        )

    def copy(self) -> bool:
        assert self._process is not None
        records = self._process.records()
        if not records:
            return False
        self._quiet_since_s = 0.0
        self._write(b"\n".join(records))
        return True
