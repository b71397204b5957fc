"""What is measured. A case prepares, measures one engine once, and cleans up."""

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import material
import traffic
from engine import BenchError, Engine, Timed, pss_mib

from tests.support import images, registry
from tests.support.registry import Registry, free_port

IMAGE = images.NAME
CLOCK = "test ! -d /out || cat /proc/uptime >>/out/clock"
_numbers = itertools.count()
TERM_HANDLER = "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"
LINE = "a line of text as programs write it to their standard output, with a number of words"


class Context(NamedTuple):
    """What a measurement may use."""

    engine: Engine
    quick: bool
    registry: Registry | None


Sample = dict[str, float]


class Case(NamedTuple):
    """A named measurement. `budget` is a ratio rpod/podman, `least` turns the comparison round."""

    name: str
    unit: str
    measure: Callable[[Context], Sample]
    budget: float | None = None
    least: bool = False
    absolute: bool = False
    rounds: int = 15
    quick_rounds: int = 5
    needs_registry: bool = False
    rpod_only: bool = False


def _ms(timed: Timed) -> Sample:
    return {"value": timed.seconds * 1000, "peak": timed.peak_mib}


@contextmanager
def container(engine: Engine, *arguments: str) -> Iterator[str]:
    """Have a detached container for the length of a block."""
    name = f"bench{next(_numbers)}"
    engine.call("run", "-d", "--name", name, *arguments)
    try:
        yield name
    finally:
        engine.call("rm", "-f", "-t", "0", name, check=False)


def run_once(network: str) -> Callable[[Context], Sample]:
    def measure(context: Context) -> Sample:
        return _ms(context.engine.timed("run", "--rm", f"--network={network}", IMAGE, "true"))

    return measure


def run_shared(context: Context) -> Sample:
    """Start where the home is treated as one that machines share, from the image's one file."""
    engine = context.engine
    words = ("run", "--rm", "--network=none", IMAGE, "true")
    with engine.own_directory() as directory:
        engine.call("save", "-q", "-o", f"{directory}/image.tar", IMAGE)
        places = {"RPOD_ROOT": f"{directory}/home", "RPOD_NODE_ROOT": f"{directory}/node"}
        with engine.variables(**places):
            engine.call("load", "-q", "-i", f"{directory}/image.tar")
            engine.call(*words)
            samples = sorted(engine.timed(*words) for _ in range(5))
            engine.call("rmi", "-f", IMAGE)
    return _ms(samples[2])


def run_rank(context: Context) -> Sample:
    """Join the namespaces of a job's first rank: processor time of the whole command."""
    engine, tag = context.engine, f"bench{next(_numbers)}"
    words = ("shell", "--join", "--join-tag", tag, IMAGE)
    with engine.variables(OMPI_COMM_WORLD_LOCAL_SIZE="9"):
        first = engine.start(*words, "sleep", "1000", stdout=subprocess.PIPE)
        engine.call(*words, "true")
        samples = sorted(engine.processor_seconds(*words, "true") for _ in range(5))
        first.kill()
        first.wait()
    engine.clean()
    return {"value": samples[2] * 1000, "peak": 0.0}


