"""One blob on its way in: digested while it streams, and gone on with by Range when it broke off.

The bytes are handed on as they come, so that a layer is inflated and unpacked in the same pass; who
reads them learns at their end, by an exception, that they were not what the digest promised.
"""

import threading
import time

from storage.blobs import BlobWriter, adopt_blob, has_blob
from storage.errors import (
    DigestMismatch,
    RegistryError,
    RegistryInterrupted,
    RegistryProtocolError,
    RegistryTimeout,
    RegistryUnreachable,
    StorageError,
    StoreUnusable,
)
from storage.events import (
    BLOB_DONE,
    BLOB_EXISTS,
    BLOB_PROGRESS,
    BLOB_START,
    NOTE,
    RETRY,
    Event,
    Throttle,
)
from storage.files import Lock
from storage.layout import Layout
from storage.oci.descriptor import Descriptor
from storage.registry.client import RegistryClient
from storage.registry.options import PullOptions
from storage.registry.transport import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import NoReturn, TypeVar

    from storage.events import Events

    Result = TypeVar("Result")

CHUNK_BYTES = 256 << 10
_LOCK_POLL_S = 0.05
_LONGEST_DELAY_S = 120.0
# Progress that makes the next failure count as the first one.
_FORGIVEN_BYTES = 1 << 20
_SLOWEST_BYTES = 1 << 10


class Cancelled(StorageError):
    """Another part of the same work has failed; its error is the one to tell."""


