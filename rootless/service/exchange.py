"""One request and its answer, as the functions that answer see it."""

import json

from rootless.service.http import Body, ClientGone, Connection, HttpError, Request, head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from rootless.host.paths import Host

API_VERSION, LEAST_API_VERSION = "1.47", "1.24"
RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"


class Exchange:
    """A request, what it names (`names`, from the path), and ways to answer it, once."""

    def __init__(
        self,
        host: "Host",
        connection: Connection,
        request: Request,
        names: dict[str, str],
        version: tuple[int, int],
    ) -> None:
        self.host = host
        self.connection = connection
        self.request = request
        self.names = names
        self.version = version
        self.body = Body(connection, request)
        self.is_answered = False
        self.is_over = False

    # --- what was asked

    def text(self, key: str, default: str = "") -> str:
        """Return a parameter of the query, the last one where it is repeated."""
        values = self.request.query.get(key)
        return values[-1] if values else default

    def texts(self, key: str) -> list[str]:
        return self.request.query.get(key, [])

    def flag(self, key: str, *, default: bool = False) -> bool:
        """As docker reads them: everything but nothing, 0, no, false and none is true."""
        values = self.request.query.get(key)
        if not values:
            return default
        return values[-1].strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, key: str) -> int | None:
        """Raises HttpError."""
        text = self.text(key)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise HttpError(400, f"{key}={text!r:.80} is no number") from error

    def size(self) -> tuple[int, int]:
        """Return rows and columns of a terminal. Raises HttpError."""
        rows, columns = self.number("h"), self.number("w")
        if rows is None or columns is None or not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise HttpError(400, "h and w are the rows and columns of the terminal")
        return rows, columns

    def filters(self) -> list[tuple[str, str]]:
        """Return the filters as pairs: docker sends {"key": {"value": true}} or lists.

        Raises HttpError.
        """
        text = self.text("filters")
        if not text:
            return []
        raw = parse_json(text.encode(), "filters")
        if not isinstance(raw, dict):
            raise HttpError(400, "filters: an object was expected")
        pairs = []
        for key, values in raw.items():
            if isinstance(values, dict):
                values = [value for value, wanted in values.items() if wanted]
            if not isinstance(values, list):
                values = [values]
            pairs += [(str(key), str(value)) for value in values]
        return pairs

    def json(self) -> dict[str, object]:
        """Return the body, an empty object when there is none. Raises HttpError."""
        data = self.body.read_all()
        if not data.strip():
            return {}
        raw = parse_json(data, "body")
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            raise HttpError(400, "body: an object was expected")
        return raw

    # --- answers

    def answer(
        self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.is_answered = True
        lines = {**self._common(), **(headers or {}), "Content-Type": kind}
        lines["Content-Length"] = lines.get("Content-Length", str(len(data)))
        if not self.request.keeps_alive or self.is_over:
            lines["Connection"] = "close"
            self.is_over = True
        if status in (204, 304):
            del lines["Content-Length"], lines["Content-Type"]
            data = b""
        if self.request.method == "HEAD":
            data = b""
        self.connection.send(head(status, lines) + data)

    def _common(self) -> dict[str, str]:
        return {
            "Api-Version": API_VERSION,
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": "rpod (linux)",
        }

    def send(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
            errors="surrogateescape"
        )
        self.answer(status, data + b"\n", "application/json", headers)

    def send_text(self, text: str) -> None:
        self.answer(200, text.encode(), "text/plain; charset=utf-8")

    def done(self, status: int = 204) -> None:
        """Answer without words."""
        self.answer(status, b"", "text/plain")

    def stream(self, kind: str, headers: dict[str, str] | None = None) -> "Stream":
        """Begin an answer of unknown length."""
        self.is_answered = True
        is_chunked = not self.request.is_http10
        lines = {**self._common(), **(headers or {}), "Content-Type": kind}
        if is_chunked:
            lines["Transfer-Encoding"] = "chunked"
        if not self.request.keeps_alive or not is_chunked:
            lines["Connection"] = "close"
            self.is_over = True
        self.connection.send(head(200, lines))
        return Stream(self, is_chunked=is_chunked)

    def hijack(self, kind: str) -> bytes:
        """Make the connection a bare stream; returns what of it has been read already."""
        self.body.drain()
        self.is_answered = self.is_over = True
        if self.request.wants_upgrade:
            lines = {"Content-Type": kind, "Connection": "Upgrade", "Upgrade": "tcp"}
            self.connection.send(head(101, lines))
        else:
            self.connection.send(head(200, {"Content-Type": kind}))
        return self.connection.take_buffer()


class Stream:
    """The body of an answer that is written in parts; ended by the `with`.

    A stream that an error breaks off has no end, so that the client does not take it for whole.
    """

    def __init__(self, exchange: Exchange, *, is_chunked: bool) -> None:
        self._exchange = exchange
        self._is_chunked = is_chunked

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if kind is not None:
            self._exchange.is_over = True
        elif self._is_chunked:
            self._exchange.connection.send(b"0\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Raises ClientGone."""
        if data:
            self._exchange.connection.send(
                b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data
            )

    def write_json(self, value: object) -> None:
        """Write one line. Raises ClientGone."""
        self.write(json.dumps(value, separators=(",", ":")).encode() + b"\r\n")

    def check(self) -> None:
        """Raises ClientGone when nobody listens any more."""
        if self._exchange.connection.is_gone():
            raise ClientGone


def parse_json(data: bytes, where: str) -> object:
    """Raises HttpError."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"{where}: not JSON: {error}") from error
    return value
