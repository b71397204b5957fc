"""Several machines on one: a host with an /etc of its own, and others at the end of its cables.

Made by root of network namespaces and pairs of interfaces; the command under test runs on the host.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from rootless.linux import syscalls
from slirp.dns_message import A, answer, parse_query
from tests.support.command import Command

# Documentation addresses (RFC 5737, RFC 3849). SERVICE is in every world, and says which one it is.
SERVICE = "203.0.113.5"
WEB_PORT = 80


def ip(pid: int, *words: str) -> None:
    """Call ip(8) in the network namespace of a process."""
    subprocess.run(["nsenter", f"--target={pid}", "--net", "ip", *words], check=True)


class OnMachine(Command):
    """The command, run on a simulated host."""

    def __init__(self, command: Command, pid: int) -> None:
        super().__init__(command.account, command.environment)
        self._pid = pid

    def dropping(self) -> list[str]:
        return ["nsenter", f"--target={self._pid}", "--net", "--mount", "--", *super().dropping()]


class World:
    """Whatever is at the end of one cable: number 1 is 192.0.2.0/24, number 2 198.51.100.0/24."""

    def __init__(self, number: int, pid: int) -> None:
        self.pid = pid
        self.name = f"world{number}"
        prefix = {1: "192.0.2", 2: "198.51.100"}[number]
        self.host, self.address = f"{prefix}.1", f"{prefix}.2"
        self.host6, self.address6 = f"2001:db8:{number}::1", f"2001:db8:{number}::2"
        self.interface = f"cable{number}"
        self.answer = f"203.0.113.{100 + number}"

    def call(self, function: Callable[[], str]) -> str:
        """Return what a function gives here, as a machine of this world."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                syscalls.setns(os.pidfd_open(self.pid), syscalls.CLONE_NEWNET)
                os.write(writer, function().encode())
            except OSError as error:
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, encoding="utf-8") as result:
            text = result.read()
        os.waitpid(child, 0)
        return text


class Machine:
    """A host: `command` runs on it; its routes and name servers can be changed."""

    def __init__(self, pid: int, etc: str, command: Command) -> None:
        self.pid = pid
        self.etc = etc
        self.command = OnMachine(command, pid)
        self.worlds: list[World] = []

    def plug_in(self, world: World) -> None:
        """Connect a world by a cable."""
        ip(self.pid, "link", "add", world.interface, "type", "veth", "peer", "name", "up0",
           "netns", str(world.pid))  # fmt: skip
        for pid, device, own, own6 in (
            (self.pid, world.interface, world.host, world.host6),
            (world.pid, "up0", world.address, world.address6),
        ):
            ip(pid, "link", "set", device, "up")
            ip(pid, "address", "add", f"{own}/24", "dev", device)
            ip(pid, "address", "add", f"{own6}/64", "dev", device, "nodad")
        ip(world.pid, "address", "add", f"{SERVICE}/32", "dev", "lo")
        ip(world.pid, "route", "add", "default", "via", world.host)
        ip(world.pid, "-6", "route", "add", "default", "via", world.host6)
        self.worlds.append(world)

    def go_through(self, world: World) -> None:
        """Take the default route of a world, and its name server."""
        for family, gateway in (("-4", world.address), ("-6", world.address6)):
            ip(self.pid, family, "route", "replace", "default", "via", gateway)
        with open(f"{self.etc}/resolv.conf.new", "w", encoding="ascii") as file:
            file.write(f"search {world.name}.example\nnameserver {world.address}\n")
        os.rename(f"{self.etc}/resolv.conf.new", f"{self.etc}/resolv.conf")


@contextlib.contextmanager
def machine(command: Command) -> Iterator[Machine]:
    """Give a host with two worlds; its way goes through the first."""
    etc = tempfile.mkdtemp(prefix="rpt-etc-", dir="/tmp")
    shutil.copytree("/etc", etc, symlinks=True, dirs_exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{etc}/resolv.conf")
    os.chmod(etc, 0o755)
    processes: list[int] = []
    try:
        processes.append(_process(lambda: _be_host(etc), syscalls.CLONE_NEWNS))
        host = Machine(processes[0], etc, command)
        ip(host.pid, "link", "set", "lo", "up")
        for number in (1, 2):
            world = World(number, 0)
            processes.append(_process(_serve(world), 0))
            world.pid = processes[-1]
            host.plug_in(world)
        host.go_through(host.worlds[0])
        yield host
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        shutil.rmtree(etc, ignore_errors=True)


def _process(body: Callable[[], None], flags: int) -> int:
    """Fork a process with a network of its own; return its pid once that is there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET | flags)
            body()
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            os.write(writer, b"r")
            while True:
                time.sleep(1000)
        finally:
            os._exit(1)
    os.close(writer)
    ready = os.read(reader, 1)
    os.close(reader)
    assert ready == b"r", "a simulated machine has failed"
    return pid


def _be_host(etc: str) -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", etc, "/etc"], check=True)


def _serve(world: World) -> Callable[[], None]:
    """Be a world: a service that says its name and its client, and a name server."""

    def web(server: socket.socket) -> None:
        while True:
            connection, peer = server.accept()
            with connection:
                connection.sendall(
                    f"{world.name} sees {peer[0].removeprefix('::ffff:')}\n".encode()
                )

    def names(server: socket.socket) -> None:
        while True:
            data, peer = server.recvfrom(4096)
            query = parse_query(data)
            found = [socket.inet_aton(world.answer)] if query.kind == A else []
            server.sendto(answer(query, found), peer)

    def body() -> None:
        listening = socket.create_server(
            ("::", WEB_PORT), family=socket.AF_INET6, dualstack_ipv6=True
        )
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("0.0.0.0", 53))
        threading.Thread(target=web, args=(listening,), daemon=True).start()
        threading.Thread(target=names, args=(datagrams,), daemon=True).start()

    return body
