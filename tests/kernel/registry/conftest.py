"""Fixtures for pulls: stores of the account, registries on loopback."""

from collections.abc import Iterator

import pytest

from tests.registries import (
    DockerRegistry,
    FakeRegistry,
    TokenServer,
    docker_registry,
    fake_registry,
    make_certificate,
    missing,
    token_server,
)


def _need(*programs: str) -> None:
    absent = missing("docker-registry", *programs)
    if absent:
        pytest.skip(f"not installed: {absent}")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A simulated registry, fresh for each test."""
    with fake_registry() as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with an authority and a certificate of it for loopback."""
    _need("openssl")
    made = tmp_path_factory.mktemp("certificates")
    make_certificate(str(made))
    for directory in (made, *made.parents[:2]):
        directory.chmod(0o755)
    return str(made)


@pytest.fixture(scope="module")
def plain_registry() -> Iterator[DockerRegistry]:
    """docker-registry over plain HTTP."""
    _need()
    with docker_registry() as running:
        yield running


@pytest.fixture(scope="module")
def tls_registry() -> Iterator[DockerRegistry]:
    """docker-registry over TLS with an authority of its own."""
    _need("openssl")
    with docker_registry(tls=True) as running:
        yield running


@pytest.fixture(scope="module")
def basic_registry() -> Iterator[DockerRegistry]:
    """docker-registry that asks for alice's password."""
    _need("htpasswd")
    with docker_registry(htpasswd=True) as running:
        yield running


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    """A token server."""
    _need("openssl")
    with token_server() as running:
        yield running


@pytest.fixture(scope="module")
def token_registry(tokens: TokenServer) -> Iterator[DockerRegistry]:
    """docker-registry that wants tokens of `tokens`."""
    with docker_registry(token_realm=tokens) as running:
        yield running
