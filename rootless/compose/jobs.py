"""Do things side by side, each as soon as those that it needs are done.

Every job runs in a forked child: making and starting containers forks and enters namespaces, which
threads of one process must not do at once. A child tells its parent what it does over a pipe, and
at its end what it returns, or why it failed.
"""

import os
import select

from rootless.linux import signals as signal
from storage import lightjson as json
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.host.paths import Host

    # What happens: kind of object (Container, Network, ...), its name, what it does.
    Tell = Callable[[str, str, str], None]

_CHUNK_BYTES = 1 << 16


class Job(NamedTuple):
    """`needs` are names of other jobs; what `work` returns has to be plain JSON."""

    name: str
    work: "Callable[[Tell], object]"
    needs: tuple[str, ...] = ()


class _Child:
    __slots__ = ("job", "pid", "reader", "rest", "result")

    def __init__(self, job: Job, pid: int, reader: int) -> None:
        self.job = job
        self.pid = pid
        self.reader = reader
        self.rest = b""
        self.result: list[object] = []


def run_jobs(
    host: "Host", jobs: "Sequence[Job]", tell: "Tell", *, at_once: int = 0
) -> dict[str, object]:
    """Run all jobs and return their results by name; `at_once` limits how many run.

    At the first failure no further job begins and those that run are ended. Raises what it raised.
    """
    waiting = list(jobs)
    names = {job.name for job in jobs}
    running: dict[int, _Child] = {}
    results: dict[str, object] = {}
    failure: Exception | None = None
    poll = select.poll()
    try:
        while running or (waiting and failure is None):
            for job in _ready(waiting, names, results) if failure is None else ():
                if at_once > 0 and len(running) >= at_once:
                    break
                waiting.remove(job)
                child = _start(host, job)
                running[child.reader] = child
                poll.register(child.reader, select.POLLIN)
            for fd, _ in poll.poll():
                child = running[fd]
                if _read(child, tell):
                    continue
                poll.unregister(fd)
                del running[fd]
                error = _finish(host, child, results)
                if error is not None and failure is None:
                    failure = error
                    _end(list(running.values()))
    except BaseException:
        _end(list(running.values()))
        for child in running.values():
            os.close(child.reader)
            os.waitpid(child.pid, 0)
        raise
    if failure is not None:
        raise failure
    return results


def _ready(waiting: list[Job], names: set[str], results: dict[str, object]) -> list[Job]:
    """Return the jobs whose needs are done; a need that is no job of these is no need."""
    return [
        job for job in waiting if all(need in results or need not in names for need in job.needs)
    ]


def _start(host: "Host", job: Job) -> _Child:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    noted = len(host.notes)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(host, job, writer, noted)
    os.close(writer)
    return _Child(job, pid, reader)


def _be_child(host: "Host", job: Job, writer: int, noted: int) -> None:
    """Body of the forked child; never returns."""
    from rootless.container.supervise import describe_error

    def tell(kind: str, name: str, what: str) -> None:
        _send(writer, ["tell", kind, name, what])

    try:
        result = job.work(tell)
        _send(writer, ["done", result, host.notes[noted:]])
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        _send(writer, ["failed", describe_error(error), host.notes[noted:]])
    finally:
        os._exit(0)


def _send(writer: int, words: list[object]) -> None:
    data = json.dumps(words).encode() + b"\n"
    try:
        while data:
            data = data[os.write(writer, data) :]
    except BrokenPipeError:
        return  # the parent has gone; what was begun is finished


def _read(child: _Child, tell: "Tell") -> bool:
    """Take what a child says; false at its end."""
    data = os.read(child.reader, _CHUNK_BYTES)
    *lines, child.rest = (child.rest + data).split(b"\n")
    for line in lines:
        words = json.loads(line)
        if words[0] == "tell":
            tell(*words[1:])
        else:
            child.result = words
    return bool(data)


def _finish(host: "Host", child: _Child, results: dict[str, object]) -> Exception | None:
    """Reap a child; return why it failed, None when it did not."""
    os.close(child.reader)
    os.waitpid(child.pid, 0)
    if not child.result:
        from rootless.errors import HostError

        return HostError(f"{child.job.name}: it was killed")
    kind, value, notes = child.result
    assert isinstance(notes, list)
    for note in notes:
        host.note(str(note))
    if kind == "done":
        results[child.job.name] = value
        return None
    from rootless.container.attach import revive

    assert isinstance(value, list)
    return revive(value)


def _end(children: list[_Child]) -> None:
    for child in children:
        try:
            os.kill(child.pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
