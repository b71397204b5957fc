"""slirp4netns, really started for a real network namespace, by a regular user."""

import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from slirp import slirp4netns
from slirp.errors import HelperFailed, HelperMissing, PortUnavailable, SlirpError
from slirp.model import PortMapping, SlirpOptions
from slirp.ports import choose_host_ports
from slirp.process import Running
from tests.conftest import InAccount
from tests.kernel.namespaces import hide, in_own_namespace, network_namespace, serve_tcp, serve_udp

R = TypeVar("R")

ANSWER = b"hello from inside"


def api_socket() -> str:
    """Return a path that is too long for a socket's address."""
    directory = f"{os.environ['XDG_RUNTIME_DIR']}/{'long-' * 24}{os.urandom(4).hex()}"
    os.mkdir(directory)
    return f"{directory}/network.sock"


def free_port(protocol: str = "tcp") -> PortMapping:
    return choose_host_ports([PortMapping("127.0.0.1", 0, 80, protocol)])[0]


def ask_tcp(port: int, address: str = "127.0.0.1") -> bytes:
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection((address, port), timeout=2) as connection:
                if answer := connection.recv(100):
                    return answer
        except OSError:
            pass
        assert time.monotonic() < deadline, "nothing answers"
        time.sleep(0.05)


def test_published_tcp_port_is_reached(in_account: InAccount) -> None:
    def body() -> bytes:
        mapping = free_port()
        with network_namespace(serve_tcp(80, ANSWER)) as (pid, go):
            running = slirp4netns.start(
                pid, SlirpOptions(), ports=[mapping], api_socket=api_socket()
            )
            try:
                running.wait_ready()
                go()
                return ask_tcp(mapping.host_port)
            finally:
                running.stop()

    assert in_account(body) == ANSWER


def test_published_udp_port_is_reached(in_account: InAccount) -> None:
    # Without this slirp4netns drops answers to clients on the host's loopback: they go to the
    # gateway's address (`slirp4netns.notes`).
    options = SlirpOptions(allow_host_loopback=True)

    def body() -> bytes:
        mapping = free_port("udp")
        with network_namespace(serve_udp(80, ANSWER)) as (pid, go):
            running = slirp4netns.start(pid, options, ports=[mapping], api_socket=api_socket())
            try:
                running.wait_ready()
                go()
                return ask_udp(mapping.host_port)
            finally:
                running.stop()

    assert in_account(body) == ANSWER


def ask_udp(port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        for _ in range(50):
            client.sendto(b"?", ("127.0.0.1", port))
            try:
                return client.recv(100)
            except TimeoutError:
                continue
    return b""


def with_network(options: SlirpOptions, check: Callable[[int], R], inside: Callable[[], None]) -> R:
    with network_namespace(inside) as (pid, go):
        running = slirp4netns.start(pid, options)
        try:
            running.wait_ready()
            go()
            return check(pid)
        finally:
            running.stop()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(SlirpOptions(), b"refused", id="default"),
        pytest.param(SlirpOptions(allow_host_loopback=True), ANSWER, id="allowed"),
    ],
)
def test_loopback_of_the_host_needs_permission(
    in_account: InAccount, options: SlirpOptions, expected: bytes
) -> None:
    def body() -> bytes:
        reader, writer = os.pipe()
        server = os.fork()
        if server == 0:
            try:
                with socket.create_server(("127.0.0.1", 0)) as listening:
                    os.write(writer, b"%d" % listening.getsockname()[1])
                    while True:
                        connection, _ = listening.accept()
                        connection.sendall(ANSWER)
                        connection.close()
            finally:
                os._exit(1)
        port = int(os.read(reader, 10))
        answers, child_answers = os.pipe()

        def inside() -> None:
            try:
                with socket.create_connection((options.gateway, port), timeout=5) as connection:
                    os.write(child_answers, connection.recv(100) or b"refused")
            except OSError:
                os.write(child_answers, b"refused")

        try:
            return with_network(options, lambda _: os.read(answers, 100), inside)
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)

    assert in_account(body) == expected


def test_chosen_network_is_configured(in_account: InAccount) -> None:
    options = SlirpOptions(cidr="10.77.0.0/24", mtu=1400)

    def body() -> str:
        def check(pid: int) -> str:
            with open(f"/proc/{pid}/net/fib_trie", encoding="ascii") as file:
                return file.read()

        return with_network(options, check, lambda: None)

    assert "|-- 10.77.0.100" in in_account(body)


