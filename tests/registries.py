"""Registries on loopback for tests: Debian's docker-registry, and a simulated one that misbehaves.

`docker_registry()` runs the real thing, plain or with TLS, htpasswd or tokens of `token_server()`.
`fake_registry()` serves images from memory, writes down every request, and does what a test says
instead of answering well. Pushing goes over HTTP, so an image may be as odd as a test needs it.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.oci import Image, sha256

USER, PASSWORD = "alice", "open:sesame"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- Debian's docker-registry -----------------------------------------------------------------


class DockerRegistry:
    """A running docker-registry; `host` is HOST:PORT, `ca_dir` has the authority of its TLS."""

    def __init__(self, port: int, directory: str, *, tls: bool, authorization: str) -> None:
        self.port = port
        self.host = f"localhost:{port}" if tls else f"127.0.0.1:{port}"
        self.directory = directory
        self.ca_dir = f"{directory}/certs" if tls else None
        self._authorization = authorization

    def push(self, name: str, image: Image, tag: str = "latest") -> str:
        """Store an image under NAME:TAG and return its full name."""
        connection = self._connect()
        try:
            for digest, data in image.blobs.items():
                self._push_blob(connection, name, digest, data)
            for digest, (data, media_type) in image.children.items():
                self._put_manifest(connection, name, digest, data, media_type)
            self._put_manifest(connection, name, tag, image.data, image.media_type)
        finally:
            connection.close()
        return f"{self.host}/{name}:{tag}"

    def log(self) -> str:
        with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def requests(self, since: int = 0) -> list[tuple[str, str, int]]:
        """Return (method, path, status) of each answered request; `since` is an earlier length."""
        pattern = r'"(GET|HEAD|PUT|POST|PATCH) (\S+) HTTP/1\.1" (\d+) '
        return [(m, path, int(status)) for m, path, status in re.findall(pattern, self.log())][
            since:
        ]

    def _connect(self) -> http.client.HTTPConnection:
        host = self.host.partition(":")[0]
        if self.ca_dir is None:
            return http.client.HTTPConnection(host, self.port, timeout=30)
        context = ssl.create_default_context(cafile=f"{self.ca_dir}/ca.crt")
        return http.client.HTTPSConnection(host, self.port, timeout=30, context=context)

    def _push_blob(
        self, connection: http.client.HTTPConnection, name: str, digest: str, data: bytes
    ) -> None:
        connection.request("POST", f"/v2/{name}/blobs/uploads/", headers=self._headers(name))
        response = connection.getresponse()
        body = response.read()
        assert response.status == 202, (response.status, body)
        target = urlsplit(response.headers["Location"])
        url = f"{target.path}?{target.query}&digest={digest}"
        headers = {"Content-Type": "application/octet-stream", **self._headers(name)}
        connection.request("PUT", url, data, headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 201, (response.status, body)

    def _put_manifest(
        self,
        connection: http.client.HTTPConnection,
        name: str,
        tag: str,
        data: bytes,
        media_type: str,
    ) -> None:
        headers = {"Content-Type": media_type, **self._headers(name)}
        connection.request("PUT", f"/v2/{name}/manifests/{tag}", data, headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 201, (response.status, body)

    def _headers(self, name: str) -> dict[str, str]:
        text = self._authorization.replace("{name}", name)
        if text.startswith("token "):
            url = urlsplit(text.removeprefix("token "))
            connection = (
                http.client.HTTPSConnection(
                    url.netloc, timeout=30, context=ssl._create_unverified_context()
                )
                if url.scheme == "https"
                else http.client.HTTPConnection(url.netloc, timeout=30)
            )
            connection.request(
                "GET", f"{url.path}?{url.query}", headers={"Authorization": basic(USER, PASSWORD)}
            )
            text = f"Bearer {json.loads(connection.getresponse().read())['token']}"
            connection.close()
        return {"Authorization": text} if text else {}


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def missing(*programs: str) -> str:
    """Name the programs that a registry for tests needs and that are not there."""
    needed = programs or ("docker-registry",)
    return ", ".join(name for name in needed if shutil.which(name) is None)


@contextlib.contextmanager
def docker_registry(
    *, tls: bool = False, htpasswd: bool = False, token_realm: "TokenServer | None" = None
) -> Iterator[DockerRegistry]:
    """Run docker-registry on a free port until the end of the block."""
    directory = tempfile.mkdtemp(prefix="rpt-registry-")
    os.chmod(directory, 0o755)
    port = free_port()
    http_part: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": f"{directory}/data"},
            "delete": {"enabled": True},
        },
        "http": http_part,
    }
    authorization = ""
    if tls:
        make_certificate(f"{directory}/certs")
        http_part["tls"] = {
            "certificate": f"{directory}/certs/server.pem",
            "key": f"{directory}/certs/server.pem.key",
        }
    if htpasswd:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": _htpasswd(directory)}}
        authorization = basic(USER, PASSWORD)
    if token_realm is not None:
        config["auth"] = {
            "token": {
                "realm": f"{token_realm.url}/token",
                "service": "test-registry",
                "issuer": "test-issuer",
                "rootcertbundle": token_realm.certificate,
            }
        }
        authorization = (
            f"token {token_realm.url}/token?service=test-registry"
            "&scope=repository:{name}:pull,push"
        )
    registry = DockerRegistry(port, directory, tls=tls, authorization=authorization)
    process = _start(directory, config)
    try:
        _wait_until_up(process, port)
        yield registry
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _start(directory: str, config: Mapping[str, object]) -> "subprocess.Popen[bytes]":
    path = f"{directory}/config.yml"
    with open(path, "w", encoding="utf-8") as out:
        # JSON is YAML.
        json.dump(config, out)
    with open(f"{directory}/log", "wb") as log:
        return subprocess.Popen(
            ["docker-registry", "serve", path],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "docker-registry ended at its start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("docker-registry does not answer")


def _htpasswd(directory: str) -> str:
    path = f"{directory}/htpasswd"
    subprocess.run(
        ["htpasswd", "-Bbc", "-C", "4", path, USER, PASSWORD], check=True, capture_output=True
    )
    return path


def make_certificate(directory: str) -> None:
    """Make an authority (ca.crt) and a certificate of it for localhost (server.pem, .key)."""
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/ext", "w", encoding="ascii") as out:
        out.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    key = ["-newkey", "rsa:2048", "-nodes"]
    for command in (
        ["req", "-x509", *key, "-days", "2", "-subj", "/CN=test authority", "-keyout",
         f"{directory}/ca.pem.key", "-out", f"{directory}/ca.crt"],
        ["req", *key, "-subj", "/CN=localhost", "-keyout", f"{directory}/server.pem.key",
         "-out", f"{directory}/csr"],
        ["x509", "-req", "-in", f"{directory}/csr", "-CA", f"{directory}/ca.crt", "-CAkey",
         f"{directory}/ca.pem.key", "-CAcreateserial", "-days", "2", "-extfile",
         f"{directory}/ext", "-out", f"{directory}/server.pem"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    for name in ("ext", "csr", "ca.pem.key"):
        os.unlink(f"{directory}/{name}")


# --- a small token server ---------------------------------------------------------------------


class TokenServer:
    """Gives signed tokens, as the distribution project describes them.

    Anonymous users may pull from `public/`; alice, with her password or identity token, may all.
    """

    identity_token = "refresh-me"

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.certificate = f"{directory}/server.pem"
        self.ca = f"{directory}/ca.crt"
        self.given: list[tuple[str, str]] = []
        self.life_s = 300
        self.url = ""

    def answer(self, query: Mapping[str, list[str]], authorization: str) -> tuple[int, object]:
        """Return status and document; `query` is of the URL or of a posted form."""
        is_known = authorization == basic(USER, PASSWORD)
        user = USER if is_known or query.get("refresh_token") == [self.identity_token] else ""
        if not user and (authorization or "refresh_token" in query):
            return 401, {"details": "incorrect username or password"}
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            allowed = user or name.startswith("public/")
            granted = actions.split(",") if allowed else []
            access.append({"type": kind, "name": name, "actions": granted})
            self.given.append((user, scope))
        token = self._sign(query.get("service", [""])[0], access)
        return 200, {"token": token, "access_token": token, "expires_in": self.life_s}

    def _sign(self, service: str, access: object) -> str:
        with open(self.certificate, encoding="ascii") as file:
            der = ssl.PEM_cert_to_DER_cert(file.read())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now_s = int(time.time())
        claims = {
            "iss": "test-issuer",
            "sub": "",
            "aud": service,
            "exp": now_s + self.life_s,
            "nbf": now_s - 10,
            "iat": now_s,
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        text = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", f"{self._directory}/server.pem.key"],
            input=text.encode(),
            check=True,
            capture_output=True,
        )
        return f"{text}.{_url64(done.stdout)}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextlib.contextmanager
def token_server(*, tls: bool = False) -> Iterator[TokenServer]:
    """Run a token server; its certificate is what a registry trusts, `ca` that of its TLS."""
    directory = tempfile.mkdtemp(prefix="rpt-token-")
    make_certificate(directory)
    tokens = TokenServer(directory)

    class Handler(_QuietHandler):
        def do_GET(self) -> None:
            self._reply(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._reply(parse_qs(self.rfile.read(length).decode()))

        def _reply(self, query: Mapping[str, list[str]]) -> None:
            status, document = tokens.answer(query, self.headers.get("Authorization", ""))
            self.send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    with _serving(Handler, certificates=directory if tls else None) as port:
        tokens.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        yield tokens
    shutil.rmtree(directory)


# --- a simulated registry ---------------------------------------------------------------------


class _QuietHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a whole body."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def range(self) -> str:
        return self.headers.get("Range", "")


class FakeRegistry:
    """A registry in memory whose answers a test may replace; `requests` has all that came."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.host = ""
        self._documents: dict[str, tuple[bytes, str]] = {}
        self._blobs: dict[str, bytes] = {}
        self._faults: list[list[object]] = []
        self._guard = threading.Lock()

    def add(self, name: str, image: Image, tag: str = "latest") -> str:
        """Serve an image; return its full name."""
        for key in (tag, image.digest):
            self._documents[f"/v2/{name}/manifests/{key}"] = (image.data, image.media_type)
        for digest, document in image.children.items():
            self._documents[f"/v2/{name}/manifests/{digest}"] = document
        for digest, data in image.blobs.items():
            self._blobs[f"/v2/{name}/blobs/{digest}"] = data
        return f"{self.host}/{name}:{tag}"

    def fault(
        self, part: str, answer: "Callable[[FakeHandler], None]", *, times: int = 1_000_000
    ) -> None:
        """Let `answer` reply to the next `times` requests whose path contains `part`."""
        self._faults.append([part, answer, times])

    def heal(self) -> None:
        """Answer well from now on."""
        self._faults.clear()

    def asked(self, part: str) -> list[Request]:
        """Return the requests whose path contains `part`."""
        return [request for request in list(self.requests) if part in request.path]

    def take_fault(self, request: Request) -> "Callable[[FakeHandler], None] | None":
        """Write a request down and return what is to go wrong with it."""
        with self._guard:
            self.requests.append(request)
            for fault in self._faults:
                part, answer, times = fault
                if str(part) in request.path and isinstance(times, int) and times > 0:
                    fault[2] = times - 1
                    return answer  # type: ignore[return-value]  # put there by `fault`
        return None

    def find(self, path: str) -> tuple[bytes, str] | None:
        """Return body and media type of a path without its query."""
        if path in self._blobs:
            return self._blobs[path], "application/octet-stream"
        return self._documents.get(path)


