"""A registry in memory that takes what is pushed, and breaks off or refuses as a test says."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.oci import sha256


class Asked(NamedTuple):
    """A request; `arrived_bytes` is how much of its body came."""

    method: str
    path: str
    arrived_bytes: int
    content_range: str


class Receiver:
    """What a registry has got, and what goes wrong with it."""

    def __init__(self) -> None:
        self.host = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.break_after_bytes: list[int] = []
        self.busy: list[str] = []
        self.takes_parts = True
        self.forgets_uploads = False

    def methods(self, part: str) -> list[str]:
        """Return the methods of the requests whose path contains `part`."""
        return [one.method for one in self.asked if part in one.path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        receiver = self.receiver
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length", 0))
        limit = length
        if self.command == "PATCH" and receiver.break_after_bytes:
            limit = min(length, receiver.break_after_bytes.pop(0))
        data = self.rfile.read(limit)
        content_range = self.headers.get("Content-Range", "")
        receiver.asked.append(Asked(self.command, self.path, len(data), content_range))
        if receiver.busy and receiver.busy[0] in path:
            receiver.busy.pop(0)
            self._send(429, {"Retry-After": "0"})
        elif "/manifests/" in path:
            self._manifest(path.rpartition("/")[2], data)
        elif path.endswith("/blobs/uploads/"):
            name = f"u{len(receiver.uploads)}"
            receiver.uploads[name] = b""
            self._send(202, {"Location": f"{path}{name}?state=1"})
        elif "/blobs/uploads/" in path:
            self._upload(path.rpartition("/")[2], data, broken=limit < length)
        else:
            self._send(200 if path.rpartition("/")[2] in receiver.blobs else 404)

    def _manifest(self, name: str, data: bytes) -> None:
        if self.command != "PUT":
            self._send(200 if name in self.receiver.manifests else 404)
            return
        self.receiver.manifests[name] = (data, self.headers.get("Content-Type", ""))
        self._send(201, {"Docker-Content-Digest": sha256(data)})

    def _upload(self, name: str, data: bytes, *, broken: bool) -> None:
        receiver = self.receiver
        location = {"Location": f"{urlsplit(self.path).path}?state=2"}
        if self.command == "GET":
            if receiver.forgets_uploads:
                self._send(404)
                return
            last = max(0, len(receiver.uploads[name]) - 1)
            self._send(204, {**location, "Range": f"0-{last}"})
            return
        if self.command == "PATCH":
            if not receiver.takes_parts:
                self._send(405)
                return
            first = re.match(r"(\d+)-", self.headers.get("Content-Range", "0-"))
            if first is None or int(first.group(1)) != len(receiver.uploads[name]):
                self._send(416)
                return
            receiver.uploads[name] += data
            if broken:
                self.close_connection = True
                self.connection.close()
                return
            self._send(202, location)
            return
        whole = receiver.uploads[name] + data
        if parse_qs(urlsplit(self.path).query)["digest"] != [sha256(whole)]:
            error = {"errors": [{"code": "DIGEST_INVALID", "message": "other bytes"}]}
            self._send(400, body=json.dumps(error).encode())
            return
        receiver.blobs[sha256(whole)] = whole
        self._send(201)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _handle


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiving registry in threads of this process."""
    state = Receiver()

    class Handler(_Handler):
        receiver = state

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
