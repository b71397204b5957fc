"""`system service`: exec, files, images, builds, networks, volumes, events, by docker's SDK."""

import io
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.command import Command
from tests.support.registry import Registry
from tests.support.service import Service, client_of

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


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid = len(data), 1000, 1000
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


# --- exec


def _exec(url: str) -> list[object]:
    with client_of(url) as client:
        box = client.containers.get("box")
        found: list[object] = [tuple(box.exec_run(["sh", "-c", "echo e >&2; exit 3"], demux=True))]
        ident = client.api.exec_create(box.id, ["cat"], stdin=True)["Id"]
        stream = client.api.exec_start(ident, socket=True)
        stream._sock.sendall(b"abc")
        stream._sock.shutdown(socket.SHUT_WR)
        received = b""
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        found += [received, client.api.exec_inspect(ident)["ExitCode"]]
        found.append(box.exec_run("nosuch").exit_code)
        ident = client.api.exec_create(box.id, ["sh", "-c", "exit 4"])["Id"]
        client.api.exec_start(ident, detach=True)
        while client.api.exec_inspect(ident)["Running"]:
            time.sleep(0.02)
        found.append(client.api.exec_inspect(ident)["ExitCode"])
        return found


def test_exec_has_streams_and_a_code(service: Service, rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "box", image, "sleep", "100")
    found = service.as_account(_exec, service.url)
    assert found == [(3, (None, b"e\n")), b"\1\0\0\0\0\0\0\3abc", 0, 127, 4]


def _exec_terminal(url: str) -> bytes:
    with client_of(url) as client:
        script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
        ident = client.api.exec_create("box", ["sh", "-c", script], tty=True, stdin=True)["Id"]
        stream = client.api.exec_start(ident, socket=True, tty=True)
        received: bytes = stream._sock.recv(100)
        while b"ready" not in received:
            received += stream._sock.recv(100)
        client.api.exec_resize(ident, height=31, width=77)
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        return received


def test_exec_terminal_is_resized(service: Service, rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "box", image, "sleep", "100")
    assert service.as_account(_exec_terminal, service.url) == b"ready\r\n31 77\r\n"


# --- files


def _files(url: str, archive: bytes) -> list[object]:
    with client_of(url) as client:
        box = client.containers.get("box")
        box.put_archive("/tmp", archive)
        parts, status = box.get_archive("/tmp/a")
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as received:
            names = received.getnames()
        owner = box.exec_run(["stat", "-c", "%u:%g", "/tmp/a"]).output
        refused = []
        for path in ("/nosuch", "/etc/passwd"):
            try:
                box.put_archive(path, archive)
            except docker.errors.APIError as error:
                refused.append(error.status_code)
        return [names, status["size"], owner, refused, {one["Path"] for one in box.diff()}]


def test_files_go_in_and_out(service: Service, rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "box", image, "sleep", "100")
    found = service.as_account(_files, service.url, tar_of(a=b"data"))
    assert found == [["a"], 4, b"1000:1000\n", [404, 400], {"/tmp", "/tmp/a"}]


def test_archive_cannot_leave_the_container(
    service: Service, rpod: Command, image: str, account_dir: str
) -> None:
    """Neither by names in it, nor by links that the container has made."""
    victim = f"{account_dir}/victim"
    with open(victim, "w", encoding="ascii") as file:
        file.write("kept")
    os.chown(victim, service.command.account.uid, service.command.account.gid)
    rpod("run", "-d", "--name", "box", image, "sh", "-c",
         f"ln -s {account_dir} /tmp/out; ln -s / /tmp/top; sleep 100")  # fmt: skip
    inside = "/containers/box/archive?path="
    evil = tar_of(**{"../../../../../../" + victim.lstrip("/"): b"gone", "out/victim": b"gone"})
    for path in ("/tmp", "/tmp/top/tmp", "/tmp/out", f"/../../..{account_dir}"):
        service.ask("PUT", inside + path, evil)
    for path in (victim, f"/..{victim}", "/tmp/out/victim", "/tmp/top" + victim):
        answer = service.ask("GET", inside + path)
        assert b"kept" not in answer.body
    with open(victim, encoding="ascii") as file:
        assert file.read() == "kept"


# --- images


def _images(url: str, image: str) -> list[object]:
    with client_of(url) as client:
        box = client.containers.create(image, "true")
        made = box.commit("localhost/made", "1", conf={"Cmd": ["echo", "1"]}, message="why")
        found: list[object] = [made.tags, made.attrs["Config"]["Cmd"], made.history()[0]["Comment"]]
        made.tag("localhost/other", "x")
        data = b"".join(made.save(named=True))
        client.images.remove("localhost/other:x")
        box.remove()
        client.images.remove("localhost/made:1")
        names = [name for one in client.images.list() for name in one.tags]
        found += ["localhost/made:1" in names, client.images.load(data)[0].tags]
        client.images.remove("localhost/made:1")
        return found


def test_images_are_made_named_and_carried(service: Service, image: str) -> None:
    found = service.as_account(_images, service.url, image)
    assert found == [
        ["localhost/made:1"], ["echo", "1"], "why", False, ["localhost/made:1"],
    ]  # fmt: skip


