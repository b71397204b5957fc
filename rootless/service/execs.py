"""exec: made by one request, started by a second, resized and looked at by others.

What is known of one lies in a file below `service/execs` of the run root, for as long as its
container is there, and ten minutes after its end. The process that is started does what the
command `exec` does, on pipes or a terminal of ours.
"""

import json
import os
import time

from rootless.container.exec import exec_in
from rootless.container.request import ExecRequest
from rootless.linux.procfs import is_same_process, start_time
from rootless.linux.terminal import set_window_size
from rootless.service.creating import console_size
from rootless.service.exchange import Exchange
from rootless.service.fields import Fields
from rootless.service.http import Connection, HttpError
from rootless.service.naming import container_of
from rootless.service.relay import Child, Relay
from rootless.service.streams import stream_kind
from storage.containers import ContainerView, find_container
from storage.errors import StorageError
from storage.files import read_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_KEPT_S = 600
_KILLED = 137
_HEX = frozenset("0123456789abcdef")

Record = dict[str, object]


def create(exchange: Exchange) -> None:
    found = container_of(exchange)
    _check_running(found)
    body = Fields(exchange.json())
    command = body.texts("Cmd")
    if not command:
        raise HttpError(400, "No exec command specified")
    ident = os.urandom(32).hex()
    record: Record = {
        "id": ident,
        "container": found.record.id,
        "command": list(command),
        "stdin": body.flag("AttachStdin"),
        "stdout": body.flag("AttachStdout"),
        "stderr": body.flag("AttachStderr"),
        "tty": body.flag("Tty"),
        "keys": body.text("DetachKeys"),
        "env": [text for text in body.texts("Env") if "=" in text],
        "user": body.text("User"),
        "workdir": body.text("WorkingDir"),
        "privileged": body.flag("Privileged"),
        "size": console_size(body),
        "pid": 0,
        "pid_start": 0,
        "terminal": "",
        "code": None,
        "ended": 0.0,
    }
    os.makedirs(_directory(exchange.host), mode=0o700, exist_ok=True)
    _sweep(exchange.host)
    _write(exchange.host, record)
    exchange.send({"Id": ident}, 201)


def _check_running(found: ContainerView) -> None:
    if found.status == "paused":
        raise HttpError(409, f"Container {found.record.id} is paused, unpause the container")
    if found.status != "running":
        raise HttpError(409, f"container {found.record.id} is not running")


def start(exchange: Exchange) -> None:
    host = exchange.host
    record = _read(exchange)
    body = Fields(exchange.json())
    if record["pid"]:
        raise HttpError(409, f"exec {record['id']} has been started already")
    found = find_container(host.layout, str(record["container"]))
    _check_running(found)
    is_raw = record["tty"] is True
    size = (body.raw.get("ConsoleSize") and console_size(body)) or record["size"]
    assert isinstance(size, list)
    request = _request(host, record)
    if body.flag("Detach"):
        _start_detached(exchange, record, request)
        exchange.done(200)
        return
    first = exchange.hijack(stream_kind(exchange, is_raw=is_raw))
    child = Child(
        lambda: exec_in(host, request),
        stdin=request.interactive,
        size=(size[0], size[1]) if is_raw else None,
        close=(exchange.connection.fileno(),),
    )
    _note_started(host, record, child)
    wanted = tuple(n for n, key in ((1, "stdout"), (2, "stderr")) if record[key] or is_raw)
    relay = Relay(
        exchange.connection, child, first=first, is_raw=is_raw, outlives=True, streams=wanted
    )
    _note_ended(host, record, relay.run())


def _request(host: "Host", record: Record) -> ExecRequest:
    command, env = record["command"], record["env"]
    assert isinstance(command, list) and isinstance(env, list)
    return ExecRequest(
        container=str(record["container"]),
        command=tuple(command),
        interactive=record["stdin"] is True,
        tty=record["tty"] is True,
        detach_keys=str(record["keys"]) or host.config.detach_keys,
        env=tuple(env),
        user=str(record["user"]) or None,
        workdir=str(record["workdir"]) or None,
        privileged=record["privileged"] is True,
    )