def run_detached(context: Context) -> Sample:
    name = f"bench{next(_numbers)}"
    timed = context.engine.timed("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    context.engine.call("rm", "-f", "-t", "0", name)
    return _ms(timed)


def create(context: Context) -> Sample:
    name = f"bench{next(_numbers)}"
    timed = context.engine.timed("create", "--name", name, IMAGE, "sleep", "1000")
    context.engine.call("rm", "-f", name)
    return _ms(timed)


def start(context: Context) -> Sample:
    name = f"bench{next(_numbers)}"
    context.engine.call("create", "--name", name, IMAGE, "sleep", "1000")
    timed = context.engine.timed("start", name)
    context.engine.call("rm", "-f", "-t", "0", name)
    return _ms(timed)


def exec_true(context: Context) -> Sample:
    with container(context.engine, "--network=none", IMAGE, "sleep", "1000") as name:
        samples = sorted(context.engine.timed("exec", name, "true") for _ in range(3))
    return _ms(samples[1])


def with_few_containers(*argv: str) -> Callable[[Context], Sample]:
    def measure(context: Context) -> Sample:
        with container(context.engine, "--network=none", IMAGE, "sleep", "1000") as name:
            words = [name if word == "NAME" else word for word in argv]
            samples = sorted(context.engine.timed(*words) for _ in range(3))
        return _ms(samples[1])

    return measure


def images_list(context: Context) -> Sample:
    return _ms(context.engine.timed("images"))


def stop(context: Context) -> Sample:
    with container(context.engine, "--network=none", IMAGE, "sh", "-c", TERM_HANDLER) as name:
        deadline = time.monotonic() + 10
        while "ready" not in context.engine.call("logs", name):
            if time.monotonic() > deadline:
                raise BenchError(f"{context.engine.name}: no output of a container in 10 s")
        return _ms(context.engine.timed("stop", name))


def remove_running(context: Context) -> Sample:
    name = f"bench{next(_numbers)}"
    context.engine.call("run", "-d", "--name", name, "--network=none", IMAGE, "sleep", "1000")
    return _ms(context.engine.timed("rm", "-f", "-t", "0", name))


def at_once(network: str) -> Callable[[Context], Sample]:
    def measure(context: Context) -> Sample:
        count = 10 if context.quick else 50
        arguments = ("run", "--rm", f"--network={network}", IMAGE, "true")
        return _ms(context.engine.at_once(count, *arguments))

    return measure


def pull(name: str, *, again: bool = False) -> Callable[[Context], Sample]:
    def measure(context: Context) -> Sample:
        assert context.registry is not None
        full = f"{context.registry.host}/{name}"
        command = ("pull", "-q", "--tls-verify=false", full)
        if again:
            context.engine.call(*command)
        else:
            context.engine.call("rmi", "-f", full, check=False)
        return _ms(context.engine.timed(*command))

    return measure


def push(context: Context) -> Sample:
    """Send the large image, pulled before, to a repository that has nothing of it."""
    assert context.registry is not None
    source = f"{context.registry.host}/{material.BIG}"
    context.engine.call("pull", "-q", "--tls-verify=false", source)
    # Another registry's name would need another registry: a fresh one is started for each sample.
    with registry.running() as fresh:
        target = f"{fresh.host}/bench/{context.engine.name}:{next(_numbers)}"
        return _ms(context.engine.timed("push", "-q", "--tls-verify=false", source, target))


def archive(command: str) -> Callable[[Context], Sample]:
    """Measure `save` of the large image, or `load` into a store without it."""

    def measure(context: Context) -> Sample:
        assert context.registry is not None
        source = f"{context.registry.host}/{material.BIG}"
        context.engine.call("pull", "-q", "--tls-verify=false", source)
        with context.engine.own_directory() as directory:
            path = f"{directory}/image.tar"
            saved = context.engine.timed("save", "-q", "-o", path, source)
            if command == "save":
                return _ms(saved)
            # What an earlier round has loaded lost its name to this one's pull.
            context.engine.call("rmi", "-f", source)
            context.engine.call("image", "prune", "-f")
            return _ms(context.engine.timed("load", "-q", "-i", path))

    return measure


def writing(context: Context) -> tuple[str, int]:
    """Return a shell line that prepares text and then writes it as fast as it can, and its size."""
    size = (32 if context.quick else 64) << 20
    write = "dd if=/big bs=4k 2>/dev/null"  # the buffer of most programs that write to a pipe
    return f"yes '{LINE}' | head -c {size} >/big; {CLOCK}; {write}; {CLOCK}", size


def attached_output(context: Context) -> Sample:
    script, size = writing(context)
    arguments = ("run", "--rm", "--network=none", IMAGE, "sh", "-c", script)
    total, seconds = context.engine.stream(*arguments)
    if total != size:
        raise BenchError(f"{context.engine.name}: {total} of {size} bytes arrived")
    return {"value": total / seconds / 1e6, "peak": 0.0}


def log_write(context: Context) -> Sample:
    """Let the writer take the time: it is held up by whoever writes the log."""
    script, size = writing(context)
    with context.engine.own_directory() as directory:
        volume = f"{directory}:/out"
        arguments = ("--network=none", "-v", volume, IMAGE, "sh", "-c", script)
        with container(context.engine, *arguments) as name:
            context.engine.call("wait", name)
        with open(f"{directory}/clock", encoding="utf-8") as clock:
            begin, end = (float(line.split()[0]) for line in clock)
    return {"value": size / (end - begin) / 1e6, "peak": 0.0}


def log_read(context: Context) -> Sample:
    script, size = writing(context)
    with container(context.engine, "--network=none", IMAGE, "sh", "-c", script) as name:
        context.engine.call("wait", name)
        begin = time.perf_counter()
        total, _ = context.engine.stream("logs", name)
        seconds = time.perf_counter() - begin
    if abs(total - size) > 1:
        raise BenchError(f"{context.engine.name}: logs gave {total} of {size} bytes")
    return {"value": total / seconds / 1e6, "peak": 0.0}


_ECHO = ("nc", "-ll", "-p", "80", "-e", "cat")


def memory(
    *options: str, ports: int = 0, used: bool = False, held: bool = False
) -> Callable[[Context], Sample]:
    """Measure the processes beside a container.

    `used`: some seconds after many clients of its first port; `held`: while one is there.
    """

    def measure(context: Context) -> Sample:
        engine, count = context.engine, 3
        before = set(engine.helpers())
        with_pause = {"podman", "catatonit"}  # one for each user, not for each container
        clients: list[socket.socket] = []
        for _ in range(count):
            numbers = _free_ports(ports)
            publish = [f"-p=127.0.0.1:{number}:{80 + i}" for i, number in enumerate(numbers)]
            engine.call("run", "-d", *options, *publish, IMAGE, *_ECHO)
            if used:
                connect_often(numbers[0])
            if held:
                clients.append(connect(numbers[0]))
        # A helper that rests gives memory back after a second, a forwarder ends after two.
        time.sleep(3.5 if used else 1.5)
        total = 0.0
        for pid, name in engine.helpers().items():
            if pid in before or name in with_pause:
                continue
            try:
                total += pss_mib(pid)
            except OSError as error:
                raise BenchError(f"memory of {name} ({pid}) is closed to this user") from error
        for client in clients:
            client.close()
        engine.clean()
        return {"value": total / count, "peak": 0.0}

    return measure


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)