def _registry(url: str, image: str, name: str) -> list[object]:
    with client_of(url) as client:
        client.images.get(image).tag(name, "1")
        pushed = list(client.images.push(name, tag="1", stream=True, decode=True))
        client.images.remove(f"{name}:1")
        pulled = list(client.api.pull(name, tag="1", stream=True, decode=True))
        tags = client.images.get(f"{name}:1").tags
        client.images.remove(f"{name}:1")
        missing = 0
        try:
            client.images.pull(name, tag="nosuch")
        except docker.errors.NotFound as error:
            missing = error.status_code
        return [pushed[-1]["aux"]["Tag"], pulled[-1]["status"], f"{name}:1" in tags, missing]


def test_images_go_to_a_registry_and_come_back(
    service: Service, image: str, registry: Registry
) -> None:
    name = f"{registry.host}/service/image"
    found = service.as_account(_registry, service.url, image, name)
    assert found[0] == "1"
    assert str(found[1]).startswith("Status: Downloaded newer image for") or "up to date" in str(
        found[1]
    )
    assert found[2:] == [True, 404]


def _build(url: str, image: str) -> list[object]:
    with client_of(url) as client:
        text = f"FROM {image}\nARG A\nRUN echo built-$A\nCOPY a /a\nRUN cat /a && exit 5\n".encode()
        context = io.BytesIO(tar_of(**{"sub/Df": text, "a": b"data\n"}))
        found: list[object] = []
        try:
            client.images.build(
                fileobj=context, custom_context=True, dockerfile="sub/Df", buildargs={"A": "1"}
            )
        except docker.errors.BuildError as error:
            lines = [one.get("stream", "") for one in error.build_log]
            found += ["built-1\n" in lines, "data\n" in lines, "exit code 5" in str(error)]
        made, lines = client.images.build(
            fileobj=io.BytesIO(f"FROM {image}\nLABEL a=b\n".encode()), tag="localhost/built"
        )
        found += [made.tags, made.labels["a"], any("aux" in line for line in lines)]
        client.images.remove("localhost/built")
        return found


def test_build_tells_its_steps_and_its_failure(service: Service, image: str) -> None:
    found = service.as_account(_build, service.url, image)
    assert found == [True, True, True, ["localhost/built:latest"], "b", True]


@pytest.mark.parametrize(
    "query", ["remote=/etc", "remote=file:///etc", "version=2", "buildargs=x", "memory=much"]
)
def test_build_of_what_cannot_be_is_refused(service: Service, query: str) -> None:
    assert service.ask("POST", f"/build?{query}", b"x").status in (400, 501)


def test_dockerfile_of_a_build_is_one_of_the_context(service: Service, image: str) -> None:
    answer = service.ask("POST", "/build?dockerfile=/etc/hostname", tar_of(a=b""))
    assert b"does not exist: etc/hostname" in answer.body


# --- networks and volumes


def _network(url: str, image: str) -> list[object]:
    with client_of(url) as client:
        first = client.networks.create("first", labels={"a": "b"})
        second = client.networks.create("second")
        box = client.containers.run(image, ["sleep", "100"], name="box", network="first",
                                    detach=True)  # fmt: skip
        command = ["nslookup", "box"]
        out = client.containers.run(image, command, network="first", remove=True)
        found: list[object] = [b"Address: 10." in out]
        second.connect(box, aliases=["other"])
        box.reload()
        found.append(sorted(box.attrs["NetworkSettings"]["Networks"]))
        second.disconnect(box)
        try:
            first.remove()
        except docker.errors.APIError as error:
            found.append(error.status_code)
        box.remove(force=True)
        found.append(client.networks.prune()["NetworksDeleted"])
        found.append({"bridge", "host", "none"} <= {one.name for one in client.networks.list()})
        return found


def test_networks_are_used_and_removed(service: Service, image: str) -> None:
    found = service.as_account(_network, service.url, image)
    deleted = found.pop(3)
    assert isinstance(deleted, list) and sorted(deleted) == ["first", "second"]
    assert found == [True, ["first", "second"], 403, True]


def _volume(url: str, image: str) -> list[object]:
    with client_of(url) as client:
        volume = client.volumes.create("data", labels={"a": "b"})
        out = client.containers.run(image, ["sh", "-c", "echo x > /v/f; cat /v/f"], remove=True,
                                    volumes={"data": {"bind": "/v", "mode": "rw"}})  # fmt: skip
        names = [one.name for one in client.volumes.list(filters={"label": "a=b"})]
        box = client.containers.create(image, volumes={"data": {"bind": "/v", "mode": "ro"}})
        status = 0
        try:
            volume.remove()
        except docker.errors.APIError as error:
            status = error.status_code
        mounts = [(one["Type"], one["Name"], one["RW"]) for one in box.attrs["Mounts"]]
        box.remove()
        volume.remove()
        return [out, names, status, mounts]


