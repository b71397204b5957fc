"""`system service`: what clients of docker's API find, and what nobody else does."""

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.accounts import Account, run_as
from tests.support.command import Command
from tests.support.service import Service, client_of, exchange_bytes, wait_ended

if TYPE_CHECKING:
    import docker
else:
    docker = pytest.importorskip("docker")
pytestmark = pytest.mark.rpod_only  # podman's own service needs another set-up


@pytest.fixture
def service(rpod: Command) -> Iterator[Service]:
    found = Service(rpod)
    yield found
    _, err = found.end()
    assert "Traceback" not in err
    assert not os.path.exists(found.path), "a socket is left"


# --- the docker SDK; functions run as the account


def _run_attached(url: str, image: str) -> tuple[bytes, list[str]]:
    with client_of(url) as client:
        out = client.containers.run(image, ["sh", "-c", "echo out; echo err >&2"], remove=True,
                                    stdout=True, stderr=True)  # fmt: skip
        return out, [one.name for one in client.containers.list(all=True)]


def test_sdk_runs_a_command(service: Service, image: str) -> None:
    out, left = service.as_account(_run_attached, service.url, image)
    assert sorted(out.split()) == [b"err", b"out"]
    assert left == []


def _live(url: str, image: str) -> dict[str, object]:
    with client_of(url) as client:
        box = client.containers.run(
            image, ["sh", "-c", "echo $K; sleep 100"], name="box", detach=True,
            environment={"K": "v"}, labels={"a": "b"}, working_dir="/tmp",
        )  # fmt: skip
        box.reload()
        found: dict[str, object] = {
            "status": box.status,
            "name": box.attrs["Name"],
            "cmd": box.attrs["Config"]["Cmd"],
            "listed": [one.name for one in client.containers.list(filters={"label": "a=b"})],
            "other": client.containers.list(filters={"label": "a=c"}),
        }
        while not box.logs():
            time.sleep(0.02)
        found["logs"] = box.logs()
        box.kill()
        found["code"] = box.wait()["StatusCode"]
        box.remove()
        try:
            client.containers.get("box")
        except docker.errors.NotFound as error:
            found["gone"] = error.explanation
        return found


def test_sdk_follows_a_container_through_its_life(service: Service, image: str) -> None:
    found = service.as_account(_live, service.url, image)
    assert found == {
        "status": "running", "name": "/box", "cmd": ["sh", "-c", "echo $K; sleep 100"],
        "listed": ["box"], "other": [], "logs": b"v\n", "code": 137,
        "gone": "No such container: box",
    }  # fmt: skip


def _attach_first(url: str, image: str) -> tuple[bytes, int]:
    with client_of(url) as client:
        box = client.containers.create(image, "cat", stdin_open=True)
        stream = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        box.start()
        stream._sock.sendall(b"hello\n")
        stream._sock.shutdown(socket.SHUT_WR)
        received = b""
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        return received, box.wait()["StatusCode"]


def test_client_that_attached_before_the_start_has_everything(service: Service, image: str) -> None:
    received, code = service.as_account(_attach_first, service.url, image)
    assert (received, code) == (b"\1\0\0\0\0\0\0\6hello\n", 0)


def _missing_image(url: str) -> tuple[str, str]:
    with client_of(url) as client:
        try:
            client.containers.create("localhost/nosuch", "true")
        except docker.errors.ImageNotFound as error:
            return type(error).__name__, str(error.explanation)
    return "", ""


def test_sdk_learns_that_an_image_is_not_there(service: Service) -> None:
    name, text = service.as_account(_missing_image, service.url)
    assert name == "ImageNotFound"
    assert text.startswith("No such image")


# --- the protocol


