"""Blobs of the OCI image layout: written once, under their digest, never changed."""

import os

from storage.digest import digest_of, hex_of
from storage.errors import BlobMissing, DigestMismatch, InvalidDocument, from_os_error
from storage.files import Lock, read_file
from storage.layout import Layout
from storage.scratch import open_scratch_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_CHUNK_BYTES = 1 << 20
_FETCH_AGAIN = "pull or load the image again"


def has_blob(layout: Layout, digest: str) -> bool:
    """Tell whether a blob is complete in the store."""
    return os.path.exists(layout.blob(digest))


def find_blob(layout: Layout, digest: str) -> str:
    """Return where a blob lies: in the store, else in one of those that are only read."""
    own = layout.blob(digest)
    if layout.additional and not os.path.exists(own):
        name = os.path.basename(own)
        for directory in layout.additional:
            path = f"{directory}/blobs/sha256/{name}"
            if os.path.exists(path):
                return path
    return own


def blob_size(layout: Layout, digest: str) -> int:
    """Return the size of a blob in bytes. Raises BlobMissing."""
    try:
        return os.stat(find_blob(layout, digest)).st_size
    except FileNotFoundError as error:
        raise _missing(digest) from error


def read_blob(
    layout: Layout, digest: str, limit_bytes: int = 4 << 20, *, verify: bool = True
) -> bytes:
    """Return a manifest or a configuration.

    `verify=False` spares the path of `rpod run` the load of a hash library: a blob was digested
    when it was stored. Raises BlobMissing, DigestMismatch, InvalidDocument, StoreUnusable.
    """
    path = find_blob(layout, digest)
    # What others have written is checked each time.
    verify = verify or path != layout.blob(digest)
    try:
        size = os.stat(path).st_size
        if size > limit_bytes:
            raise InvalidDocument(f"blob {digest}: {size} bytes, at most {limit_bytes} are read")
        data = read_file(path)
    except FileNotFoundError as error:
        raise _missing(digest) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    if verify and digest_of(data) != digest:
        raise DigestMismatch(
            f"blob {path}: its content does not have its digest",
            remedy="rpod system check --repair",
        )
    return data


def open_blob(layout: Layout, digest: str) -> int:
    """Return a descriptor to read a blob from. Raises BlobMissing, StoreUnusable."""
    path = find_blob(layout, digest)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _missing(digest) from error
    except OSError as error:
        raise from_os_error(f"open {path}", error) from error


def adopt_blob(layout: Layout, digest: str) -> bool:
    """Copy a blob from a store that is only read, if one has it; tell whether it is here now.

    Raises StoreUnusable, DiskFull. One that is damaged there is as good as none.
    """
    if has_blob(layout, digest):
        return True
    path = find_blob(layout, digest)
    try:
        with open(path, "rb", buffering=0) as source, BlobWriter(layout) as writer:
            while chunk := source.read(_CHUNK_BYTES):
                writer.write(chunk)
            writer.commit(digest)
    except (FileNotFoundError, PermissionError, DigestMismatch):
        return False
    return True


def write_blob(layout: Layout, data: bytes) -> str:
    """Store a small blob, a manifest or a configuration, and return its digest.

    Raises StoreUnusable, DiskFull.
    """
    digest = digest_of(data)
    if has_blob(layout, digest):
        return digest
    with BlobWriter(layout) as writer:
        writer.write(data)
        writer.commit(digest, len(data))
    return digest


class BlobWriter:
    """Takes the bytes of one blob, digests them on the way, and stores them by one rename.

    With a `digest` the bytes go to `partial/<hex>`, which outlives a crash: the caller holds the
    lock `blob-<hex>`, gets what has arrived before from `replay`, and goes on from `arrived_bytes`.
    Without one the bytes go to a file that is thrown away unless it is committed.
    """

    def __init__(self, layout: Layout, digest: str | None = None) -> None:
        import hashlib

        self._layout = layout
        self._keep = digest is not None
        self._hash = hashlib.sha256()
        self._fd = -1
        self._lock: Lock | None = None
        try:
            if digest is not None:
                self.path = layout.partial(digest)
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self.path, flags, 0o644)
            else:
                self.path, self._lock, self._fd = open_scratch_file(layout, "blob")
                os.fchmod(self._fd, 0o644)
            self.arrived_bytes = os.fstat(self._fd).st_size
        except OSError as error:
            raise from_os_error(f"write a blob below {layout.store}", error) from error
        self.size_bytes = 0

    def replay(self) -> "Iterator[bytes]":
        """Yield the bytes that arrived before; to be read to the end before the first `write`."""
        while self.size_bytes < self.arrived_bytes:
            chunk = os.pread(self._fd, _CHUNK_BYTES, self.size_bytes)
            if not chunk:
                break
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
            yield chunk

    def restart(self) -> None:
        """Forget the bytes that arrived before."""
        import hashlib

        os.ftruncate(self._fd, 0)
        self._hash = hashlib.sha256()
        self.size_bytes = self.arrived_bytes = 0

    def write(self, chunk: "bytes | memoryview") -> None:
        """Append bytes. Raises StoreUnusable, DiskFull."""
        self._hash.update(chunk)
        try:
            view = memoryview(chunk)
            while view:
                written = os.pwrite(self._fd, view, self.size_bytes)
                self.size_bytes += written
                view = view[written:]
        except OSError as error:
            raise from_os_error(f"write {self.path}", error) from error

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def commit(self, expected_digest: str | None = None, expected_size: int | None = None) -> str:
        """Check the bytes, make them durable, and store them; return their digest.

        A mismatch throws the bytes away. Raises DigestMismatch, StoreUnusable, DiskFull.
        """
        digest = self.digest
        if expected_size is not None and self.size_bytes != expected_size:
            self.discard()
            raise DigestMismatch(
                f"blob {expected_digest or digest}: {self.size_bytes} bytes instead of"
                f" {expected_size}"
            )
        if expected_digest is not None and digest != expected_digest:
            self.discard()
            raise DigestMismatch(f"blob {expected_digest}: the bytes have the digest {digest}")
        try:
            os.fdatasync(self._fd)
            os.rename(self.path, self._layout.blob(digest))
        except OSError as error:
            raise from_os_error(f"store blob {hex_of(digest)}", error) from error
        self._keep = True
        self.close()
        return digest

    def discard(self) -> None:
        """Throw the bytes away."""
        self._keep = False
        self.close()

    def close(self) -> None:
        """Let go of the file; a partial blob stays for the next attempt."""
        if self._fd < 0:
            return
        if not self._keep:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
        os.close(self._fd)
        self._fd = -1
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()


def _missing(digest: str) -> BlobMissing:
    return BlobMissing(f"blob {digest} is not in the store", remedy=_FETCH_AGAIN)