def test_taken_port_is_one_clear_line_and_ends_the_helper(in_account: InAccount) -> None:
    def body() -> tuple[str, int]:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            network_namespace(lambda: None) as (pid, _),
        ):
            mapping = PortMapping("127.0.0.1", server.getsockname()[1], 80, "tcp")
            running = slirp4netns.start(
                pid, SlirpOptions(), ports=[mapping], api_socket=api_socket()
            )
            with pytest.raises(PortUnavailable) as caught:
                running.wait_ready()
            return caught.value.message, running.pid

    message, pid = in_account(body)
    assert "address already in use by process" in message
    assert pid == -1


def test_low_port_names_the_setting(in_account: InAccount) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        lowest = int(file.read())
    if lowest <= 1:
        pytest.skip("every port is free for regular users here")

    def body() -> tuple[str, str]:
        with network_namespace(lambda: None) as (pid, _):
            running = slirp4netns.start(
                pid,
                SlirpOptions(),
                ports=[PortMapping("127.0.0.1", lowest - 1, 80, "tcp")],
                api_socket=api_socket(),
            )
            with pytest.raises(PortUnavailable) as caught:
                running.wait_ready()
            return caught.value.message, caught.value.remedy

    message, remedy = in_account(body)
    assert f"may not listen on ports below {lowest}" in message
    assert f"sysctl net.ipv4.ip_unprivileged_port_start={lowest - 1}" in remedy


def test_ports_can_be_added_listed_and_removed(in_account: InAccount) -> None:
    def body() -> tuple[list[PortMapping], list[PortMapping], PortMapping]:
        path = api_socket()
        mapping = free_port()
        with network_namespace(lambda: None) as (pid, _):
            running = slirp4netns.start(pid, SlirpOptions(), api_socket=path)
            try:
                running.wait_ready()
                number = slirp4netns.add_port(path, mapping)
                listed = list(slirp4netns.list_ports(path).values())
                slirp4netns.remove_port(path, number)
                return listed, list(slirp4netns.list_ports(path).values()), mapping
            finally:
                running.stop()

    listed, left, mapping = in_account(body)
    assert listed == [mapping]
    assert left == []


def has_ended(pid: int, timeout_s: float = 5) -> bool:
    """Whether a process that is no child of ours ends in time (a zombie has ended)."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def ends_with_its_monitor(start: Callable[[int], Running]) -> bool:
    """Kill the process that started a helper; whether the helper ends too."""
    with network_namespace(lambda: None) as (target, _):
        reader, writer = os.pipe()
        monitor = os.fork()
        if monitor == 0:
            try:
                running = start(target)
                running.wait_ready()
                os.write(writer, b"%d" % running.pid)
                signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        helper = int(os.read(reader, 20))
        os.kill(monitor, signal.SIGKILL)
        os.waitpid(monitor, 0)
        return has_ended(helper)


def test_helper_ends_when_its_monitor_is_killed(in_account: InAccount) -> None:
    def body() -> bool:
        return ends_with_its_monitor(lambda pid: slirp4netns.start(pid, SlirpOptions()))

    assert in_account(body)


def test_process_that_has_gone_is_one_clear_line(in_account: InAccount) -> None:
    def body() -> str:
        with network_namespace(lambda: None) as (pid, _):
            pass
        running = slirp4netns.start(pid, SlirpOptions())
        with pytest.raises(HelperFailed) as caught:
            running.wait_ready()
        return caught.value.message

    message = in_account(body)
    assert message.startswith("start slirp4netns: ")
    assert "\n" not in message


def test_hidden_tun_names_the_device(in_account: InAccount) -> None:
    def inside() -> list[str]:
        hide("/dev/net/tun")
        with network_namespace(lambda: None) as (pid, _):
            running = slirp4netns.start(pid, SlirpOptions())
            try:
                running.wait_ready()
            except SlirpError as error:
                return [type(error).__name__, error.message, error.remedy]
        return ["it worked"]

    kind, message, remedy = in_account(lambda: in_own_namespace(inside))
    assert kind == "HelperFailed"
    assert "/dev/net/tun" in message
    assert os.strerror(errno.ENXIO) in message
    assert "chmod 666 /dev/net/tun" in remedy


def test_missing_program_is_named(in_account: InAccount) -> None:
    def body() -> None:
        os.environ["PATH"] = "/nonexistent"
        slirp4netns.start(os.getpid(), SlirpOptions())

    with pytest.raises(HelperMissing, match="start slirp4netns: No such file") as caught:
        in_account(body)
    assert "--network=none" in caught.value.remedy