@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping", "/v1.47/_ping"])
def test_ping_tells_the_version(service: Service, path: str) -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        answer = service.ask(method, path)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["api-version"] == "1.47"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1.23/_ping", 400, "too old"),
        ("GET", "/v1.48/_ping", 400, "too new"),
        ("GET", "/nothing", 404, "page not found"),
        ("PUT", "/_ping", 405, "method"),
        ("GET", "/swarm", 503, "swarm"),
        ("GET", "/containers/no/json", 404, "No such container: no"),
        ("GET", "/containers/..%2f..%2fetc/json", 404, "No such container"),
        ("GET", "/containers/%2e%2e/json", 404, "No such container"),
        ("GET", "/containers/json?filters=x", 400, "filters"),
        ("GET", "/containers/json?filters={%22colour%22:[%22red%22]}", 400, "invalid filter"),
        ("GET", "/images/no/json", 404, "No such image: no"),
        ("POST", "/containers/create", 400, "image"),
    ],
)
def test_what_cannot_be_answered_says_why(
    service: Service, method: str, path: str, status: int, words: str
) -> None:
    answer = service.ask(method, path)
    assert answer.status == status
    assert words in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"Cmd": 7}, 400, "Cmd"),
        ({"HostConfig": {"Memory": "much"}}, 400, "HostConfig.Memory"),
        ({"HostConfig": {"Binds": ["../etc:/x"]}}, 400, "volume"),
        ({"HostConfig": {"Links": ["a:b"]}}, 400, "could not get container for a"),
        ({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/nosuch", "Target": "/x"}]}}, 400,
         "does not exist"),
        ({"HostConfig": {"SecurityOpt": ["seccomp=/etc/shadow"]}}, 400, "profile"),
        ({"HostConfig": {"NetworkMode": "nosuch"}}, 404, "nosuch"),
        ({"Env": ["=x"]}, 400, "Env"),
    ],
)  # fmt: skip
def test_container_that_cannot_be_made_is_refused(
    service: Service, image: str, document: dict[str, object], status: int, words: str
) -> None:
    body = json.dumps({"Image": image, **document}).encode()
    answer = service.ask("POST", "/containers/create", body)
    assert answer.status == status, answer
    assert words in json.loads(answer.body)["message"]


def _wait_removed(path: str, container_id: str) -> bytes:
    """Wait as `docker run --rm` does: on a connection of its own, before the start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
        first.settimeout(30)
        first.connect(path)
        line = f"POST /containers/{container_id}/wait?condition=removed HTTP/1.1"
        first.sendall(f"{line}\r\nConnection: close\r\n\r\n".encode())
        received = first.recv(4096)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"StatusCode" not in received
        start = f"POST /containers/{container_id}/start HTTP/1.1\r\nConnection: close\r\n\r\n"
        exchange_bytes(path, start.encode())
        while part := first.recv(4096):
            received += part
        return received


def test_code_of_a_container_that_removes_itself_is_told(service: Service, image: str) -> None:
    document = {"Image": image, "Cmd": ["sh", "-c", "exit 7"], "HostConfig": {"AutoRemove": True}}
    answer = service.ask("POST", "/containers/create", json.dumps(document).encode())
    received = service.as_account(_wait_removed, service.path, json.loads(answer.body)["Id"])
    assert b'{"StatusCode":7,' in received


@pytest.mark.parametrize(
    ("command", "words"),
    [("nosuch", "executable file not found in $PATH"), ("/etc", "permission denied")],
)
def test_start_that_fails_has_the_words_for_its_exit_code(
    service: Service, rpod: Command, image: str, command: str, words: str
) -> None:
    """docker's client tells 127 and 126 by them."""
    rpod("create", "--name", "box", image, command)
    answer = service.ask("POST", "/containers/box/start")
    assert answer.status == 400
    assert words in json.loads(answer.body)["message"]


def test_types_are_those_of_dockers_documents(service: Service, rpod: Command, image: str) -> None:
    """A client in Go refuses the whole document for one field of another type."""
    rpod("run", "-d", "--name", "box", "--ulimit", "nofile=100", image, "sleep", "100")
    document = json.loads(service.ask("GET", "/containers/box/json").body)
    assert document["Config"]["StopSignal"] == "SIGTERM"
    assert document["HostConfig"]["Ulimits"] == [{"Name": "nofile", "Soft": 100, "Hard": 100}]
    made = json.loads(service.ask("GET", f"/images/{image}/json").body)
    assert made["ContainerConfig"] == made["Config"]  # docker-compose 1
    listed = json.loads(service.ask("GET", "/containers/json").body)[0]
    for networks in (
        document["NetworkSettings"]["Networks"],
        listed["NetworkSettings"]["Networks"],
    ):
        assert [type(one["IPPrefixLen"]) for one in networks.values()] == [int]
    for network in json.loads(service.ask("GET", "/networks").body):
        assert network["Created"].endswith(("Z", "+00:00"))


