"""`rpod system service` under test, and clients of it that are the account."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from tests.support.accounts import run_as
from tests.support.command import TIME_FACTOR, Command

if TYPE_CHECKING:
    import docker

P = ParamSpec("P")
R = TypeVar("R")


class Answer(NamedTuple):
    """Status, headers in small letters, and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Service:
    """A service that listens on `path`."""

    def __init__(self, command: Command, *options: str) -> None:
        self.command = command
        self.path = f"{command.environment['XDG_RUNTIME_DIR']}/rpod/rpod.sock"
        self.process = command.spawn("system", "service", *(options or ("--time", "0")))
        deadline_s = time.monotonic() + 10 * TIME_FACTOR
        while not is_listening(self.path):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s, "no socket"
            time.sleep(0.02)

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def end(self) -> tuple[str, str]:
        """Ask it to end; return what it has written."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=20 * TIME_FACTOR)
        return out.decode(), err.decode()

    def as_account(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in a process of the account."""
        return run_as(self.command.account, 40 * TIME_FACTOR, function, *args, **kwargs)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request and return the answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: d", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return parse_answer(self.as_account(exchange_bytes, self.path, data))

    def raw(self, data: bytes) -> bytes:
        """Send bytes and return all that comes back."""
        return self.as_account(exchange_bytes, self.path, data)


def is_listening(path: str) -> bool:
    """Say whether somebody listens; what a killed service has left is a file like any other."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def exchange_bytes(path: str, data: bytes) -> bytes:
    """Connect, send, and read to the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30 * TIME_FACTOR)
        client.connect(path)
        try:
            client.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end
        received = bytearray()
        try:
            while part := client.recv(1 << 16):
                received += part
        except ConnectionResetError:
            pass  # what we sent was not read to the end
        return bytes(received)


def parse_answer(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunk(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def unchunk(data: bytes) -> bytes:
    result = bytearray()
    while data:
        size, _, rest = data.partition(b"\r\n")
        result += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return bytes(result)


def wait_ended(process: "subprocess.Popen[bytes]", timeout_s: float = 20) -> int:
    return process.wait(timeout_s * TIME_FACTOR)


@contextlib.contextmanager
def client_of(url: str) -> "Iterator[docker.DockerClient]":
    """Give a client of docker's SDK, in a process of the account."""
    import docker

    client = docker.DockerClient(base_url=url, timeout=30)
    try:
        yield client
    finally:
        client.close()
