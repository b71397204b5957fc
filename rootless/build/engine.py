"""Build an image: stages side by side, each in a process of its own, on what they depend on.

A stage is built by a forked child of this process, so that waiting, hashing and compressing of one
never holds up another, and nothing of a build outlives it.
"""

import json
import os
import select

from rootless.build import image_config
from rootless.build.contexts import Context, Opened, open_context
from rootless.build.copy_step import copy_step
from rootless.build.errors import BuildError
from rootless.build.graph import SCRATCH, Graph, Node, make_graph
from rootless.build.model import Arg, Built
from rootless.build.parser import Parsed, parse
from rootless.build.request import BuildRequest
from rootless.build.result import EMPTY, Result
from rootless.build.run_step import make_workdir, run_step
from rootless.build.scope import GlobalArguments, Platforms
from rootless.build.settings import finished, with_settings
from rootless.build.sources import Sources
from rootless.build.stage import Build, StageBuilder, Steps
from rootless.build.workplace import Workplace
from rootless.errors import HostError, RootlessError, words_of
from rootless.host.paths import Host
from rootless.linux import signals as signal
from rootless.linux import syscalls
from storage.errors import StorageError
from storage.record import NamedTuple
from storage.registry.platform import host_platform, parse_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.build.events import Emit, Event
    from storage.events import Event as PullEvent

    OnPull = Callable[[PullEvent], None]

_CHUNK_BYTES = 1 << 16


class Done(NamedTuple):
    """What was built for each platform that was asked for, in that order.

    `base_layers` counts the layers that each has from its base image.
    """

    built: tuple[Built, ...]
    base_layers: tuple[int, ...]
    executed: int
    unused_arguments: tuple[str, ...]


def build(
    workplace: Workplace,
    request: BuildRequest,
    opened: Opened,
    emit: "Emit",
    on_pull: "OnPull | None" = None,
    *,
    tick_s: float = 0.0,
) -> Done:
    """Build the target for every platform; `tick_s` asks for an event of kind `tick` so often.

    Raises BuildError, StepFailed, StorageError, HostError.
    """
    parsed = parse_sources(opened)
    own = str(host_platform())
    wanted = request.platforms or ("",)
    found = []
    bases = []
    executed = 0
    unused: tuple[str, ...] = ()
    for text in wanted:
        platform = str(parse_platform(text)) if text else ""
        platforms = Platforms(platform or own, own)
        arguments = GlobalArguments(request.build_args, platforms.arguments(request.target))
        try:
            arguments.declare(parsed.arguments, parsed.escape)
        except RootlessError as error:
            raise BuildError(f"{parsed.file.name}: {error.message}", remedy=error.remedy) from error
        parsed = _with_base(parsed, request.base)
        sources = Sources(workplace, request, opened.context, parsed.stages, platform, on_pull)
        shared = Build(
            workplace.host,
            workplace,
            request,
            parsed,
            arguments,
            platform or own,
            sources,
            Steps(run_step, copy_step, make_workdir),
            emit,
        )
        result = _Scheduler(shared, platform, tick_s).run()
        found.append(finished(result.built, request))
        bases.append(result.base_layers)
        executed += result.executed
        declared = {
            name
            for stage in parsed.stages
            for one in stage.instructions
            if isinstance(one, Arg)
            for name, _ in one.pairs
        }
        unused = tuple(arguments.unused(declared))
    return Done(tuple(found), tuple(bases), executed, unused)


def parse_sources(opened: Opened) -> Parsed:
    """Read the Containerfiles, several as if they were one. Raises BuildError."""
    if len(opened.sources) == 1:
        return parse(opened.sources[0].data, opened.sources[0].name)
    data = b"\n".join(source.data for source in opened.sources)
    return parse(data, "+".join(source.name for source in opened.sources))


def _with_base(parsed: Parsed, base: str) -> Parsed:
    """Put --from in the place of the first FROM's image."""
    if not base:
        return parsed
    first, *others = parsed.stages
    first = first._replace(source=first.source._replace(base=base))
    return parsed._replace(stages=(first, *others))


class _Worker(NamedTuple):
    node: Node
    pid: int
    pipe: int


