"""Pulls through the proxy that the environment names."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from storage.errors import RegistryUnreachable
from storage.registry.options import PullOptions
from tests.conftest import InAccount
from tests.kernel.registry.pulling import QUICK, Outcome, pull
from tests.registries import DockerRegistry, FakeHandler, FakeRegistry, basic
from tests.support.images import File, tar
from tests.support.oci import make_image


class Tunnel:
    """A proxy that connects every CONNECT to one port of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target_port)) as server:
            head = b""
            while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                head += data
            self.asked.append(head.decode())
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def tunnel(tls_registry: DockerRegistry) -> Iterator[Tunnel]:
    """A proxy to the registry over TLS."""
    running = Tunnel(tls_registry.port)
    yield running
    running.close()


def _pull(
    store: str, name: str, environment: dict[str, str], options: PullOptions = QUICK
) -> Outcome:
    os.environ.update(environment)
    return pull(store, name, options)


def test_tls_goes_through_a_tunnel(
    tls_registry: DockerRegistry, tunnel: Tunnel, in_account: InAccount, account_dir: str
) -> None:
    tls_registry.push("through/tunnel", make_image([tar([File("x", b"x")])]))
    name = f"registry.invalid:{tls_registry.port}/through/tunnel:latest"
    environment = {"https_proxy": f"http://u:p@127.0.0.1:{tunnel.port}"}
    options = QUICK._replace(tls_verify=False)
    outcome = in_account(lambda: _pull(account_dir, name, environment, options))
    assert outcome.image.names == (name,)
    assert tunnel.asked[0].startswith(f"CONNECT registry.invalid:{tls_registry.port} HTTP/1.")
    assert f"proxy-authorization: {basic('u', 'p')}".lower() in tunnel.asked[0].lower()


def test_a_certificate_is_verified_behind_a_tunnel(
    tls_registry: DockerRegistry, tunnel: Tunnel, in_account: InAccount, account_dir: str
) -> None:
    name = f"registry.invalid:{tls_registry.port}/through/tunnel:latest"
    environment = {"https_proxy": f"http://127.0.0.1:{tunnel.port}"}
    options = QUICK._replace(ca_dir=tls_registry.ca_dir)
    error = in_account(lambda: _pull(account_dir, name, environment, options)).error
    assert isinstance(error, RegistryUnreachable)
    assert "the certificate of registry.invalid" in error.message


def test_plain_http_asks_the_proxy_for_the_whole_url(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.add("plain/proxy", make_image([tar([File("x", b"x")])]))

    def forward(handler: FakeHandler) -> None:
        handler.path = handler.path.removeprefix("http://registry.invalid")
        handler.serve()

    fake.fault("http://registry.invalid/", forward)
    environment = {"http_proxy": f"http://{fake.host}"}
    name = "registry.invalid/plain/proxy:latest"
    options = QUICK._replace(tls_verify=False)
    assert in_account(lambda: _pull(account_dir, name, environment, options)).image.names == (name,)


def test_a_proxy_that_is_not_there_is_named(in_account: InAccount, account_dir: str) -> None:
    environment = {"https_proxy": "http://127.0.0.1:1"}
    error = in_account(lambda: _pull(account_dir, "registry.invalid/x", environment)).error
    assert isinstance(error, RegistryUnreachable)
    assert "the proxy for registry.invalid failed" in error.message
    assert "https_proxy" in error.remedy
