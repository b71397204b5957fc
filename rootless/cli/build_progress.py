"""How the course of a build is shown: podman's lines, JSON, or only the result."""

import json
import os
import sys

from rootless.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from rootless.build.engine import Done
    from rootless.build.events import Event
    from rootless.build.request import BuildRequest
    from storage.images import ImageRecord

_SHORT = 12


class Progress:
    """Shows nothing but the result; the base of the others. A listener and a context manager.

    `tick_s` is how often it wants to hear that time goes on, 0 for never.
    """

    tick_s = 0.0

    def __init__(self, request: "BuildRequest") -> None:
        self.request = request

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if value is not None:
            self.failed(value)

    def __call__(self, event: "Event") -> None:
        """Show one event."""

    def failed(self, error: BaseException) -> None:
        """Show the lines of the Containerfile that an error is about."""
        excerpt = getattr(error, "excerpt", "")
        if excerpt:
            sys.stderr.write(f"{excerpt}\n")

    def committed(self, record: "ImageRecord", done: "Done") -> None:
        """Show the result."""
        write(f"{record.image_id}\n")


class Plain(Progress):
    """One line for each step as podman prints it, then what its command writes."""

    def __init__(self, request: "BuildRequest") -> None:
        super().__init__(request)
        self._texts: dict[object, str] = {}
        self._stages: set[object] = set()

    def __call__(self, event: "Event") -> None:
        kind = event["kind"]
        if kind == "start":
            stage = event["stage"]
            self._stages.add(stage)
            name = f"[{event['name'] or stage}] " if stage or event["name"] else ""
            text = str(event["text"])
            write(f"{name}STEP {event['number']}/{event['total']}: {text}\n")
        elif kind == "run" and self.request.explain_cache:
            write(f"--> Not in the cache: {event['why']}\n")
        elif kind == "end" and event["cached"]:
            write(f"--> Using cache {_digest(event)}\n")
            if self.request.explain_cache:
                write(f"--> In the cache: {event['why']}\n")
        elif kind == "end" and event["digest"]:
            write(f"--> {_digest(event)[:_SHORT]}\n")
        elif kind == "output":
            self._output(event)
        elif kind == "note":
            sys.stderr.write(f"Note: {event['text']}\n")

    def _output(self, event: "Event") -> None:
        data = str(event["data"]).encode("latin-1")
        sys.stdout.flush()
        stream = 2 if event["stream"] == 2 else 1
        while data:
            data = data[os.write(stream, data) :]

    def committed(self, record: "ImageRecord", done: "Done") -> None:
        if done.unused_arguments:
            names = " ".join(done.unused_arguments)
            write(f"[Warning] one or more build args were not consumed: [{names}]\n")
        write(f"COMMIT {self.request.tags[0]}\n" if self.request.tags else "COMMIT\n")
        write(f"--> {record.image_id[:_SHORT]}\n")
        for name in record.names:
            write(f"Successfully tagged {name}\n")
        write(f"{record.image_id}\n")


class RawJson(Progress):
    """One JSON object for each event, on standard error."""

    def __call__(self, event: "Event") -> None:
        sys.stderr.write(json.dumps(event) + "\n")


def _digest(event: "Event") -> str:
    return str(event["digest"]).removeprefix("sha256:")


class OnlyWork(Plain):
    """Shows, on standard error, the steps that are executed and not those that are in the cache."""

    def __init__(self, request: "BuildRequest") -> None:
        super().__init__(request)
        self._step = ""

    def __call__(self, event: "Event") -> None:
        kind = event["kind"]
        if kind == "start":
            self._step = f"STEP {event['number']}/{event['total']}: {event['text']}\n"
        elif kind == "run":
            sys.stderr.write(self._step)
            sys.stderr.flush()
        elif kind == "output":
            self._output({**event, "stream": 2})
        elif kind == "note":
            sys.stderr.write(f"Note: {event['text']}\n")

    def committed(self, record: "ImageRecord", done: "Done") -> None:
        """Show nothing: the image is about to be used."""
