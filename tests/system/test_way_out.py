"""slirp4netns or pasta of a single container is killed: another takes its place."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.accounts import processes
from tests.support.command import Command
from tests.support.inside import inside
from tests.support.registry import free_port
from tests.system.test_network import serve_echo
from tests.system.test_network_helpers import until
from tests.system.test_network_options import ask_udp, udp_server
from tests.system.test_user_networks import host_address, host_server

pytestmark = pytest.mark.rpod_only
needs_pasta = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed")


@pytest.fixture
def box(rpod: Command) -> Iterator[Command]:
    yield rpod
    rpod("rm", "--force", "--all", "--time", "0", check=False)


def ways_out(box: Command) -> list[int]:
    names = ("slirp4netns", "pasta", "passt")
    return [p.pid for p in processes(box.account.owns) if p.name.startswith(names)]


def kill_way_out(box: Command) -> None:
    old = ways_out(box)
    assert old, "nothing to kill"
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    until(lambda: bool(ways_out(box)) and not set(old) & set(ways_out(box)), "none came back")


def echoed(port: int) -> bool:
    try:
        with socket.create_connection((host_address(), port), timeout=2) as client:
            client.sendall(b"y")
            return client.recv(1) == b"y"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("network", "options"),
    [
        pytest.param("slirp4netns", (), id="slirp4netns"),
        pytest.param("slirp4netns", ("--userns=keep-id", "--init"), id="keep-id"),
        pytest.param("slirp4netns:port_handler=slirp4netns", ("--user=1",), id="its-own-ports"),
        pytest.param("pasta", (), id="pasta", marks=needs_pasta),
    ],
)
def test_killed_way_out_comes_back(
    box: Command, image: str, network: str, options: tuple[str, ...]
) -> None:
    port = free_port()
    publish = (f"--network={network}", "-p", f"{port}:8080", *options)
    server_command = ("nc", "-ll", "-p", "8080", "-e", "cat")
    started = box("run", "-d", "--name", "c", *publish, image, *server_command).out.strip()
    until(lambda: echoed(port), "the port does not answer")
    for _ in range(2):
        kill_way_out(box)
        until(lambda: echoed(port), "the port does not answer any more")
    if network != "pasta":  # which cannot reach the host by the host's own address
        with host_server(host_address()) as server:
            asked = ("exec", "c", "nc", "-w", "3", host_address(), str(server))
            until(lambda: box(*asked, check=False).out.startswith("you are"), "no way out")
    told = box("events", "--stream=false", "--filter", "event=network_restarted").lines
    assert sum(started in line for line in told) == 2
    box("stop", "-t", "0", "c")
    until(lambda: not ways_out(box), "the helper outlives the container")


def test_connections_under_way_survive_a_killed_slirp4netns(box: Command, image: str) -> None:
    port = free_port()
    box("run", "-d", "--name", "c", "-p", f"{port}:80", image, "sleep", "1000")
    with (
        inside(box, "c", serve_echo),
        socket.create_connection((host_address(), port), timeout=20) as client,
    ):
        for word in (b"a", b"b", b"c"):
            client.sendall(word)
            assert client.recv(1) == word
            kill_way_out(box)
        client.sendall(b"d")
        assert client.recv(1) == b"d"


def test_way_out_of_a_foreground_container_comes_back(box: Command, image: str) -> None:
    where = host_address()
    script = "echo up; read line; until nc -w 5 $line; do sleep 0.1; done; echo end"
    command = ("run", "-i", "--rm", "--name", "c", image, "sh", "-c", script)
    with box.spawn(*command, stdin=subprocess.PIPE) as process, host_server(where) as server:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        kill_way_out(box)
        process.stdin.write(f"{where} {server}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"you are")
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("userns", ["keep-id", "nomap"])
def test_published_port_keeps_the_clients_address_with_other_maps(
    box: Command, image: str, userns: str
) -> None:
    port = free_port()
    options = ("--name", "c", f"--userns={userns}", "-p", f"{port}:81/udp")
    done = box("run", "-d", *options, image, "sleep", "1000")
    assert "slirp4netns" not in done.err
    with inside(box, "c", udp_server(81)):
        assert ask_udp(host_address(), port) == f"hello from {host_address()}".encode()
