"""The course of a build on a terminal: a line for each step, whose time goes on while it runs."""

import os
import sys
import time

from rootless.cli.build_progress import Progress
from rootless.cli.output import printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.build.engine import Done
    from rootless.build.events import Event
    from rootless.build.request import BuildRequest
    from storage.images import ImageRecord

_KEPT_BYTES = 1 << 20
_GREEN, _CYAN, _RED, _PLAIN = "\x1b[32m", "\x1b[36m", "\x1b[31m", "\x1b[0m"
_TICK_S = 0.1
_USUAL_WIDTH = 80


class _Step:
    """A step that runs: what it is, since when, what it has written, and its last line."""

    __slots__ = ("executed", "last", "name", "output", "since_s", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.since_s = time.monotonic()
        self.output = bytearray()
        self.last = ""
        self.executed = False


class Terminal(Progress):
    """Draws the running steps at the bottom; what has ended stays above as one line."""

    tick_s = _TICK_S

    def __init__(self, request: "BuildRequest") -> None:
        super().__init__(request)
        self._running: dict[object, _Step] = {}
        self._drawn = 0
        self._paused = False
        self._colour = "NO_COLOR" not in os.environ

    def __call__(self, event: "Event") -> None:
        if self._paused:
            return
        kind, stage = event["kind"], event["stage"]
        if kind == "start":
            name = f"{event['name']} " if event["name"] else f"{stage} " if stage else ""
            label = f"[{name}{event['number']}/{event['total']}]"
            self._running[stage] = _Step(label, str(event["text"]))
        elif kind == "run":
            self._running[stage].executed = True
            if self.request.explain_cache:
                self._above(f"   not in the cache: {event['why']}")
        elif kind == "output":
            self._output(self._running[stage], event)
        elif kind == "end":
            self._end(self._running.pop(stage), event)
        elif kind == "note":
            self._above(f"Note: {event['text']}")
        elif kind == "debug":
            self._clear()
            self._paused = True
        self._draw()

    def _output(self, step: _Step, event: "Event") -> None:
        data = str(event["data"]).encode("latin-1")
        step.output += data
        if len(step.output) > _KEPT_BYTES:
            del step.output[: len(step.output) - _KEPT_BYTES // 2]
        lines = data.decode(errors="replace").split("\n")
        step.last = next((line for line in reversed(lines) if line.strip()), step.last)

    def _end(self, step: _Step, event: "Event") -> None:
        seconds = time.monotonic() - step.since_s
        if event["cached"]:
            mark = self._in(_CYAN, "CACHED")
        elif step.executed:
            mark = self._in(_GREEN, f"{seconds:.1f}s")
        else:
            mark = ""
        self._above(f"{step.name} {_one_line(step.text)} {mark}".rstrip())

    def failed(self, error: BaseException) -> None:
        self._clear()
        if not isinstance(error, KeyboardInterrupt):
            for step in self._running.values():
                if step.output:
                    head = f"{step.name} {_one_line(step.text)}"
                    sys.stderr.write(f"{self._in(_RED, head)}\n")
                    sys.stderr.flush()
                    _write_all(bytes(step.output))
        super().failed(error)

    def committed(self, record: "ImageRecord", done: "Done") -> None:
        self._clear()
        if done.unused_arguments:
            names = " ".join(done.unused_arguments)
            sys.stderr.write(f"[Warning] one or more build args were not consumed: [{names}]\n")
        for name in record.names:
            sys.stderr.write(f"Successfully tagged {name}\n")
        sys.stderr.flush()
        write(f"{record.image_id}\n")

    # --- drawing

    def _above(self, line: str) -> None:
        self._clear()
        sys.stderr.write(f"{line}\n")

    def _clear(self) -> None:
        """Take the lines of running steps away."""
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if self._paused:
            return
        self._clear()
        width = _width()
        for step in self._running.values():
            seconds = f" {time.monotonic() - step.since_s:.1f}s"
            shown = f"{step.name} {_one_line(step.text)}"
            if step.last:
                shown += f" | {printable(step.last.strip())}"
            sys.stderr.write(f"{shown[: width - len(seconds) - 1]}{seconds}\n")
            self._drawn += 1
        sys.stderr.flush()

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _width() -> int:
    try:
        return max(20, os.get_terminal_size(2).columns or _USUAL_WIDTH)
    except OSError:
        return _USUAL_WIDTH


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(2, data) :]
