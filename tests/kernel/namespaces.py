"""A process in a network namespace of its own, and hosts on which something is missing."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import pytest

from rootless.host.identity import single_id
from rootless.linux import syscalls
from rootless.linux.userns import apply_maps, run_in_userns
from tests.support import accounts
from tests.support.accounts import Account

P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def network_namespace(inside: Callable[[], None]) -> Iterator[tuple[int, Callable[[], None]]]:
    """Give the pid of a process in new user and network namespaces and a function that lets it go.

    It runs `inside` then; it is killed at the end.
    """
    ready, child_ready = os.pipe()
    go, parent_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(parent_go)
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
            os.write(child_ready, b"x")
            if os.read(go, 1):
                inside()
                signal.pause()
        finally:
            os._exit(1)
    os.close(child_ready)
    os.close(go)
    try:
        assert os.read(ready, 1), "no user and network namespace"
        apply_maps(pid, single_id(os.geteuid(), os.getegid()))
        yield pid, lambda: _let_go(parent_go)
    finally:
        os.close(ready)
        os.close(parent_go)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _let_go(fd: int) -> None:
    os.write(fd, b"x")


def serve_tcp(port: int, answer: bytes) -> Callable[[], None]:
    """Return a function that answers each connection, for ever."""

    def serve() -> None:
        with socket.create_server(("0.0.0.0", port)) as server:
            while True:
                connection, _ = server.accept()
                connection.sendall(answer)
                connection.close()

    return serve


def serve_udp(port: int, answer: bytes) -> Callable[[], None]:
    """Return a function that answers each datagram, for ever."""

    def serve() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", port))
            while True:
                _, peer = server.recvfrom(100)
                server.sendto(answer, peer)

    return serve


def in_own_namespace(function: Callable[[], R]) -> R:
    """Run a function as root of a new user and mount namespace; it returns a JSON value."""
    result = run_in_userns(
        lambda _emit: function(), single_id(os.geteuid(), os.getegid()), new_mounts=True
    )
    return result  # type: ignore[return-value]  # JSON gives back what went in


def hide(path: str) -> None:
    """Cover a file, in a mount namespace of one's own, by a socket: nobody can open one (ENXIO)."""
    cover = f"{os.environ['HOME']}/cover-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(cover)
    os.chmod(cover, 0o600)
    syscalls.mount(cover, path, "", syscalls.MS_BIND)


def run_with_hidden(account: Account, paths: list[str], function: Callable[[], R]) -> R:
    """Run a function as an account for which some files of the host cannot be opened."""
    if os.getuid() != 0:
        pytest.skip("only root can hide files of the host from a regular user")

    def outer() -> R:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        for path in paths:
            hide(path)
        return accounts.run_as(account, 60, function)

    root = Account("root", 0, 0, account.home, account.runtime_dir, ())
    return accounts.run_as(root, 60, outer)