def test_volumes_are_used_and_removed(service: Service, image: str) -> None:
    found = service.as_account(_volume, service.url, image)
    assert found == [b"x\n", ["data"], 409, [("volume", "data", False)]]


# --- events, stats, space


def _events(url: str, image: str, since: float) -> list[object]:
    with client_of(url) as client:
        client.containers.run(image, ["sh", "-c", "exit 3"], detach=True, name="box").wait()
        client.containers.get("box").remove()
        told = list(client.events(since=since, until=time.time(), decode=True,
                                  filters={"container": "box"}))  # fmt: skip
        died = next(one for one in told if one["Action"] == "die")
        stats = client.containers.run(image, ["sleep", "100"], detach=True, name="two")
        usage = stats.stats(stream=False)
        return [
            [one["Action"] for one in told],
            died["Actor"]["Attributes"]["exitCode"],
            usage["pids_stats"]["current"],
            client.df()["LayersSize"] > 0,
        ]


def test_events_stats_and_space_are_told(service: Service, image: str) -> None:
    found = service.as_account(_events, service.url, image, time.time())
    assert found == [["create", "start", "die", "destroy"], "3", 1, True]


# --- attached before the start


def _start_attached(url: str) -> list[object]:
    with client_of(url) as client:
        box = client.containers.get("box")
        stream = box.attach_socket(params={"stdout": 1, "stream": 1})
        status = box.status
        box.start()
        received = b""
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        return [status, received, box.wait()["StatusCode"]]


@pytest.mark.parametrize("is_prepared", [False, True], ids=["created", "initialized"])
def test_start_hands_the_output_to_who_has_attached(
    service: Service, rpod: Command, image: str, *, is_prepared: bool
) -> None:
    rpod("create", "--name", "box", image, "sh", "-c", "echo hello; exit 3")
    if is_prepared:
        rpod("init", "box")
    found = service.as_account(_start_attached, service.url)
    assert found == ["created", b"\1\0\0\0\0\0\0\6hello\n", 3]


# --- clients that go away


def _terminal(url: str, image: str) -> list[object]:
    with client_of(url) as client:
        box = client.containers.create(image, ["sh", "-c", "read line; stty size; echo $line"],
                                       tty=True, stdin_open=True)  # fmt: skip
        stream = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        box.start()
        box.resize(31, 77)
        stream._sock.sendall(b"word\n")
        received = b""
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        return [received, box.wait()["StatusCode"]]


def test_terminal_is_resized_and_typed_to(service: Service, image: str) -> None:
    received, code = service.as_account(_terminal, service.url, image)
    assert received == b"word\r\n31 77\r\nword\r\n"
    assert code == 0


def _first_size(url: str, image: str) -> bytes:
    with client_of(url) as client:
        config = {"Image": image, "Cmd": ["stty", "size"], "Tty": True,
                  "HostConfig": {"ConsoleSize": [31, 77]}}  # fmt: skip
        box = client.containers.get(client.api.create_container_from_config(config)["Id"])
        stream = box.attach_socket(params={"stdout": 1, "stream": 1})
        box.start()
        received = b""
        while part := stream._sock.recv(4096):
            received += part
        stream.close()
        return received


def test_terminal_has_its_size_from_the_start(service: Service, image: str) -> None:
    assert service.as_account(_first_size, service.url, image) == b"31 77\r\n"


def _attach_and_die(url: str, image: str) -> None:
    with client_of(url) as client:
        box = client.containers.run(image, ["sh", "-c", "while :; do echo x; done"], name="box",
                                    detach=True)  # fmt: skip
        stream = box.attach_socket(params={"stdout": 1, "stream": 1})
        stream._sock.recv(100)
        stream._sock.close()
        box.logs(stream=True, follow=True).close()
        ident = client.api.exec_create(box.id, ["sh", "-c", "sleep 0.3; echo done > /tmp/done"])
        started = client.api.exec_start(ident["Id"], socket=True)
        started._sock.close()


def test_container_and_exec_outlive_their_clients(
    service: Service, rpod: Command, image: str
) -> None:
    service.as_account(_attach_and_die, service.url, image)
    deadline_s = time.monotonic() + 10
    while rpod("exec", "box", "cat", "/tmp/done", check=False).out != "done\n":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert rpod("inspect", "-f", "{{.State.Status}}", "box").out == "running\n"


def _break_off(path: str, head: bytes, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        client.sendall(head + data)


def test_uploads_that_break_off_leave_nothing(service: Service, rpod: Command, image: str) -> None:
    archive = tar_of(Containerfile=f"FROM {image}\nRUN touch /ran\n".encode(), rest=b"x" * 9999)
    before = rpod("images", "-aq").lines
    for path in ("/build?t=localhost/half", "/images/load", "/images/create?fromSrc=-&repo=half"):
        head = f"POST {path} HTTP/1.1\r\nContent-Length: {len(archive)}\r\n\r\n".encode()
        service.as_account(_break_off, service.path, head, archive[:9000])
    assert service.ask("GET", "/_ping").status == 200
    time.sleep(0.5)
    assert rpod("images", "-aq").lines == before