class _Scheduler:
    """Starts a stage as soon as all that it needs is there; the first failure ends all."""

    def __init__(self, shared: Build, platform: str, tick_s: float) -> None:
        self._build = shared
        self._graph = self._make_graph({})
        self._platform = platform
        self._tick_ms = int(tick_s * 1000) or None
        self._waiting: list[Node] = []
        self._running: dict[int, _Worker] = {}
        self._pending: dict[int, bytes] = {}
        self._jobs = shared.request.jobs or max(2, len(os.sched_getaffinity(0)))
        self._bases: dict[int, Result] = {}

    def run(self) -> Result:
        """Build the target and return it."""
        self._fetch_bases()
        self._waiting = list(self._graph.nodes)
        executed = 0
        try:
            while self._waiting or self._running:
                self._start_ready()
                executed += self._turn()
        except BaseException:
            self._kill()
            raise
        return self._build.sources.results[self._graph.target]._replace(executed=executed)

    def _make_graph(self, triggers: dict[int, tuple[str, ...]]) -> Graph:
        build = self._build
        contexts = frozenset(build.request.build_contexts)
        request = build.request
        return make_graph(
            build.parsed, build.arguments, request.target, contexts, triggers,
            all_stages=request.all_stages,
        )  # fmt: skip

    def _fetch_bases(self) -> None:
        """Get the images that stages begin with, before anything is started.

        The ONBUILD instructions of an image may need stages that need further images.
        """
        while True:
            known = len(self._bases)
            self._fetch_images()
            if len(self._bases) == known:
                return
            triggers = {
                position: tuple(image_config.texts(base.built.config, "OnBuild"))
                for position, base in self._bases.items()
            }
            self._graph = self._make_graph(triggers)

    def _fetch_images(self) -> None:
        for node in self._graph.nodes:
            source = node.stage.source
            if node.base >= 0 or node.stage.position in self._bases:
                continue
            if source.base.lower() == SCRATCH:
                built = EMPTY._replace(platform=self._build.platform)
            else:
                try:
                    platform = source.platform or self._platform
                    built = self._build.sources.image(source.base, platform)
                except (RootlessError, StorageError) as error:
                    file = self._build.parsed.file
                    error.message = f"{file.name}:{source.range.first}: {error.message}"
                    raise
            built = with_settings(built, self._build.request, os.environ)
            self._bases[node.stage.position] = Result(built, {}, len(built.layers))

    def _start_ready(self) -> None:
        results = self._build.sources.results
        for node in list(self._waiting):
            if len(self._running) >= self._jobs:
                return
            if node.needs <= results.keys():
                self._waiting.remove(node)
                self._start(node)

    def _start(self, node: Node) -> None:
        results = self._build.sources.results
        base = results[node.base] if node.base >= 0 else self._bases[node.stage.position]
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _work(self._build, node, base, writer)
        os.close(writer)
        self._running[reader] = _Worker(node, pid, reader)
        self._pending[reader] = b""

    def _turn(self) -> int:
        """Wait for events of the workers; return how many steps ended stages have executed."""
        poll = select.poll()
        for fd in self._running:
            poll.register(fd, select.POLLIN)
        executed = 0
        ready = poll.poll(self._tick_ms)
        if not ready:
            self._build.emit({"kind": "tick", "stage": -1})
        for fd, _ in ready:
            data = os.read(fd, _CHUNK_BYTES)
            if not data:
                self._end(fd)
                continue
            *lines, self._pending[fd] = (self._pending[fd] + data).split(b"\n")
            for line in lines:
                executed += self._event(fd, json.loads(line))
        return executed

    def _event(self, fd: int, event: "Event") -> int:
        if event["kind"] == "result":
            raw = event["result"]
            assert isinstance(raw, dict)
            result = Result.from_json(raw)
            self._build.sources.results[self._running[fd].node.stage.position] = result
            return result.executed
        if event["kind"] == "error":
            raise _revive(event)
        self._build.emit(event)
        return 0

    def _end(self, fd: int) -> None:
        worker = self._running.pop(fd)
        os.close(fd)
        os.waitpid(worker.pid, 0)
        if worker.node.stage.position not in self._build.sources.results:
            name = worker.node.stage.source.name or worker.node.stage.position
            raise HostError(f"build stage {name}: its process was killed")

    def _kill(self) -> None:
        for worker in self._running.values():
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self._running.values():
            os.waitpid(worker.pid, 0)
            os.close(worker.pipe)
        self._running.clear()


def _work(shared: Build, node: Node, base: Result, writer: int) -> None:
    """Body of the process that builds a stage; never returns."""

    def send(event: "Event") -> None:
        data = json.dumps(event).encode() + b"\n"
        while data:
            data = data[os.write(writer, data) :]

    try:
        # With this process every container below it ends.
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        # The terminal tells everybody; the process that waits for us decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        build = shared._replace(emit=send)
        result = StageBuilder(build, node.stage, base).run()
        for note in shared.host.notes:
            send({"kind": "note", "stage": node.stage.position, "text": note})
        send({"kind": "result", "result": result.to_json()})
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        send(_described(error))
    finally:
        os._exit(0)


def _described(error: BaseException) -> "Event":
    kind = type(error)
    message, remedy = words_of(error)
    if not hasattr(error, "message") and os.environ.get("RPOD_DEBUG"):
        import traceback

        message += "\n" + "".join(traceback.format_exception(error))
    return {
        "kind": "error",
        "module": kind.__module__,
        "class": kind.__name__,
        "message": message,
        "remedy": remedy,
        "excerpt": getattr(error, "excerpt", ""),
        "exit_code": getattr(error, "exit_code", 125),
    }


def _revive(event: "Event") -> Exception:
    """Make the error of a worker again."""
    import sys

    kind = getattr(sys.modules.get(str(event["module"])), str(event["class"]), None)
    message, remedy = str(event["message"]), str(event["remedy"])
    error: RootlessError | StorageError
    if isinstance(kind, type) and issubclass(kind, BuildError):
        error = kind(message, remedy=remedy, excerpt=str(event["excerpt"]))
    else:
        make: Callable[..., RootlessError | StorageError] = RootlessError
        if isinstance(kind, type) and issubclass(kind, RootlessError | StorageError):
            make = kind
        error = make(message, remedy=remedy)
    code = event["exit_code"]
    if isinstance(code, int):
        error.exit_code = code
    return error


def open_sources(workplace: Workplace, request: BuildRequest) -> Opened:
    """Open the context and read the Containerfiles. Raises BuildError, ContextError."""
    return open_context(
        workplace, request.context, files=request.files, ignore_file=request.ignore_file
    )


__all__ = ["Context", "Done", "Host", "build", "open_sources"]
