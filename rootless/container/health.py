"""One health check: its command run in the container, and what follows from its result.

The monitor starts this in a process of its own; `healthcheck run` does the same by hand.
"""

import os
import select
import time

from rootless.container.ending import signal_container, stop
from rootless.container.health_state import HEALTHY, STARTING, UNHEALTHY, read_health, write_health
from rootless.container.health_timer import IN_STARTUP
from rootless.container.logfile import timestamp
from rootless.errors import ContainerStateError, RootlessError, UsageError
from rootless.host.paths import Host, open_host
from rootless.linux import signals as signal
from storage import event_log
from storage import lightjson as json
from storage.containers import ContainerView, find_container
from storage.errors import StorageError
from storage.files import Lock

_PASSED, _FAILED = 0, 1
_CHUNK_BYTES = 1 << 16
_CAPTURE_LIMIT_BYTES = 1 << 20


def run_check(host: Host, text: str) -> bool:
    """Check a container once, by hand; tell whether the check passed.

    Raises ContainerNotFound, ContainerStateError, UsageError.
    """
    found = find_container(host.layout, text)
    if found.record.health is None:
        raise UsageError(
            f"container {found.record.name} has no defined healthcheck",
            remedy="give --health-cmd when the container is made",
        )
    if found.status != "running":
        raise ContainerStateError(
            f"container {found.record.name} is {found.status}: only a running one can be checked"
        )
    return _check(host, found) == _PASSED


def main(text: str) -> None:
    """Check the container that a monitor names; the exit status tells it how to go on."""
    code = _FAILED
    try:
        words = json.loads(text)
        host = open_host(words["store"], words["run_root"])
        found = find_container(host.layout, words["id"])
        if found.status == "running" and found.state.started_at == words["started_at"]:
            code = _check(host, found)
            if _in_startup(found, read_health(found)):
                code = IN_STARTUP
    except (RootlessError, StorageError, OSError):
        pass  # the container ends, or is being removed, at this very moment
    finally:
        os._exit(code)


def _check(host: Host, found: ContainerView) -> int:
    """Run the check that is due, write down what it found, and act on it."""
    settings = found.record.health or {}
    in_startup = _in_startup(found, read_health(found))
    startup = settings.get("startup")
    chosen = startup if in_startup and isinstance(startup, dict) else settings
    began_ns = time.time_ns()
    code, output = _execute(host, found, _command(chosen), _number(chosen, "timeout_s"))
    with Lock(f"{found.paths.run_dir}/health.lock"):
        health = read_health(found)
        before = str(health.get("Status"))
        if in_startup:
            action = _judge_startup(health, chosen, passed=code == 0)
        else:
            action = _judge(found, health, settings, passed=code == 0)
        _add_log(health, settings, began_ns, code, output)
        write_health(found, health)
    now = str(health.get("Status"))
    event_log.container_event(
        host.layout.run_root, "health_status", record=found.record, health_status=now
    )
    if now == HEALTHY and found.record.request.get("sdnotify") == "healthy":
        from rootless.container.activation import notify

        notify("READY=1")  # again after later checks: that changes nothing
    if action and (now != before or action != "none"):
        _act(host, found, action)
    return _PASSED if code == 0 else _FAILED


def _in_startup(found: ContainerView, health: dict[str, object]) -> bool:
    settings = found.record.health or {}
    return isinstance(settings.get("startup"), dict) and not health.get("startup_done")


def _judge_startup(health: dict[str, object], startup: dict[str, object], *, passed: bool) -> str:
    """Count start-up checks; one too many failures restarts the container (podman-run(1))."""
    if passed:
        successes = _whole(health, "startup_successes") + 1
        health["startup_successes"] = successes
        health["startup_done"] = successes >= _whole(startup, "success")
        return ""
    failures = _whole(health, "startup_failures") + 1
    health["startup_failures"] = failures
    health["startup_successes"] = 0
    retries = _whole(startup, "retries")
    return "restart" if retries and failures >= retries else ""


