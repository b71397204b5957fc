"""The process that forwards a container's published ports: how it gets to where it works.

A fork of the monitor (`rootless.container.published`), so what it needs is not in the monitor's
memory.
"""

import _socket
import os
import time

from rootless.linux.footprint import release_start_memory
from slirp.forward_target import Target

_CAP_NET_BIND_SERVICE, _CAP_NET_ADMIN = 10, 12


def open_entrance(pid: int) -> int:
    """Return a pidfd of the process through which the container's network is joined."""
    from rootless.linux.procfs import entrance

    return os.pidfd_open(entrance(pid))


def _enter(*fds: int) -> None:
    """Join the container's network and keep only what sockets with foreign addresses need."""
    from rootless.linux.bare import enter_network

    enter_network(fds, 1 << _CAP_NET_ADMIN | 1 << _CAP_NET_BIND_SERVICE)


def close_all_but(kept: list[int]) -> None:
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 31 - 1)


def forward(
    control: _socket.socket,
    pidfd: int,
    target: Target,
    traffic: int,
    times_s: tuple[float, float],
) -> None:
    """Serve the ports that come over `control`, for a container that `pidfd` is in. Never returns.

    `times_s`: how long to wait first, which keeps one that cannot work from busy turns, and how
    long for another client when nobody is there.
    """
    code = 1
    try:
        close_all_but([control.fileno(), pidfd, traffic])
        time.sleep(times_s[0])
        _enter(pidfd)
        os.close(pidfd)
        from slirp.forward_loop import Loop

        loop = Loop(control, target, traffic, release_start_memory)
        loop.idle_s = times_s[1]
        loop.run()
        code = 0
    finally:
        os._exit(code)


def can_forward(fds: tuple[int, ...], target: Target) -> bool:
    """Whether this kernel lets the forwarder work; tried in a forked child.

    `fds` are a pidfd, or descriptors of the user and the network namespace.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _enter(*fds)
            from slirp.forward_loop import probe

            probe(target)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0