class Work:
    """What the threads of one pull share: where to tell, when to stop, how often to try."""

    __slots__ = ("_emit", "_emit_lock", "cancelled", "options")

    def __init__(self, options: PullOptions, events: "Events") -> None:
        self.options = options
        self.cancelled = threading.Event()
        self._emit = events
        self._emit_lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Pass an event on, one at a time."""
        with self._emit_lock:
            self._emit(event)

    def check(self) -> None:
        """Raise Cancelled when the work is to stop."""
        if self.cancelled.is_set():
            raise Cancelled("stopped")

    def pause(self, attempt: int, error: RegistryUnreachable, digest: str = "") -> None:
        """Wait before another attempt, twice as long each time; `attempt` counts from 0.

        Raises the error when there have been enough.
        """
        if attempt >= self.options.retries:
            raise error
        delay_s = min(self.options.retry_delay_s * 2**attempt, _LONGEST_DELAY_S)
        if isinstance(error, RegistryInterrupted):
            delay_s = max(delay_s, error.retry_after_s)
        self.tell(
            Event(RETRY, digest, attempt + 1, 0, f"{error.message}; again in {delay_s:.0f} s")
        )
        self.cancelled.wait(delay_s)
        self.check()

    def retried(self, call: "Callable[[], Result]") -> "Result":
        """Call until it is not interrupted, or often enough."""
        attempt = 0
        while True:
            try:
                return call()
            except RegistryInterrupted as error:
                self.pause(attempt, error)
            attempt += 1

    def hold(self, lock: Lock, what: str) -> Lock:
        """Take a lock that another process may hold for long; returns it to be released."""
        told = False
        while not lock.acquire(wait=False):
            if not told:
                self.tell(Event(NOTE, what, text="waiting for another command that fetches this"))
                told = True
            self.cancelled.wait(_LOCK_POLL_S)
            self.check()
        return lock


class BlobStream:
    """The bytes of one blob: what has arrived before, then what the registry sends.

    The caller holds `blob-<hex>`. `read` returns b"" only after the whole blob has been checked
    and stored.
    """

    __slots__ = (
        "_attempt",
        "_blob",
        "_client",
        "_forgiven_at",
        "_left",
        "_replay",
        "_response",
        "_throttle",
        "_window",
        "_work",
        "_writer",
        "is_resumed",
        "is_stored",
        "rejection",
    )

    def __init__(
        self, layout: Layout, client: RegistryClient, blob: Descriptor, work: Work
    ) -> None:
        self._client = client
        self._blob = blob
        self._work = work
        self._writer = BlobWriter(layout, blob.digest)
        if self._writer.arrived_bytes > blob.size:
            self._writer.restart()
        self._replay: Iterator[bytes] | None = self._writer.replay()
        self._response: Response | None = None
        self._left = b""
        self._attempt = 0
        self._forgiven_at = self._writer.arrived_bytes + _FORGIVEN_BYTES
        self._throttle = Throttle()
        self._window = (time.monotonic(), self._writer.arrived_bytes)
        self.is_resumed = self._writer.arrived_bytes > 0
        self.is_stored = False
        self.rejection: DigestMismatch | None = None
        work.tell(Event(BLOB_START, blob.digest, self._writer.arrived_bytes, blob.size))

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end.

        Raises DigestMismatch, RegistryError, StoreUnusable, DiskFull, Cancelled.
        """
        if self._left:
            chunk, self._left = self._left[:size], self._left[size:]
            return chunk
        self._work.check()
        if self._replay is not None:
            chunk = next(self._replay, b"")
            if chunk:
                self._left = chunk[size:]
                return chunk[:size] if self._left else chunk
            self._replay = None
        if self._writer.size_bytes < self._blob.size:
            return self._receive(size)
        self._finish()
        return b""

    def drain(self) -> None:
        """Read what is left, so that the digest is checked and the blob stored."""
        while self.read(CHUNK_BYTES):
            pass

    def _receive(self, size: int) -> bytes:
        while True:
            try:
                if self._response is None:
                    self._response = self._open()
                chunk = self._response.read(size)
                if not chunk:
                    raise RegistryInterrupted(
                        f"{self._response.doing}: the connection ended after"
                        f" {self._writer.size_bytes} of {self._blob.size} bytes",
                        remedy="try again; what has arrived is kept",
                    )
                self._take(chunk)
            except RegistryUnreachable as error:
                self._close_response()
                is_new = self._attempt == 0 and self._writer.size_bytes == 0
                if is_new and not isinstance(error, RegistryInterrupted):
                    raise
                self._work.pause(self._attempt, error, self._blob.digest)
                self._attempt += 1
            else:
                return chunk

    def _take(self, chunk: bytes) -> None:
        blob, writer = self._blob, self._writer
        if writer.size_bytes + len(chunk) > blob.size:
            self._reject(
                f"the registry sends more than the promised {blob.size} bytes of {blob.digest}"
            )
        writer.write(chunk)
        if writer.size_bytes >= self._forgiven_at:
            self._attempt = 0
            self._forgiven_at = writer.size_bytes + _FORGIVEN_BYTES
        self._check_speed()
        if self._throttle.due():
            self._work.tell(Event(BLOB_PROGRESS, blob.digest, writer.size_bytes, blob.size))

    def _check_speed(self) -> None:
        """Give a connection up that is kept alive by a byte now and then."""
        now_s = time.monotonic()
        started_s, size_bytes = self._window
        window_s = self._work.options.read_timeout_s
        if now_s - started_s < window_s:
            return
        if self._writer.size_bytes - size_bytes < _SLOWEST_BYTES:
            self._window = (now_s, self._writer.size_bytes)
            raise RegistryTimeout(
                f"fetch blob {self._blob.digest[:19]} of {self._client.reference.name}:"
                " the registry is too slow: less than"
                f" {_SLOWEST_BYTES} bytes in {window_s:.0f} s",
                remedy="try again later; what has arrived is kept",
            )
        self._window = (now_s, self._writer.size_bytes)

    def _open(self) -> Response:
        """Ask for what is missing; where a registry sends all, the known part is skipped."""
        offset = self._writer.size_bytes
        response = self._client.open_blob(self._blob, offset)
        if response.status == 206:
            self._check_range(response, offset)
            return response
        length = response.content_length
        if length is not None and length != self._blob.size:
            response.close()
            self._reject(
                f"the registry sends {length} bytes instead of {self._blob.size}"
                f" for {self._blob.digest}"
            )
        while offset:
            self._work.check()
            chunk = response.read(min(offset, CHUNK_BYTES))
            if not chunk:
                raise RegistryInterrupted(f"{response.doing}: the connection ended too early")
            offset -= len(chunk)
        return response

    def _check_range(self, response: Response, offset: int) -> None:
        """RFC 9110, section 14.4: Content-Range = bytes FIRST-LAST/LENGTH."""
        text = response.headers.get("Content-Range", "").strip()
        span, _, total = text.removeprefix("bytes").strip().partition("/")
        first = span.partition("-")[0]
        if first != str(offset) or total not in ("*", str(self._blob.size)):
            response.close()
            raise RegistryProtocolError(
                f"{response.doing}: asked for the bytes from {offset} of {self._blob.size}, the"
                f" registry sends {text[:60]!r}"
            )

    def _reject(self, why: str) -> "NoReturn":
        """Throw the bytes away, and remember why: the reader may be in another thread."""
        self._writer.discard()
        self.rejection = DigestMismatch(
            f"fetch blob of {self._client.reference.name}: {why}",
            remedy="try again; if it stays, the image is damaged there: push it again",
        )
        raise self.rejection

    def _finish(self) -> None:
        if self.is_stored:
            return
        self._close_response()
        try:
            self._writer.commit(self._blob.digest, self._blob.size)
        except DigestMismatch as error:
            self._reject(error.message)
        self.is_stored = True
        self._work.tell(Event(BLOB_DONE, self._blob.digest, self._blob.size, self._blob.size))

    def _close_response(self) -> None:
        if self._response is not None:
            self._response.release()
            self._response = None

    def __enter__(self) -> "BlobStream":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if self._response is not None:
            self._response.close()
        self._writer.close()


