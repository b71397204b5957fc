"""OCI distribution specification, pushing blobs: is it there, mount, upload, go on where it broke.

A small blob goes in the request that ends the upload; a large one is streamed before it, so that
what a registry has got can be asked for when the connection breaks off.
"""

from urllib.parse import quote

from storage.blobs import open_blob
from storage.errors import RegistryDenied, RegistryInterrupted, RegistryProtocolError
from storage.events import BLOB_DONE, BLOB_EXISTS, BLOB_PROGRESS, BLOB_START, Event, Throttle
from storage.layout import Layout
from storage.oci.descriptor import Descriptor
from storage.registry.client import RegistryClient
from storage.registry.fetch import CHUNK_BYTES, Work
from storage.registry.transport import Response, clean_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE_BYTES = 1 << 20
_UPLOADS = "blobs/uploads/"
_NO_STREAMING = (404, 405, 501)
_LOST = (400, 404, 416)


class Upload:
    """One blob on its way out; `origins` are repositories of the registry that may have it."""

    __slots__ = (
        "_at_once",
        "_blob",
        "_client",
        "_doing",
        "_layout",
        "_location",
        "_offset",
        "_origins",
        "_throttle",
        "_work",
    )

    def __init__(
        self,
        layout: Layout,
        client: RegistryClient,
        blob: Descriptor,
        work: Work,
        origins: tuple[str, ...] = (),
    ) -> None:
        self._layout = layout
        self._client = client
        self._blob = blob
        self._work = work
        self._origins = origins
        self._doing = f"push blob {blob.digest[:19]} to {client.reference.name}"
        self._at_once = blob.size <= _AT_ONCE_BYTES
        self._location = ""
        self._offset = 0
        self._throttle = Throttle()

    def run(self) -> None:
        """Send the blob unless it is there; try again when the connection breaks off.

        Raises BlobMissing, RegistryError, Cancelled.
        """
        attempt = 0
        while True:
            try:
                self._try()
            except RegistryInterrupted as error:
                self._work.pause(attempt, error, self._blob.digest)
            else:
                return
            attempt += 1

    def _try(self) -> None:
        blob = self._blob
        self._work.check()
        if self._is_there() or (not self._resume() and self._begin()):
            self._work.tell(Event(BLOB_EXISTS, blob.digest, blob.size, blob.size))
            return
        self._work.tell(Event(BLOB_START, blob.digest, self._offset, blob.size))
        if not self._at_once and not self._stream():
            self._at_once = True
            self._start()
        self._finish()
        self._work.tell(Event(BLOB_DONE, blob.digest, blob.size, blob.size, "pushed"))

    def _is_there(self) -> bool:
        with self._client.exchange("HEAD", f"blobs/{self._blob.digest}", self._doing) as answer:
            self._client.check(answer, self._doing, 200, 404)
            answer.release()
            return answer.status == 200

    def _resume(self) -> bool:
        """Ask how much of an interrupted upload has arrived; False when it is lost."""
        location, self._location, self._offset = self._location, "", 0
        if not location or self._at_once:
            return False
        with self._client.exchange("GET", location, self._doing) as answer:
            answer.release()
            if answer.status != 204:
                return False
            offset = _arrived_bytes(answer)
            if not 0 < offset <= self._blob.size:
                return False
            self._location = self._client.location(answer) or location
            self._offset = offset
        return True

    def _begin(self) -> bool:
        """Start an upload; True when the registry took the blob from another repository."""
        for origin in self._origins[:1]:
            query = f"{_UPLOADS}?mount={quote(self._blob.digest)}&from={quote(origin, safe='/')}"
            try:
                return self._start(query, f"repository:{origin}:pull")
            except RegistryDenied:
                # We may write here but not read there: the blob goes the ordinary way.
                self._origins = ()
        return self._start()

    def _start(self, path: str = _UPLOADS, scope: str = "") -> bool:
        self._offset = 0
        headers = {"Content-Length": "0"}
        with self._client.exchange(
            "POST", path, self._doing, headers=headers, body=b"", scope=scope
        ) as answer:
            if path == _UPLOADS:
                self._client.check(answer, self._doing, 202)
            else:
                self._client.check(answer, self._doing, 201, 202)
            answer.release()
            if answer.status == 201:
                return True
            self._location = self._client.location(answer)
        if not self._location:
            raise RegistryProtocolError(
                f"{self._doing}: the registry does not say where to send it (no Location)"
            )
        return False

    def _stream(self) -> bool:
        """Send what is left, beginning at the offset; False when the registry takes no parts."""
        left = self._blob.size - self._offset
        if not left:
            return True
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(left)}
        if self._offset:
            headers["Content-Range"] = f"{self._offset}-{self._blob.size - 1}"
        with self._client.exchange(
            "PATCH", self._location, self._doing, headers=headers, body=self._chunks
        ) as answer:
            if not self._offset and answer.status in _NO_STREAMING:
                answer.close()
                return False
            self._raise_lost(answer)
            self._client.check(answer, self._doing, 202, 204)
            answer.release()
            self._location = self._client.location(answer) or self._location
        return True

    def _finish(self) -> None:
        separator = "&" if "?" in self._location else "?"
        url = f"{self._location}{separator}digest={quote(self._blob.digest, safe='')}"
        size = self._blob.size if self._at_once else 0
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self._client.exchange(
            "PUT", url, self._doing, headers=headers, body=self._chunks if self._at_once else b""
        ) as answer:
            self._raise_lost(answer)
            self._client.check(answer, self._doing, 201)
            answer.release()
        self._location = ""

    def _raise_lost(self, answer: Response) -> None:
        """Begin anew when the registry does not know a continued upload any more."""
        if self._offset and answer.status in _LOST:
            answer.close()
            self._location = ""
            raise RegistryInterrupted(
                f"{self._doing}: the registry does not go on with the upload",
                remedy="try again later",
            )

    def _chunks(self) -> "Iterator[bytes]":
        """Yield the stored bytes from the offset on."""
        sent = self._offset
        with open(open_blob(self._layout, self._blob.digest), "rb", buffering=0) as file:
            file.seek(sent)
            while chunk := file.read(CHUNK_BYTES):
                self._work.check()
                yield chunk
                sent += len(chunk)
                if self._throttle.due():
                    self._work.tell(Event(BLOB_PROGRESS, self._blob.digest, sent, self._blob.size))


def _arrived_bytes(answer: Response) -> int:
    """Return how many bytes a registry has: "0-99" is 100, and "0-0" is none.

    Raises RegistryProtocolError.
    """
    text = answer.headers.get("Range", "").removeprefix("bytes=").strip()
    first, _, last = text.partition("-")
    if not text:
        return 0
    if first != "0" or not (last.isascii() and last.isdigit() and len(last) < 19):
        raise RegistryProtocolError(
            f"{answer.doing}: {clean_text(text, 40)!r} is not how much has arrived"
        )
    return int(last) + 1 if int(last) else 0