def _judge(
    found: ContainerView, health: dict[str, object], settings: dict[str, object], *, passed: bool
) -> str:
    """Set the status after a check and return what is to be done to the container."""
    if passed:
        health |= {"Status": HEALTHY, "FailingStreak": 0}
        return ""
    if health.get("Status") == STARTING and _age_s(found) < _number(settings, "start_period_s"):
        return ""
    streak = _whole(health, "FailingStreak") + 1
    health["FailingStreak"] = streak
    if streak < _whole(settings, "retries"):
        return ""
    health["Status"] = UNHEALTHY
    return str(settings.get("on_failure", "none"))


def _age_s(found: ContainerView) -> float:
    """Return how long the first process has run: proc(5), stat, starttime."""
    return time.monotonic() - found.state.pid_start_time / os.sysconf("SC_CLK_TCK")


def _add_log(
    health: dict[str, object], settings: dict[str, object], began_ns: int, code: int, output: bytes
) -> None:
    size = _whole(settings, "log_size_bytes")
    text = output.decode(errors="replace")
    entry = {
        "Start": timestamp(began_ns),
        "End": timestamp(time.time_ns()),
        "ExitCode": code,
        "Output": text[:size] if size else text,
    }
    log = health.get("Log")
    entries = [*(log if isinstance(log, list) else []), entry]
    count = _whole(settings, "log_count")
    health["Log"] = entries[-count:] if count else entries


def _act(host: Host, found: ContainerView, action: str) -> None:
    if action == "kill":
        signal_container(found, signal.SIGKILL)
    elif action == "stop":
        stop(host, found.record.id)
    elif action == "restart":
        from rootless.container.lifecycle import start

        os.setsid()
        stop(host, found.record.id)
        start(host, found.record.id, restart_count=found.state.restart_count + 1)


def _command(check: dict[str, object]) -> tuple[str, ...]:
    test = check.get("test")
    words = [str(word) for word in test] if isinstance(test, list) else []
    if words[:1] == ["CMD-SHELL"]:
        return ("/bin/sh", "-c", " ".join(words[1:]))
    return tuple(words[1:])


def _execute(
    host: Host, found: ContainerView, command: tuple[str, ...], timeout_s: float
) -> tuple[int, bytes]:
    """Return the exit status and the output; a check that takes too long has failed."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become_check(host, found, command, timeout_s, writer)
    os.close(writer)
    output = _read_all(reader, timeout_s)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code, output


def _read_all(reader: int, timeout_s: float) -> bytes:
    """Read to the end; what the command has left behind may hold the pipe open for ever."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    end_s = time.monotonic() + timeout_s + 1
    output = b""
    while (left_s := end_s - time.monotonic()) > 0 and poll.poll(left_s * 1000):
        chunk = os.read(reader, _CHUNK_BYTES)
        if not chunk:
            break
        if len(output) < _CAPTURE_LIMIT_BYTES:
            output += chunk
    return output


def _become_check(
    host: Host, found: ContainerView, command: tuple[str, ...], timeout_s: float, writer: int
) -> None:
    """Be the client of an `exec`; never returns."""
    code = 125
    try:
        from rootless.container.exec import exec_in
        from rootless.container.request import ExecRequest

        os.dup2(writer, 1)
        os.dup2(writer, 2)
        request = ExecRequest(container=found.record.id, command=command)
        code = exec_in(host, request, timeout_s=timeout_s, is_check=True)
    except (RootlessError, StorageError) as error:
        code = error.exit_code
        os.write(2, error.message.encode(errors="replace"))
    finally:
        os._exit(code)


def _whole(settings: dict[str, object], key: str) -> int:
    value = settings.get(key)
    return value if isinstance(value, int) else 0


def _number(settings: dict[str, object], key: str) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
