"""HTTP/1.1 on one connection: read requests strictly, write answers, give the bare stream away.

RFC 9112. What two readers could understand differently is refused: both Content-Length and
Transfer-Encoding, either of them twice, another coding than chunked, white space before a colon,
folded lines, bare line ends.
"""

import select
import socket
import time
from urllib.parse import parse_qs, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_LIMIT_BYTES = 64 << 10
JSON_LIMIT_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 16
_LINE_LIMIT_BYTES = 4096
_DRAIN_LIMIT_BYTES = 1 << 20
_HEAD_S = 20.0
_BODY_S = 60.0
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = b"0123456789abcdefABCDEF"
_REASONS = {
    101: "UPGRADED", 200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    413: "Content Too Large", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class HttpError(Exception):
    """An answer that is an error; `closes` when the connection cannot be used afterwards."""

    def __init__(self, status: int, message: str, *, closes: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.closes = closes


class ClientGone(Exception):
    """Nobody is at the other end any more."""


class Request:
    """The head of a request; names of headers are in small letters."""

    __slots__ = ("headers", "is_http10", "method", "path", "query", "target")

    def __init__(
        self, method: str, target: str, headers: dict[str, str], *, is_http10: bool
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, query = target.partition("?")
        self.headers = headers
        self.is_http10 = is_http10
        try:
            self.query = parse_qs(
                query, keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise HttpError(400, f"the query cannot be read: {error}") from error

    @property
    def wants_upgrade(self) -> bool:
        words = self.headers.get("connection", "").lower().split(",")
        return "upgrade" in [word.strip() for word in words] and "upgrade" in self.headers

    @property
    def keeps_alive(self) -> bool:
        words = [word.strip() for word in self.headers.get("connection", "").lower().split(",")]
        return "keep-alive" in words if self.is_http10 else "close" not in words


class Connection:
    """The socket of one client; not more than one request is looked at at a time."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Raises ClientGone."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ClientGone from error

    def is_gone(self) -> bool:
        """Whether the client has closed the connection; what it has sent meanwhile stays."""
        poll = select.poll()
        # A TCP client that is gone, and one that has sent all, look the same.
        unix = self.socket.family == socket.AF_UNIX
        poll.register(self.socket, 0 if unix else select.POLLRDHUP)
        return bool(poll.poll(0))

    def wait_for_request(self, idle_s: float) -> bool:
        """Whether the client begins another request in time."""
        return bool(self._buffer) or (bool(self._poll.poll(idle_s * 1000)) and self._fill() > 0)

    def read_head(self) -> Request:
        """Read a request up to its body. Raises HttpError, ClientGone."""
        last_s = time.monotonic() + _HEAD_S
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                break
            left_s = last_s - time.monotonic()
            if left_s <= 0 or not self._poll.poll(left_s * 1000):
                raise HttpError(408, "the request has not come in time", closes=True)
            if not self._fill():
                raise ClientGone
        if end < 0 or end > HEAD_LIMIT_BYTES:
            raise HttpError(431, f"the head exceeds {HEAD_LIMIT_BYTES} bytes", closes=True)
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return parse_head(head)

    def _fill(self) -> int:
        try:
            data = self.socket.recv(_CHUNK_BYTES)
        except OSError as error:
            raise ClientGone from error
        self._buffer += data
        return len(data)

    def read_some(self, most: int) -> bytes:
        """Return up to `most` bytes, nothing at the end. Raises HttpError, ClientGone."""
        if not self._buffer:
            if not self._poll.poll(_BODY_S * 1000):
                raise HttpError(408, "the body has not come in time", closes=True)
            self._fill()
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def read_line(self) -> bytes:
        """Return a line of a chunked body without its end."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _LINE_LIMIT_BYTES:
                raise HttpError(400, "chunked body: a line is too long", closes=True)
            if not self._poll.poll(_BODY_S * 1000):
                raise HttpError(408, "the body has not come in time", closes=True)
            if not self._fill():
                raise ClientGone
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def take_buffer(self) -> bytes:
        """Return what has been read already: the beginning of a bare stream."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


def parse_head(head: bytes) -> Request:
    """Read the lines before a body. Raises HttpError."""
    lines = head.split(b"\r\n")
    if any(letter in line for line in lines for letter in (b"\r", b"\n", b"\0")):
        raise HttpError(400, "a line end or NUL within the head", closes=True)
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not _is_token(words[0]):
        raise HttpError(400, "not a request of HTTP/1.1", closes=True)
    try:
        target = words[1].decode("ascii")
    except UnicodeDecodeError as error:
        raise HttpError(400, "the target is not ASCII", closes=True) from error
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    if not target.startswith("/"):
        raise HttpError(400, "the target is no path", closes=True)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _is_token(name):
            raise HttpError(400, "a header that cannot be read", closes=True)
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in ("content-length", "transfer-encoding", "host"):
                raise HttpError(400, f"{key} is given twice", closes=True)
            text = f"{headers[key]}, {text}"
        headers[key] = text
    return Request(words[0].decode("ascii"), target, headers, is_http10=words[2] == b"HTTP/1.0")


def _is_token(name: bytes) -> bool:
    return bool(name) and all(byte in _TOKEN for byte in name)


class Body:
    """The body of a request, read as it comes."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._left = 0
        self._is_chunked = False
        self._expects = request.headers.get("expect", "").lower() == "100-continue"
        length = request.headers.get("content-length")
        coding = request.headers.get("transfer-encoding")
        if coding is not None:
            if length is not None:
                raise HttpError(
                    400, "both Content-Length and Transfer-Encoding are given", closes=True
                )
            if coding.lower() != "chunked" or request.is_http10:
                raise HttpError(501, "the only transfer coding is chunked", closes=True)
            self._is_chunked = True
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                raise HttpError(400, "Content-Length is no number", closes=True)
            self._left = int(length)
        self._at_end = not self._is_chunked and not self._left

    def __iter__(self) -> "Iterator[bytes]":
        while data := self.read():
            yield data

    def read(self) -> bytes:
        """Return the next bytes, nothing at the end. Raises HttpError, ClientGone."""
        if self._at_end:
            return b""
        if self._expects:
            self._expects = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._is_chunked and not self._left:
            self._left = self._chunk_size()
            if not self._left:
                self._at_end = True
                return b""
        data = self._connection.read_some(min(self._left, _CHUNK_BYTES))
        if not data:
            raise ClientGone
        self._left -= len(data)
        if not self._left:
            if self._is_chunked:
                if self._connection.read_line():
                    raise HttpError(400, "chunked body: no line end after a chunk", closes=True)
            else:
                self._at_end = True
        return data

    def _chunk_size(self) -> int:
        digits = self._connection.read_line().partition(b";")[0].strip(b" \t")
        if not 0 < len(digits) < 16 or not all(d in _HEX for d in digits):
            raise HttpError(400, "chunked body: a size that is no number", closes=True)
        size = int(digits, 16)
        if not size:
            lines = 0
            while self._connection.read_line():  # trailers are of no use here
                lines += 1
                if lines > 100:
                    raise HttpError(400, "chunked body: too many trailers", closes=True)
        return size

    def read_all(self, limit: int = JSON_LIMIT_BYTES) -> bytes:
        """Return the whole. Raises HttpError when it is larger than `limit` bytes."""
        data = bytearray()
        for part in self:
            data += part
            if len(data) > limit:
                raise HttpError(413, f"the body exceeds {limit} bytes", closes=True)
        return bytes(data)

    def drain(self) -> bool:
        """Read what nobody wanted; false when that is too much."""
        if self._expects:
            return self._at_end
        size = 0
        for part in self:
            size += len(part)
            if size > _DRAIN_LIMIT_BYTES:
                return False
        return True


def head(status: int, headers: dict[str, str]) -> bytes:
    """Return the lines before the body of an answer."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


def decode_path(text: str) -> str:
    """Return a part of a path without its %XX. Raises HttpError."""
    try:
        result = unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise HttpError(400, "the path is not UTF-8") from error
    if "\0" in result:
        raise HttpError(400, "the path has a NUL")
    return result
