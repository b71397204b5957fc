"""As much of D-Bus as starting a scope takes: one connection, calls, one signal to wait for.

D-Bus Specification: Message Protocol, Authentication Protocol. Messages are little-endian; strings
from the other side have a limit; every wait has one too. A library costs 25 ms of each start.
"""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_MESSAGE_LIMIT_BYTES = 1 << 24
_HEADER_BYTES = 16
_ALIGN = {
    "y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "h": 4, "s": 4,
    "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8,
}  # fmt: skip
_FIXED = {
    "y": "<B", "n": "<h", "q": "<H", "i": "<i", "u": "<I", "x": "<q", "t": "<Q", "d": "<d",
    "b": "<I", "h": "<I",
}  # fmt: skip


class DBusError(Exception):
    """The other side refused a call (`name` is its error), hangs, or breaks the protocol."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


class Message:
    """A message that came in."""

    __slots__ = ("body", "fields", "kind", "serial")

    def __init__(
        self, kind: int, serial: int, fields: dict[int, object], body: list[object]
    ) -> None:
        self.kind = kind
        self.serial = serial
        self.fields = fields
        self.body = body

    @property
    def member(self) -> str:
        return str(self.fields.get(_MEMBER, ""))


def one_type(signature: str, at: int = 0) -> int:
    """Return where the complete type that begins at `at` ends. Raises DBusError."""
    if at >= len(signature) or signature[at] not in _ALIGN:
        raise DBusError("", f"unknown type in signature {signature!r}")
    if signature[at] == "a":
        return one_type(signature, at + 1)
    if signature[at] in "({":
        close = ")" if signature[at] == "(" else "}"
        at += 1
        while at < len(signature) and signature[at] != close:
            at = one_type(signature, at)
        if at >= len(signature):
            raise DBusError("", f"open bracket in signature {signature!r}")
    return at + 1


def _pad(data: bytearray, alignment: int) -> None:
    data.extend(bytes(-len(data) % alignment))


def write_values(data: bytearray, signature: str, values: "tuple[object, ...]") -> None:
    """Append values; a variant is a pair of signature and value, arrays are lists."""
    at = 0
    for value in values:
        end = one_type(signature, at)
        _write(data, signature[at:end], value)
        at = end


def _write(data: bytearray, kind: str, value: object) -> None:
    first = kind[0]
    _pad(data, _ALIGN[first])
    if first in _FIXED:
        data.extend(struct.pack(_FIXED[first], value))
    elif first in "so":
        text = str(value).encode()
        data.extend(struct.pack("<I", len(text)) + text + b"\0")
    elif first == "g":
        text = str(value).encode()
        data.extend(bytes((len(text),)) + text + b"\0")
    elif first == "v":
        assert isinstance(value, tuple)
        _write(data, "g", value[0])
        _write(data, value[0], value[1])
    elif first in "({":
        assert isinstance(value, tuple)
        write_values(data, kind[1:-1], value)
    else:
        assert isinstance(value, list | tuple)
        place = len(data)
        data.extend(bytes(4))
        _pad(data, _ALIGN[kind[1]])
        begin = len(data)
        for entry in value:
            _write(data, kind[1:], entry)
        struct.pack_into("<I", data, place, len(data) - begin)


class _Reader:
    """Takes values out of a message's bytes."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def values(self, signature: str) -> list[object]:
        result = []
        at = 0
        while at < len(signature):
            end = one_type(signature, at)
            result.append(self._read(signature[at:end]))
            at = end
        return result

    def _align(self, alignment: int) -> None:
        self.at += -self.at % alignment

    def _take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise DBusError("", "a message was cut off")
        self.at += count
        return part

    def _read(self, kind: str) -> object:
        first = kind[0]
        self._align(_ALIGN[first])
        if first in _FIXED:
            form = _FIXED[first]
            value: object = struct.unpack(form, self._take(struct.calcsize(form)))[0]
            return bool(value) if first == "b" else value
        if first in "so":
            return self._text(struct.unpack("<I", self._take(4))[0])
        if first == "g":
            return self._text(self._take(1)[0])
        if first == "v":
            signature = self._text(self._take(1)[0])
            if one_type(signature) != len(signature):
                raise DBusError("", f"a variant of {signature!r}")
            return self._read(signature)
        if first in "({":
            return tuple(self.values(kind[1:-1]))
        (length,) = struct.unpack("<I", self._take(4))
        self._align(_ALIGN[kind[1]])
        end = self.at + length
        entries = []
        while self.at < end:
            entries.append(self._read(kind[1:]))
        return entries

    def _text(self, length: int) -> str:
        return self._take(length + 1)[:-1].decode(errors="replace")