class FakeHandler(_QuietHandler):
    """One connection; a fault gets it and may do what it wants with `wfile`."""

    registry: FakeRegistry

    def do_GET(self) -> None:
        request = Request(self.command, self.path, dict(self.headers.items()))
        fault = self.registry.take_fault(request)
        if fault is not None:
            fault(self)
        else:
            self.serve()

    do_HEAD = do_GET

    @property
    def body(self) -> bytes:
        """What a good answer has."""
        found = self.registry.find(urlsplit(self.path).path)
        return found[0] if found else b""

    def serve(self) -> None:
        """Answer well."""
        path = urlsplit(self.path).path
        found = self.registry.find(path)
        if found is None:
            code = "BLOB_UNKNOWN" if "/blobs/" in path else "MANIFEST_UNKNOWN"
            body = {"errors": [{"code": code, "message": "not known here"}]}
            self.send(404, json.dumps(body).encode(), {"Content-Type": "application/json"})
            return
        data, media_type = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": sha256(data)}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None:
            self.send(200, data, headers)
            return
        first = int(wanted.group(1))
        headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send(206, data[first:], headers)

    def break_off(self, after_bytes: int) -> None:
        """Announce the whole body, send a part of it, and close the connection."""
        offset = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        data = self.body[offset:]
        self.send_response(206 if offset else 200)
        if offset:
            total = len(self.body)
            self.send_header("Content-Range", f"bytes {offset}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:after_bytes])
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, whatever has been said on it."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def fake_registry(*, certificates: str | None = None) -> Iterator[FakeRegistry]:
    """Run a simulated registry in threads of this process.

    It speaks TLS when `certificates` is a directory of `make_certificate`.
    """
    registry = FakeRegistry()

    class Handler(FakeHandler):
        pass

    Handler.registry = registry
    with _serving(Handler, certificates=certificates) as port:
        registry.host = f"127.0.0.1:{port}"
        yield registry


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many tests are about."""


@contextlib.contextmanager
def _serving(
    handler: type[BaseHTTPRequestHandler], *, certificates: str | None = None
) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificates}/server.pem", f"{certificates}/server.pem.key")
        # The handshake is made by the connection's own thread, at its first read.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
