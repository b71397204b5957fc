"""Let a producer of chunks run in a thread of its own, a bounded number of chunks ahead."""

import queue
import threading
from collections.abc import Iterator

_AHEAD = 4
_POLL_S = 0.2


class ReadAhead:
    """Iterates over `chunks`, which is advanced by another thread.

    Inflating and digesting release the interpreter's lock, so they run beside the consumer's
    system calls. What the producer raises is raised here. `close` stops the thread.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._done = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        if self._thread is None:
            # Most layers of small images fit into one chunk, and need no thread at all.
            first = next(self._chunks, b"")
            self._thread = threading.Thread(target=self._produce, daemon=True)
            self._thread.start()
            if first:
                return first
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._done = True
            raise item
        if not item:
            self._done = True
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _produce(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._put(chunk):
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to the consumer
            self._put(error)
        else:
            self._put(b"")

    def _put(self, item: bytes | BaseException) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
