"""Progress of a pull or load: a bar for each blob on a terminal, one line for each otherwise.

Everything goes to standard error; standard output carries the result only.
"""

import os
import sys

from storage import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import TaskID

_SHOWN_DIGITS = 12


class Reporter:
    """Listens to events, as a context manager; `quiet` lets only notes through."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: _Bars | None = None

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def __call__(self, event: events.Event) -> None:
        """Show one event; the first one on a terminal loads rich."""
        if self._bars is None and not self.quiet and _is_terminal():
            self._bars = _Bars()
        if self._bars is not None:
            self._bars.show(event)
            return
        line = plain_line(event)
        if line and (not self.quiet or event.kind == events.NOTE):
            sys.stderr.write(f"{line}\n")


def _is_terminal() -> bool:
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"


def plain_line(event: events.Event) -> str:
    """Return the line for an event where there is no terminal, empty for none."""
    if event.kind == events.BLOB_EXISTS:
        return f"Copying blob {event.digest} skipped: already exists"
    if event.kind == events.BLOB_DONE:
        return f"Copying blob {event.digest} done"
    if event.kind == events.RETRY:
        return f"Retrying: {event.text}"
    if event.kind == events.NOTE:
        return f"Note: {event.text}"
    return ""


class _Bars:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._progress.start()

    def close(self) -> None:
        self._progress.stop()

    def show(self, event: events.Event) -> None:
        if event.kind in (events.NOTE, events.RETRY):
            self._progress.console.print(plain_line(event), markup=False, highlight=False)
            return
        if not event.digest:
            return
        name = event.digest.removeprefix("sha256:")[:_SHOWN_DIGITS]
        task = self._tasks.get(event.digest)
        total = event.total_bytes or None
        if task is None:
            task = self._tasks[event.digest] = self._progress.add_task(name, total=total)
        if event.kind in (events.BLOB_START, events.BLOB_PROGRESS):
            self._progress.update(task, completed=event.current_bytes, total=total)
            return
        words = {
            events.BLOB_EXISTS: "already exists",
            events.BLOB_DONE: event.text or "fetched",
            events.UNPACK_DONE: "done",
        }
        size = event.total_bytes or event.current_bytes or self._size(task)
        self._progress.update(
            task, description=f"{name} {words.get(event.kind, '')}", completed=size, total=size
        )

    def _size(self, task: "TaskID") -> float:
        known = next(one for one in self._progress.tasks if one.id == task)
        return known.total or known.completed or 1