def fetch_blob(layout: Layout, client: RegistryClient, blob: Descriptor, work: Work) -> None:
    """Bring a small blob into the store.

    Raises DigestMismatch, RegistryError, StoreUnusable, DiskFull, Cancelled.
    """
    if adopt_blob(layout, blob.digest):
        return
    lock = work.hold(blob_lock(layout, blob.digest), blob.digest)
    try:
        if has_blob(layout, blob.digest):
            work.tell(Event(BLOB_EXISTS, blob.digest, blob.size, blob.size))
            return
        stream_blob(layout, client, blob, work, BlobStream.drain)
    finally:
        lock.release()


def stream_blob(
    layout: Layout,
    client: RegistryClient,
    blob: Descriptor,
    work: Work,
    use: "Callable[[BlobStream], object]",
) -> None:
    """Give the bytes of a blob to `use` and store them; the caller holds the blob's lock.

    When bytes of an earlier attempt turn out to be wrong, all is fetched once more.
    """
    is_repeated = False
    while True:
        with BlobStream(layout, client, blob, work) as stream:
            try:
                _use(stream, use)
            except DigestMismatch:
                if is_repeated or stream.rejection is None or not stream.is_resumed:
                    raise
                is_repeated = True
                note = "what had arrived before is wrong: fetched anew"
                work.tell(Event(NOTE, blob.digest, text=note))
            else:
                return


def _use(stream: BlobStream, use: "Callable[[BlobStream], object]") -> None:
    try:
        use(stream)
    except (Cancelled, RegistryError, StoreUnusable):
        raise
    except StorageError as error:
        # Was the layer damaged on the way, or made so? Only the digest of the whole tells.
        if stream.rejection is None:
            stream.drain()
        elif error is not stream.rejection:
            raise stream.rejection from error
        raise
    stream.drain()


def blob_lock(layout: Layout, digest: str) -> Lock:
    """Return the lock under which a blob is fetched, so that two commands do it once."""
    return Lock(layout.lock(f"blob-{digest.removeprefix('sha256:')}"))