def pack_call(
    serial: int, target: "tuple[str, str, str, str]", signature: str, values: "tuple[object, ...]"
) -> bytes:
    """Return a method call; `target` is destination (may be ""), path, interface, member."""
    destination, path, interface, member = target
    body = bytearray()
    write_values(body, signature, values)
    fields: list[object] = [
        (_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member)),
    ]  # fmt: skip
    if destination:
        fields.append((_DESTINATION, ("s", destination)))
    if signature:
        fields.append((_SIGNATURE, ("g", signature)))
    head = bytearray()
    write_values(head, "yyyyuua(yv)", (ord("l"), CALL, 0, 1, len(body), serial, fields))
    _pad(head, 8)
    return bytes(head + body)


def message_size(head: bytes) -> int:
    """Return how long the message is whose first 16 bytes are given. Raises DBusError."""
    if head[:1] != b"l":
        raise DBusError("", "a message that is not little-endian")
    body, _, fields = struct.unpack_from("<III", head, 4)
    size = _HEADER_BYTES + fields + -fields % 8 + body
    if size > _MESSAGE_LIMIT_BYTES:
        raise DBusError("", f"a message of {size} bytes")
    return int(size)


def unpack(data: bytes) -> Message:
    """Read one whole message. Raises DBusError."""
    body, serial = struct.unpack_from("<II", data, 4)
    reader = _Reader(data, 12)
    pairs = reader.values("a(yv)")[0]
    assert isinstance(pairs, list)
    fields = dict(pairs)
    inside = _Reader(data[len(data) - body :])
    return Message(data[1], serial, fields, inside.values(str(fields.get(_SIGNATURE, ""))))


class Connection:
    """A connection to a bus, or to a peer that talks without one (`is_bus` false)."""

    __slots__ = ("_buffer", "_deadline_s", "_queue", "_serial", "_socket")

    def __init__(self, address: str | bytes, *, is_bus: bool, timeout_s: float) -> None:
        """Connect and authenticate as this user. Raises OSError, DBusError."""
        self._serial = 0
        self._buffer = bytearray()
        self._queue: list[Message] = []
        self._deadline_s = time.monotonic() + timeout_s
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(address)
            identity = str(os.geteuid()).encode().hex().encode()
            self._send(b"\0AUTH EXTERNAL " + identity + b"\r\nBEGIN\r\n")
            self._expect_ok()
            if is_bus:
                driver = "org.freedesktop.DBus"
                self.call((driver, "/org/freedesktop/DBus", driver, "Hello"), "", ())
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _expect_ok(self) -> None:
        if not self._line().startswith(b"OK "):
            raise DBusError("", "authentication was refused")

    def set_timeout(self, timeout_s: float) -> None:
        """Begin to count the time that all further calls together may take."""
        self._deadline_s = time.monotonic() + timeout_s

    def send(
        self, target: "tuple[str, str, str, str]", signature: str, values: "tuple[object, ...]"
    ) -> int:
        """Send a call and return its serial number, for `reply`. Raises OSError, DBusError."""
        self._serial += 1
        self._send(pack_call(self._serial, target, signature, values))
        return self._serial

    def reply(self, serial: int) -> list[object]:
        """Wait for the answer to a call; signals are kept. Raises OSError, DBusError."""
        while True:
            message = self._next()
            if message.kind == SIGNAL:
                self._queue.append(message)
            elif message.fields.get(_REPLY) == serial:
                if message.kind == ERROR:
                    text = str(message.body[0]) if message.body else ""
                    raise DBusError(str(message.fields.get(_ERROR_NAME, "")), text)
                return message.body

    def call(
        self, target: "tuple[str, str, str, str]", signature: str, values: "tuple[object, ...]"
    ) -> list[object]:
        """Call a method and return what it answers. Raises OSError, DBusError."""
        return self.reply(self.send(target, signature, values))

    def signal(self, member: str) -> list[object]:
        """Return the body of the next signal of this name. Raises OSError, DBusError."""
        while True:
            message = self._queue.pop(0) if self._queue else self._next()
            if message.kind == SIGNAL and message.member == member:
                return message.body

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._left_s())
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise DBusError("timeout", "no answer") from error

    def _left_s(self) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise DBusError("timeout", "no answer")
        return left_s

    def _fill(self) -> None:
        self._socket.settimeout(self._left_s())
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError as error:
            raise DBusError("timeout", "no answer") from error
        if not data:
            raise DBusError("closed", "the connection was closed")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > 1 << 14:
                raise DBusError("", "a line without end")
            self._fill()
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        self._buffer = bytearray(rest)
        return line

    def _next(self) -> Message:
        while len(self._buffer) < _HEADER_BYTES:
            self._fill()
        size = message_size(bytes(self._buffer[:_HEADER_BYTES]))
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return unpack(data)
