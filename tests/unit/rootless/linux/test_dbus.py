"""The wire format of D-Bus, and a peer that answers late, wrongly or not at all."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootless.linux import dbus
from rootless.linux.user_manager import UserManager

TARGET = ("", "/org/example", "org.example.Face", "Call")


def reply(serial: int, to: int, signature: str, values: tuple[object, ...], kind: int = 2) -> bytes:
    body = bytearray()
    dbus.write_values(body, signature, values)
    fields: list[object] = [(5, ("u", to))]
    if kind == dbus.ERROR:
        fields.append((4, ("s", "org.example.Bad")))
    if kind == dbus.SIGNAL:
        fields = [(3, ("s", "JobRemoved"))]
    fields.append((8, ("g", signature)))
    head = bytearray()
    dbus.write_values(head, "yyyyuua(yv)", (ord("l"), kind, 0, 1, len(body), serial, fields))
    head.extend(bytes(-len(head) % 8))
    return bytes(head + body)


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("s", ["hello"]),
        ("ybu", [1, True, 7]),
        ("a(sv)", [[("PIDs", [1, 2]), ("Delegate", True)]]),
        ("a{sv}", [[("a", "b")]]),
        ("ssau", ["unit", "/leaf", [3]]),
        ("as", [[]]),
        ("xt", [-1, 2**64 - 1]),
        ("(so)g", [("a", "/b"), "a(sv)"]),
    ],
)
def test_values_come_back(signature: str, values: list[object]) -> None:
    given = values
    if signature == "a(sv)":
        given = [[("PIDs", ("au", [1, 2])), ("Delegate", ("b", True))]]
    elif signature == "a{sv}":
        given = [[("a", ("s", "b"))]]
    data = reply(1, 9, signature, tuple(given))
    assert dbus.message_size(data[:16]) == len(data)
    message = dbus.unpack(data)
    assert message.body == values
    assert message.fields[5] == 9


@pytest.mark.parametrize("signature", ["", "a", "(s", "{", "q!", "z"])
def test_broken_signature_is_refused(signature: str) -> None:
    with pytest.raises(dbus.DBusError):
        dbus.one_type(signature, 0 if signature != "q!" else 1)


def test_cut_message_is_refused() -> None:
    data = bytearray(reply(1, 9, "s", ("hello",)))
    struct.pack_into("<I", data, len(data) - 10, 1 << 20)  # more than there is
    with pytest.raises(dbus.DBusError):
        dbus.unpack(bytes(data))


def test_huge_message_is_refused() -> None:
    with pytest.raises(dbus.DBusError):
        dbus.message_size(struct.pack("<4BIII", ord("l"), 2, 0, 1, 1 << 30, 1, 0))


Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Run a function with one connection, after the greeting; returns the address."""
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "s")
    listener.bind(path)
    listener.listen(1)

    def start(function: Callable[[socket.socket], None]) -> str:
        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"OK 0123456789abcdef\r\n")
                function(connection)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return path

    yield start
    listener.close()
    for thread in threads:
        thread.join(5)


def test_signal_before_the_answer_is_kept(serve: Serve) -> None:
    def peer(connection: socket.socket) -> None:
        connection.recv(4096)
        data = reply(1, 0, "uos", (1, "/job", "done"), kind=dbus.SIGNAL) + reply(
            2, 1, "o", ("/job",)
        )
        for at in range(0, len(data), 7):
            connection.sendall(data[at : at + 7])

    connection = dbus.Connection(serve(peer), is_bus=False, timeout_s=5)
    assert connection.call(TARGET, "s", ("x",)) == ["/job"]
    assert connection.signal("JobRemoved") == [1, "/job", "done"]
    connection.close()


def test_refusal_has_its_name(serve: Serve) -> None:
    def peer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(reply(1, 1, "s", ("no",), kind=dbus.ERROR))

    connection = dbus.Connection(serve(peer), is_bus=False, timeout_s=5)
    with pytest.raises(dbus.DBusError) as caught:
        connection.call(TARGET, "", ())
    assert (caught.value.name, caught.value.text) == ("org.example.Bad", "no")
    connection.close()


@pytest.mark.parametrize("name", ["timeout", "closed"])
def test_silent_peer_ends_in_time(serve: Serve, name: str) -> None:
    release = threading.Event()

    def peer(connection: socket.socket) -> None:
        connection.recv(4096)
        if name == "timeout":
            release.wait(5)

    connection = dbus.Connection(serve(peer), is_bus=False, timeout_s=0.2)
    with pytest.raises(dbus.DBusError) as caught:
        connection.call(TARGET, "", ())
    assert caught.value.name == name
    release.set()
    connection.close()


def test_scope_is_one_request_and_one_wait(serve: Serve, tmp_path: Path) -> None:
    """What a start pays for its scope: one message there, its answer and the job's end back."""
    asked: list[bytes] = []

    def peer(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(reply(1, 1, "o", ("/job",)))
        ended = (1, "/job", "rpod-x.scope", "done")
        connection.sendall(reply(2, 0, "uoss", ended, kind=dbus.SIGNAL))
        while data := connection.recv(4096):
            asked.append(data)

    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").symlink_to(serve(peer))
    manager = UserManager(str(tmp_path), timeout_s=5)
    manager.make_scope("rpod-x.scope", "user.slice", "box", [77])
    manager.close()
    sent = b"".join(asked)
    assert sent.count(b"StartTransientUnit") == 1
    assert sent.count(b"org.freedesktop.systemd1.Manager") == 1