def test_start_and_stop_twice_is_not_modified(service: Service, rpod: Command, image: str) -> None:
    rpod("create", "--name", "box", image, "sleep", "100")
    assert [service.ask("POST", "/containers/box/start").status for _ in range(2)] == [204, 304]
    stops = [service.ask("POST", "/containers/box/stop?t=0").status for _ in range(2)]
    assert stops == [204, 304]


# --- who may, and who may not


def test_only_the_owner_may_connect(service: Service) -> None:
    assert os.stat(service.path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(service.path)).st_mode & 0o077 == 0
    if os.getuid() == 0:
        # Root passes the permissions; the service looks at who it is.
        assert exchange_bytes(service.path, b"GET /_ping HTTP/1.1\r\n\r\n") == b""


def test_other_user_cannot_connect(service: Service, account_without_ids: Account) -> None:
    with pytest.raises(PermissionError):
        run_as(
            account_without_ids, 20, exchange_bytes, service.path, b"GET /_ping HTTP/1.1\r\n\r\n"
        )


@pytest.mark.parametrize(
    "uri", ["tcp://0.0.0.0:23750", "tcp://192.0.2.1:23750", "fd://x", "tcp://x"]
)
def test_service_listens_nowhere_else(rpod: Command, uri: str) -> None:
    done = rpod("system", "service", uri, check=False)
    assert done.code == 125
    assert "listen on" in done.err


@pytest.mark.parametrize(
    "data",
    [
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /version HTTP/1.1\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    ],
    ids=["smuggled", "large-head", "tls"],
)
def test_what_could_be_read_in_two_ways_ends_the_connection(service: Service, data: bytes) -> None:
    received = service.raw(data)
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert received.count(b"HTTP/1.1") == 1


# --- its life


def test_service_ends_by_itself_and_leaves_no_socket(rpod: Command) -> None:
    service = Service(rpod, "--time", "1")
    assert service.ask("GET", "/_ping").status == 200
    assert wait_ended(service.process) == 0
    service.process.communicate()
    assert not os.path.exists(service.path)


def test_containers_outlive_a_killed_service(rpod: Command, image: str) -> None:
    service = Service(rpod)
    rpod("create", "--name", "box", image, "sleep", "100")
    assert service.ask("POST", "/containers/box/start").status == 204
    service.process.kill()
    service.process.communicate()
    assert rpod("ps", "--format", "{{.Names}} {{.State}}").lines == ["box running"]
    again = Service(rpod)  # the socket of the killed one is no hindrance
    assert json.loads(again.ask("GET", "/containers/json").body)[0]["Names"] == ["/box"]
    again.end()


def test_second_service_does_not_take_the_socket(service: Service, rpod: Command) -> None:
    done = rpod("system", "service", "--time", "1", check=False)
    assert done.code == 125
    assert "another service answers there" in done.err
    assert service.ask("GET", "/_ping").status == 200


def _ask_tcp(port: int, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            client.sendall(b"GET /_ping HTTP/1.1\r\nConnection: close\r\n" + head + b"\r\n")
            return client.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def test_tcp_is_for_the_owner_and_for_no_web_page(rpod: Command, account: Account) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = rpod.spawn("system", "service", "--time", "0", f"tcp://127.0.0.1:{port}")
    try:
        assert process.stderr is not None
        assert b"TCP" in process.stderr.readline()
        assert run_as(account, 20, _ask_tcp, port, b"").startswith(b"HTTP/1.1 200 ")
        for head in (b"Host: example.org\r\n", b"Host: localhost\r\nOrigin: http://x\r\n"):
            assert run_as(account, 20, _ask_tcp, port, head).startswith(b"HTTP/1.1 403 ")
        if os.getuid() == 0:
            assert not _ask_tcp(port, b"")
    finally:
        process.terminate()
        process.communicate()


def _activate(path: str, argv: list[str], environment: dict[str, str]) -> tuple[bytes, int]:
    """Do what systemd does: listen, start the service with the socket when somebody connects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), 3)
            own = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
            os.execve(argv[0], argv, {**environment, **own})
    received = exchange_bytes(path, b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n")
    return received, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_socket_of_systemd_is_used_and_left(rpod: Command, account_dir: str) -> None:
    argv = [*rpod.prefix, "system", "service", "--time", "1"]
    path = f"{account_dir}/s"
    received, code = run_as(rpod.account, 30, _activate, path, argv, rpod.environment)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert code == 0
    assert os.path.exists(path), "it is systemd's"
