"""What a long work on blobs and layers tells while it runs.

An event is small and JSON-able: it crosses a pipe from the namespace child to the command line.
"""

import time

from storage.errors import InvalidDocument
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Events = Callable[["Event"], None]

BLOB_START = "blob-start"
BLOB_PROGRESS = "blob-progress"
BLOB_EXISTS = "blob-exists"
BLOB_DONE = "blob-done"
UNPACK_DONE = "unpack-done"
RETRY = "retry"
NOTE = "note"


class Event(NamedTuple):
    """One step; `total_bytes` is 0 while it is unknown, `text` is for people."""

    kind: str
    digest: str = ""
    current_bytes: int = 0
    total_bytes: int = 0
    text: str = ""

    @classmethod
    def from_json(cls, raw: object) -> "Event":
        """Read what `list(event)` became on the other side of a pipe."""
        match raw:
            case [str(kind), str(digest), int(current_bytes), int(total_bytes), str(text)]:
                return cls(kind, digest, current_bytes, total_bytes, text)
            case _:
                raise InvalidDocument(f"read an event: five fields expected, not {raw!r:.80}")


def ignore(event: Event) -> None:
    """Listen to nothing."""


class Throttle:
    """Let at most one progress event through in each `interval_s`."""

    __slots__ = ("_interval_s", "_next_s")

    def __init__(self, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._next_s = 0.0

    def due(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._interval_s
        return True