def connect(port: int) -> socket.socket:
    """Return a connection to a published port once the server behind it has answered."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            client.sendall(b"x")
            if client.recv(1):
                return client
            client.close()
        time.sleep(0.05)
    raise BenchError(f"nothing answers at port {port}")


def connect_often(port: int) -> None:
    """Be a hundred clients, one after the other."""
    for _ in range(100):
        connect(port).close()


def memory_network(context: Context) -> Sample:
    """Measure the processes beside three containers in one user-defined network."""
    name = f"bench{next(_numbers)}"
    context.engine.call("network", "create", name)
    try:
        return memory(f"--network={name}")(context)
    finally:
        context.engine.call("network", "rm", "-f", name)


def _containerfile(last: str) -> str:
    steps = "".join(f"RUN echo {number} >{number}\n" for number in range(5))
    return (
        f"FROM {IMAGE}\nENV A=1\nWORKDIR /srv\n{steps}COPY . /srv/context\nRUN echo {last} >last\n"
    )


def _write_context(directory: str, files: int) -> None:
    for number in range(files):
        part = f"{directory}/{number // 500}"
        os.makedirs(part, exist_ok=True)
        with open(f"{part}/{number}", "w", encoding="ascii") as file:
            file.write(f"{number}\n" * 100)


def build(kind: str, files: int = 10) -> Callable[[Context], Sample]:
    """Measure a build of ten steps: all executed, none, or the last one alone."""

    def measure(context: Context) -> Sample:
        count = files // 10 if context.quick and files > 100 else files
        engine = context.engine
        with engine.own_directory() as directory:
            _write_context(directory, count)
            path = f"{directory}/Containerfile"
            words = ("build", "--layers", "-q", "-t", "bench-build")

            def write(last: str) -> None:
                with open(path, "w", encoding="ascii") as file:
                    file.write(_containerfile(last))

            os.chmod(directory, 0o755)
            write("one")
            if kind == "cold":
                return _ms(engine.timed(*words, "--no-cache", directory))
            engine.call(*words, directory)
            if kind == "last":
                write(f"two {next(_numbers)} {time.time_ns()}")
            return _ms(engine.timed(*words, directory))

    return measure


def _traffic_cases() -> Iterator[Case]:
    """Give throughput, latency and connections for each way that bytes can take."""
    for load, unit, least, budget in (
        (traffic.throughput, "Gb/s", True, 1.0),
        (traffic.latency, "us", False, 1.0),
        (traffic.connections, "1/s", True, 1.0),
    ):
        slirp = "slirp4netns:port_handler=slirp4netns"
        # podman 4.3 has no pasta, and podman-here no netavark for networks of its own.
        ways = (
            ("loopback", traffic.loopback(load), None, False),
            ("port", traffic.published(load, "slirp4netns"), budget, False),
            ("port-by-slirp", traffic.published(load, slirp), None, False),
            ("port-by-pasta", traffic.published(load, "pasta"), None, True),
            ("outgoing", traffic.outgoing(load), budget, False),
            ("containers", traffic.between_containers(load), None, True),
        )
        kind = {"Gb/s": "rate", "us": "delay", "1/s": "connects"}[unit]
        for way, measure, limit, alone in ways:
            yield Case(
                f"{kind}-{way}",
                unit,
                lambda context, measure=measure: measure(context.engine, context.quick),  # type: ignore[misc]
                limit,
                least=least,
                rounds=3,
                quick_rounds=1,
                rpod_only=alone,
            )
    yield Case(
        "network-start",
        "ms",
        lambda context: traffic.network_start(context.engine, context.quick),
        rounds=9,
        quick_rounds=3,
        rpod_only=True,
    )


CASES = (
    Case("run-slirp", "ms", run_once("slirp4netns"), 0.40),
    Case("run-none", "ms", run_once("none"), 0.40),
    Case("run-host", "ms", run_once("host"), 0.40),
    # The bars of shared machines: 150 ms warm, 50 ms of processor time for every later rank.
    Case("run-shared", "ms", run_shared, 150.0, absolute=True, rounds=3, rpod_only=True),
    Case("join-rank", "ms", run_rank, 50.0, absolute=True, rounds=3, rpod_only=True),
    Case("run-d", "ms", run_detached, 0.45),
    Case("create", "ms", create, 0.45),
    Case("start", "ms", start, 0.45),
    Case("exec", "ms", exec_true, 0.40),
    Case("ps", "ms", with_few_containers("ps"), 1.5),
    Case("images", "ms", images_list, 1.5),
    Case("inspect", "ms", with_few_containers("inspect", "NAME"), 1.5),
    Case("stop", "ms", stop, 0.5),
    Case("rm-f", "ms", remove_running, 0.5),
    Case("at-once-slirp", "ms", at_once("slirp4netns"), 0.40, rounds=3, quick_rounds=2),
    Case("at-once-none", "ms", at_once("none"), 0.40, rounds=3, quick_rounds=2),
    Case("pull-small", "ms", pull(material.SMALL), rounds=7, quick_rounds=3, needs_registry=True),
    Case(
        "pull-300mb", "ms", pull(material.BIG), 0.60, rounds=3, quick_rounds=1, needs_registry=True
    ),
    Case(
        "pull-again",
        "ms",
        pull(material.SMALL, again=True),
        0.6,
        rounds=9,
        quick_rounds=3,
        needs_registry=True,
    ),
    Case("build-cold", "ms", build("cold"), 0.5, rounds=5, quick_rounds=2),
    Case("build-cached", "ms", build("cached"), 0.4, rounds=7, quick_rounds=3),
    Case("build-last-step", "ms", build("last"), 0.5, rounds=5, quick_rounds=2),
    Case("build-50000-files", "ms", build("cold", 50_000), 0.5, rounds=2, quick_rounds=1),
    Case("build-50000-files-cached", "ms", build("cached", 50_000), 0.4, rounds=2, quick_rounds=1),
    Case("push-300mb", "ms", push, 0.4, rounds=3, quick_rounds=1, needs_registry=True),
    Case("save-300mb", "ms", archive("save"), 0.4, rounds=3, quick_rounds=1, needs_registry=True),
    Case("load-300mb", "ms", archive("load"), 0.7, rounds=3, quick_rounds=1, needs_registry=True),
    Case("attached-output", "MB/s", attached_output, 3.0, least=True, rounds=5, quick_rounds=3),
    Case("log-write", "MB/s", log_write, 3.0, least=True, rounds=5, quick_rounds=3),
    Case("log-read", "MB/s", log_read, 3.0, least=True, rounds=5, quick_rounds=3),
    Case(
        "memory-none", "MiB", memory("--network=none"), 5.0, absolute=True, rounds=3, quick_rounds=1
    ),
    Case(
        "memory-slirp",
        "MiB",
        memory("--network=slirp4netns"),
        5.0,
        absolute=True,
        rounds=3,
        quick_rounds=1,
    ),
    Case(
        "memory-port",
        "MiB",
        memory("--network=slirp4netns", ports=1),
        5.0,
        absolute=True,
        rounds=3,
        quick_rounds=1,
    ),
    Case(
        "memory-100-ports",
        "MiB",
        memory("--network=slirp4netns", ports=100),
        5.0,
        absolute=True,
        rounds=3,
        quick_rounds=1,
    ),
    Case(
        "memory-port-used",
        "MiB",
        memory("--network=slirp4netns", ports=1, used=True),
        5.0,
        absolute=True,
        rounds=3,
        quick_rounds=1,
    ),
    Case(
        "memory-port-open",
        "MiB",
        memory("--network=slirp4netns", ports=1, held=True),
        absolute=True,
        rounds=3,
        quick_rounds=1,
    ),
    Case("memory-network", "MiB", memory_network, absolute=True, rounds=3, quick_rounds=1),
    *_traffic_cases(),
)
