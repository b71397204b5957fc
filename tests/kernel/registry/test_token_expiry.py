"""Tokens that die while a pull or a push over a slow line goes on."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rootless.host.paths import open_host
from storage.images import find_image
from storage.reference import parse_reference
from storage.registry.options import Credentials
from storage.registry.push import push_image
from tests.conftest import InAccount
from tests.kernel.registry.pulling import QUICK, pull
from tests.registries import PASSWORD, USER, DockerRegistry, TokenServer
from tests.support.images import File, tar
from tests.support.oci import make_image

_ALICE = QUICK._replace(
    credentials=Credentials(USER, PASSWORD),
    read_timeout_s=10.0,
    document_timeout_s=10.0,
    max_concurrent=1,
)
_CHUNK_BYTES = 1 << 16
_BYTES_PER_S = 500_000
_LAYER_BYTES = 600_000
_LAYERS = 3


class SlowLine:
    """Relays connections to a port, at most so many bytes a second; counts what goes up."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up_bytes = 0
        self._open = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += [near, far]
                self._start(self._copy, near, far, True)
                self._start(self._copy, far, near, False)

    def _copy(self, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                target.sendall(data)
                self.up_bytes += len(data) if is_up else 0
                time.sleep(len(data) / _BYTES_PER_S)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()


@pytest.fixture
def line(token_registry: DockerRegistry) -> Iterator[SlowLine]:
    line = SlowLine(token_registry.port)
    yield line
    line.close()


@pytest.fixture
def short_lives(tokens: TokenServer) -> Iterator[TokenServer]:
    """Tokens that docker-registry accepts for a second: it is a minute lenient.

    Nothing tells the client: it takes them for good for a minute.
    """
    before = tokens.life_s
    tokens.life_s = -59
    yield tokens
    tokens.life_s = before


def test_tokens_are_renewed_in_a_long_pull_and_push(
    token_registry: DockerRegistry,
    tokens: TokenServer,
    line: SlowLine,
    in_account: InAccount,
    account_dir: str,
    request: pytest.FixtureRequest,
) -> None:
    layers = [tar([File(f"f{n}", os.urandom(_LAYER_BYTES))]) for n in range(_LAYERS)]
    token_registry.push("private/slow", make_image(layers))
    request.getfixturevalue("short_lives")
    name = f"{line.host}/private/slow:latest"
    asked = len(tokens.given)
    outcome = in_account(lambda: pull(account_dir, name, _ALICE))
    assert outcome.error is None
    assert len(tokens.given) - asked >= _LAYERS - 1
    asked, line.up_bytes = len(tokens.given), 0
    # Another name of the host: nobody knows that the blobs are there already.
    target = f"{line.host.replace('127.0.0.1', 'localhost')}/private/other:1"

    def push() -> str:
        layout = open_host(root=account_dir).layout
        image = find_image(layout, name)
        return push_image(layout, image, parse_reference(target), options=_ALICE)

    assert in_account(push) == outcome.image.manifest_digest
    assert len(tokens.given) - asked >= _LAYERS - 1
    assert line.up_bytes < (_LAYERS + 1) * _LAYER_BYTES
