"""How fast bytes travel: published ports, between containers, out of a container.

The servers are processes of the benchmark that have joined a container's network, so that what is
measured is the way there and not the programs of an image.
"""

import contextlib
import itertools
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from engine import BenchError, Engine

from tests.support import images
from tests.support.inside import inside_network
from tests.support.registry import free_port

Sample = dict[str, float]
Load = Callable[[str, int, float], float]
_numbers = itertools.count()
_PORT = 5201
_CHUNK = bytes(1 << 18)
_CONNECT_TRIES = 100


def server(ready: Callable[[], None]) -> None:
    """Send as fast as it goes, or repeat what comes, as the first byte of a client says."""
    with socket.create_server(("", _PORT), backlog=1024) as listening:
        ready()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        verb = connection.recv(1)
        while verb == b"s":
            connection.sendall(_CHUNK)
        while verb == b"e" and (data := connection.recv(1 << 16)):
            connection.sendall(data)


def _connect(where: str, port: int) -> socket.socket:
    for _ in range(_CONNECT_TRIES):
        with contextlib.suppress(OSError):
            sock = socket.create_connection((where, port), timeout=10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"e1")
            if sock.recv(1) == b"1":
                return sock
        time.sleep(0.05)
    raise BenchError(f"nothing answers at {where}:{port}")


def throughput(where: str, port: int, seconds: float) -> float:
    """Return Gbit/s of one connection."""
    _connect(where, port).close()
    with socket.create_connection((where, port), timeout=10) as sock:
        sock.sendall(b"s")
        buffer = memoryview(bytearray(1 << 20))
        total = -sock.recv_into(buffer)
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            total += sock.recv_into(buffer)
    return max(0, total) * 8 / (now - begin) / 1e9


def latency(where: str, port: int, seconds: float) -> float:
    """Return the median of microseconds of one byte there and back."""
    times = []
    with _connect(where, port) as sock:
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            sock.sendall(b"x")
            sock.recv(1)
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def connections(where: str, port: int, seconds: float) -> float:
    """Return how many connections in a second one client makes, uses and closes."""
    _connect(where, port).close()
    count = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        with socket.create_connection((where, port), timeout=10) as sock:
            sock.sendall(b"ex")
            if sock.recv(1) != b"x":
                raise BenchError(f"a connection to {where}:{port} was lost")
        count += 1
    return count / (now - begin)


@contextlib.contextmanager
def _container(engine: Engine, *options: str) -> Iterator[tuple[str, int]]:
    name = f"traffic{next(_numbers)}"
    engine.call("run", "-d", "--name", name, *options, images.NAME, "sleep", "1000")
    try:
        yield name, int(engine.call("inspect", "-f", "{{.State.Pid}}", name))
    finally:
        engine.call("rm", "-f", "-t", "0", name, check=False)


def _seconds(quick: bool) -> float:
    return 0.5 if quick else 2.0


def loopback(load: Load) -> Callable[[Engine, bool], Sample]:
    """Measure without any container: what this machine can do."""

    def measure(engine: Engine, quick: bool) -> Sample:
        with inside_network(engine.account, 0, server):
            return {"value": load("127.0.0.1", _PORT, _seconds(quick)), "peak": 0.0}

    return measure


def published(load: Load, network: str) -> Callable[[Engine, bool], Sample]:
    """Measure from the host through a published port."""

    def measure(engine: Engine, quick: bool) -> Sample:
        port = free_port()
        options = (f"--network={network}", "-p", f"127.0.0.1:{port}:{_PORT}")
        with (
            _container(engine, *options) as (_, pid),
            inside_network(engine.account, pid, server),
        ):
            return {"value": load("127.0.0.1", port, _seconds(quick)), "peak": 0.0}

    return measure


def outgoing(load: Load, network: str = "slirp4netns") -> Callable[[Engine, bool], Sample]:
    """Measure from a container to a server on the host, by the host's own address."""

    def measure(engine: Engine, quick: bool) -> Sample:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("198.51.100.1", 9))
            where = str(sock.getsockname()[0])
        with _container(engine, f"--network={network}") as (_, pid):
            return _from_container(engine, pid, load, where, quick)

    return measure


def _from_container(engine: Engine, pid: int, load: Load, where: str, quick: bool) -> Sample:
    with inside_network(engine.account, 0, server):
        return {"value": _loaded_in(engine, pid, load, where, quick), "peak": 0.0}


def _loaded_in(engine: Engine, pid: int, load: Load, where: str, quick: bool) -> float:
    """Return what a client in the network of a process measures."""
    reader, writer = os.pipe()

    def client(ready: Callable[[], None]) -> None:
        os.write(writer, f"{load(where, _PORT, _seconds(quick))}".encode())
        ready()
        threading.Event().wait()

    with inside_network(engine.account, pid, client), open(reader, encoding="ascii") as result:
        os.close(writer)
        return float(os.read(result.fileno(), 100))


def between_containers(load: Load) -> Callable[[Engine, bool], Sample]:
    """Measure between two containers of a user-defined network."""

    def measure(engine: Engine, quick: bool) -> Sample:
        network = f"traffic{next(_numbers)}"
        engine.call("network", "create", network)
        try:
            with (
                _container(engine, f"--network={network}") as (name, pid),
                _container(engine, f"--network={network}") as (_, other),
                inside_network(engine.account, pid, server),
            ):
                form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
                where = engine.call("inspect", "-f", form, name).strip()
                return {"value": _loaded_in(engine, other, load, where, quick), "peak": 0.0}
        finally:
            engine.call("network", "rm", "-f", network, check=False)

    return measure


def network_start(engine: Engine, quick: bool) -> Sample:
    """Measure `run --rm` in a network that nobody uses: all of it comes up, and ends."""
    network = f"traffic{next(_numbers)}"
    engine.call("network", "create", network)
    try:
        timed = engine.timed("run", "--rm", f"--network={network}", images.NAME, "true")
        return {"value": timed.seconds * 1000, "peak": timed.peak_mib}
    finally:
        engine.call("network", "rm", "-f", network, check=False)
