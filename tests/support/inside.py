"""Functions of a test inside a container's network: what no program of the test image can do."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from rootless.linux import syscalls
from tests.support.accounts import Account, become
from tests.support.command import Command

Body = Callable[[Callable[[], None]], None]


@contextlib.contextmanager
def inside(command: Command, name: str, body: Body) -> Iterator[None]:
    """Run `body(ready)` in a container's network, as a process outside, until the block ends.

    The block begins when the body has called `ready`; it fails when the body does before.
    """
    pid = int(command("inspect", "-f", "{{.State.Pid}}", name).out)
    with inside_network(command.account, pid, body):
        yield


@contextlib.contextmanager
def inside_network(account: Account, pid: int, body: Body) -> Iterator[None]:
    """As `inside`, in the network of any process of the account; 0 is the caller's own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if pid:
                become(account)
                flags = syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET
                syscalls.setns(os.pidfd_open(pid), flags)
            body(lambda: os.close(writer) if os.write(writer, b"r") else None)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"r", "the process inside the container's network has failed"
        os.close(reader)
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
