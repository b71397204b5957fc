"""`--log-driver=journald`: systemd's journal, written by its socket and read with journalctl(1).

systemd, "Native Journal Protocol": one datagram is one entry, a field is NAME=VALUE and a newline,
or, with any byte in it, NAME, newline, the length in 64 bits, the value, newline.
"""

import _socket
import os

from rootless.container.log_options import JOURNAL_SOCKET
from rootless.container.logfile import timestamp
from rootless.errors import HostError
from storage import lightjson as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.containers import ContainerRecord

_ENTRY_BYTES = 48 << 10
_CHUNK_BYTES = 1 << 18
# syslog(3): what conmon gives to the two streams.
_PRIORITIES = {"stdout": b"6", "stderr": b"3"}


class JournalLog:
    """Sends every line as an entry; a long one, and one without an end, in parts."""

    __slots__ = ("_fields", "_socket", "_target")

    def __init__(self, record: "ContainerRecord", target: str = JOURNAL_SOCKET) -> None:
        self._target = target
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        tag = record.log_options.get("tag", "")
        fields = {
            "SYSLOG_IDENTIFIER": tag or record.name,
            "CONTAINER_NAME": record.name,
            "CONTAINER_ID": record.id[:12],
            "CONTAINER_ID_FULL": record.id,
            "IMAGE_NAME": record.image_name,
        }
        if tag:
            fields["CONTAINER_TAG"] = tag
        self._fields = b"".join(
            field(name, value.encode(errors="replace")) for name, value in fields.items()
        )

    def write(self, stream: str, data: bytes, now_ns: int) -> None:
        """Send one chunk. Raises OSError when nobody listens."""
        head = self._fields + field("PRIORITY", _PRIORITIES[stream])
        *lines, rest = data.split(b"\n")
        for line in lines:
            parts = [line[at : at + _ENTRY_BYTES] for at in range(0, len(line), _ENTRY_BYTES)]
            for part in parts[:-1]:
                self._send(head, part, partial=True)
            self._send(head, parts[-1] if parts else b"", partial=False)
        for at in range(0, len(rest), _ENTRY_BYTES):
            self._send(head, rest[at : at + _ENTRY_BYTES], partial=True)

    def _send(self, head: bytes, text: bytes, *, partial: bool) -> None:
        entry = head + field("MESSAGE", text)
        if partial:
            entry += field("CONTAINER_PARTIAL_MESSAGE", b"true")
        self._socket.sendto(entry, self._target)

    def close(self) -> None:
        self._socket.close()


def field(name: str, value: bytes) -> bytes:
    """Return a field of an entry."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


class JournalProcess:
    """A journalctl(1) that reads one container's entries."""

    def __init__(self, container_id: str, *, follow: bool, tail: int | None) -> None:
        """Raises HostError."""
        import subprocess

        command = ["journalctl", "--quiet", "--all", "--output=json", "--no-pager"]
        command += ["--follow"] if follow else []
        command.append(f"--lines={'all' if tail is None else tail}")
        command.append(f"CONTAINER_ID_FULL={container_id}")
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise HostError(
                f"read the journal: start journalctl: {error.strerror}", remedy="install systemd"
            ) from error
        assert self._process.stdout is not None
        self._fd = self._process.stdout.fileno()
        self._rest = b""
        # Without --follow everything there is comes with the first reading.
        os.set_blocking(self._fd, not follow)

    def records(self) -> list[bytes]:
        """Return what has come since the last call, as lines of a log file."""
        data = self._rest
        while True:
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                break
            data += chunk
        *lines, self._rest = data.split(b"\n")
        return [_record(json.loads(line.decode(errors="replace"))) for line in lines if line]

    def __del__(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.terminate()
        self._process.wait()


def _record(raw: dict[str, object]) -> bytes:
    message = raw.get("MESSAGE", "")
    # journalctl writes what is no UTF-8 as a list of bytes.
    text = bytes(message) if isinstance(message, list) else str(message).encode()
    stream = "stderr" if raw.get("PRIORITY") == "3" else "stdout"
    moment = timestamp(int(str(raw.get("__REALTIME_TIMESTAMP", "0"))) * 1000)
    kind = "P" if raw.get("CONTAINER_PARTIAL_MESSAGE") == "true" else "F"
    return f"{moment} {stream} {kind} ".encode() + text
