"""Leases: one of many machines at a time, on a file system that may have no locks.

A lease is a file that O_EXCL has made: it works on NFS from version 3 on, Lustre, GPFS, BeeGFS. Its
content names the holder; a helper of the holder touches it while that lives. Who waits takes a
lease over when nothing of it has changed for LEASE_S by their own clock (those of machines differ),
or at once when the holder was a process of this machine and is gone. What a lease protects must
therefore be harmless when two do it: publishing by content is.
"""

import os
import time

from storage.errors import from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

LEASE_S = 10.0
_BEATS_IN_A_LEASE = 4
_POLL_S = 0.05
_POLL_LIMIT_S = 1.0


class Lease:
    """A lease of `name` below a directory, as a context manager."""

    __slots__ = ("_helper", "_token", "lease_s", "path")

    def __init__(self, directory: str, name: str, *, lease_s: float = LEASE_S) -> None:
        self.path = f"{directory}/{name}"
        self.lease_s = lease_s
        self._token = b""
        self._helper = 0

    def __enter__(self) -> "Lease":
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self._wait()
        except OSError as error:
            raise from_os_error(f"take the lease {self.path}", error) from error
        self._helper = _start_helper(self.path, self._token, self.lease_s / _BEATS_IN_A_LEASE)
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        os.kill(self._helper, 9)
        os.waitpid(self._helper, 0)
        if _read(self.path) == self._token:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass  # it has been taken over this very moment

    def _wait(self) -> None:
        seen: tuple[bytes | None, int] = (None, 0)
        since_s = time.monotonic()
        pause_s = _POLL_S
        while not self._take():
            now = (_read(self.path), _touched(self.path))
            if now != seen:
                seen, since_s = now, time.monotonic()
            is_late = time.monotonic() - since_s > self.lease_s
            if now[0] is not None and (is_late or _is_dead(now[0])):
                self._take_away(now[0])
                continue
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_LIMIT_S)

    def _take(self) -> bool:
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        self._token = _describe_holder()
        try:
            os.write(fd, self._token)
            os.fsync(fd)
        except BaseException:
            # A full disk: an empty lease would make everybody wait.
            os.unlink(self.path)
            raise
        finally:
            os.close(fd)
        return True

    def _take_away(self, content: bytes) -> None:
        """Remove a dead holder's lease; one that is somebody else's by now is put back."""
        aside = f"{self.path}.{os.urandom(6).hex()}.stale"
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if _read(aside) != content and not os.path.exists(self.path):
            os.rename(aside, self.path)
            return
        os.unlink(aside)


def _describe_holder() -> bytes:
    """Return where the holder runs, its process id and start time, and what is this lease's own."""
    pid = os.getpid()
    return f"{_place()} {pid} {_start_time(pid)} {os.urandom(8).hex()}\n".encode()


def _place() -> str:
    """Return what tells one machine, and one namespace of process ids there, from another."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"


def _start_time(pid: int) -> str:
    """Return the 22nd field of /proc/<pid>/stat, empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    # Z, X: what is dead does nothing any more, even while it is still listed.
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _is_dead(content: bytes) -> bool:
    """Tell whether the holder was a process here that is gone; elsewhere only time can tell."""
    fields = content.decode(errors="replace").split()
    if len(fields) != 5 or f"{fields[0]} {fields[1]}" != _place() or not fields[2].isdecimal():
        return False
    return _start_time(int(fields[2])) != fields[3]


def _read(path: str) -> bytes | None:
    """Return the content; None when the lease is gone. Opening it asks the server of an NFS."""
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except FileNotFoundError:
        return None


def _touched(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _start_helper(path: str, token: bytes, pause_s: float) -> int:
    """Start what touches the lease; it ends with its parent, or when the lease is another's."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        # No pipe of the parent's may be kept open by this process.
        os.closerange(0, 3)
        os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
        while True:
            time.sleep(pause_s)
            if os.getppid() != parent or _read(path) != token:
                break
            os.utime(path)
    finally:
        os._exit(0)