def _start_detached(exchange: Exchange, record: Record, request: ExecRequest) -> None:
    """Leave the command to a process of its own, which learns how it ends."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            if os.fork():
                os._exit(0)
            os.setsid()
            connection: Connection = exchange.connection
            connection.socket.close()
            _keep(exchange.host, record, request, writer)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    os.read(reader, 1)
    os.close(reader)


def _keep(host: "Host", record: Record, request: ExecRequest, started: int) -> None:
    request = request._replace(interactive=False, tty=False)
    child = Child(lambda: exec_in(host, request), stdin=False)
    _note_started(host, record, child)
    os.close(started)
    for fd in child.outputs:
        while os.read(fd, 1 << 16):
            continue
    _note_ended(host, record, child.wait())


def _note_started(host: "Host", record: Record, child: Child) -> None:
    record["pid"], record["terminal"] = child.pid, child.terminal_path
    record["pid_start"] = start_time(child.pid)
    _write(host, record)


def _note_ended(host: "Host", record: Record, code: int) -> None:
    record["code"] = code if code >= 0 else 128 - code
    record["ended"] = time.time()
    _write(host, record)


def inspect(exchange: Exchange) -> None:
    record = _read(exchange)
    command = record["command"]
    assert isinstance(command, list)
    running = _is_running(record)
    code = record["code"]
    if record["pid"] and not running and code is None:
        code = _KILLED  # with whoever was to see its end
    exchange.send(
        {
            "ID": record["id"],
            "Running": running,
            "ExitCode": code,
            "ProcessConfig": {
                "tty": record["tty"],
                "entrypoint": command[0],
                "arguments": command[1:],
                "privileged": record["privileged"],
                "user": record["user"],
            },
            "OpenStdin": record["stdin"],
            "OpenStdout": record["stdout"],
            "OpenStderr": record["stderr"],
            "CanRemove": False,
            "ContainerID": record["container"],
            "DetachKeys": record["keys"],
            "Pid": record["pid"] if running else 0,
        }
    )


def resize(exchange: Exchange) -> None:
    from rootless.container.attach import send_signal
    from rootless.linux import signals as signal

    rows, columns = exchange.size()
    record = _read(exchange)
    if not _is_running(record):
        raise HttpError(409, f"exec {record['id']} is not running")
    if record["terminal"]:
        fd = os.open(str(record["terminal"]), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            set_window_size(fd, rows, columns)
        finally:
            os.close(fd)
        send_signal(int(str(record["pid"])), signal.SIGWINCH)
    exchange.done(200)


def _is_running(record: Record) -> bool:
    pid, begin = int(str(record["pid"])), int(str(record["pid_start"]))
    return bool(pid) and record["code"] is None and is_same_process(pid, begin)


# --- records


def _directory(host: "Host") -> str:
    return f"{host.layout.run_root}/service/execs"


def _write(host: "Host", record: Record) -> None:
    write_file(f"{_directory(host)}/{record['id']}", json.dumps(record).encode(), sync=False)


def _read(exchange: Exchange) -> Record:
    ident = exchange.names["id"]
    if ident and _HEX.issuperset(ident):
        try:
            raw = json.loads(read_file(f"{_directory(exchange.host)}/{ident}"))
            if isinstance(raw, dict):
                return raw
        except (OSError, ValueError):
            pass  # said below
    raise HttpError(404, f"No such exec instance: {ident}")


def _sweep(host: "Host") -> None:
    """Remove what is known of execs that have ended a while ago, or whose container has gone."""
    top = _directory(host)
    for name in os.listdir(top):
        try:
            raw = json.loads(read_file(f"{top}/{name}"))
            ended = float(raw["ended"])
            find_container(host.layout, str(raw["container"]))
            if not ended or time.time() - ended < _KEPT_S:
                continue
        except (OSError, ValueError, KeyError, TypeError, StorageError):
            pass  # no use to anybody
        try:
            os.unlink(f"{top}/{name}")
        except FileNotFoundError:
            continue
