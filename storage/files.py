"""Files that appear whole or not at all, locks that die with their holder, a place to build.

Lock order, first to last: that of a pod, `lists` (an index is edited), `images` (shared while an
image or a container that needs it is recorded, exclusive while garbage is removed), `names`,
`layer-<hex>` or `blob-<hex>`, `pod-names`, `container-names`, `volumes`, `secrets`, `networks`,
then that of one network in the run root and the one of all of them. A lock is held for one object,
never over the network or a user's command, except `blob-<hex>` and `layer-<hex>`: their very
purpose is that two commands do not do work twice.
"""

import errno
import fcntl
import os

from storage.errors import StoreTooNew, StoreUnusable, from_os_error
from storage.layout import VERSION, Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


_LOCKS = (
    "lists", "images", "names", "pod-names", "container-names", "volumes", "secrets", "networks",
    "tmp",
)  # fmt: skip
# Root of a user namespace may make it with a subordinate id; the directory keeps others out.
_LOCK_MODE = 0o666


def make_store(layout: Layout) -> None:
    """Make the store's directories; cheap when it exists.

    Raises StoreTooNew, StoreUnusable, DiskFull.
    """
    if _has_version(layout):
        return
    try:
        for path in (
            layout.blobs_dir,
            layout.partial_dir,
            layout.images_dir,
            layout.names_dir,
            layout.all_layers_dir,
            layout.containers_dir,
            layout.container_names_dir,
            layout.volumes_dir,
            layout.tmp_dir,
            layout.locks_dir,
        ):
            os.makedirs(path, mode=0o700, exist_ok=True)
        # Inside a container's user namespace other ids walk through these two to reach the layers.
        os.chmod(layout.store, 0o711)  # noqa: S103 - searchable, not readable
        write_file(layout.oci_layout_file, b'{"imageLayoutVersion":"1.0.0"}')
        if not os.path.exists(layout.index_file):
            write_file(
                layout.index_file,
                b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
            )
        # What a removal takes must be there: on a full disk none can be made.
        for name in _LOCKS:
            os.close(
                os.open(layout.lock(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
            )
        write_file(layout.version_file, b"%d\n" % VERSION)
    except OSError as error:
        raise from_os_error(f"make the store {layout.store}", error) from error


def _has_version(layout: Layout) -> bool:
    """Tell whether the store is complete. Raises StoreTooNew, StoreUnusable."""
    path = layout.version_file
    try:
        version = int(read_file(path, limit_bytes=64))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreUnusable(f"open the store {layout.store}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise StoreUnusable(
            f"open the store {layout.store}: its file `version` is damaged",
            remedy=f"if this rpod made the store: echo {VERSION} > {path}",
        ) from error
    if version > VERSION:
        raise StoreTooNew(
            f"open the store {layout.store}: it has format {version}, this rpod knows {VERSION}",
            remedy="use the newer rpod that made it, or another store with --root DIR",
        )
    return True


def is_store(directory: str) -> bool:
    """Tell whether a directory is a store that can be read here."""
    try:
        return int(read_file(f"{directory}/version", limit_bytes=64)) <= VERSION
    except (OSError, ValueError):
        return False


def write_file(path: str, data: bytes, *, mode: int = 0o644, sync: bool = True) -> None:
    """Replace `path` by `data` in one step; a crash leaves the old or the new content.

    Raises OSError.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                os.fdatasync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_file(path: str, *, limit_bytes: int = 64 << 20) -> bytes:
    """Return the content of a record; OSError(EFBIG) when it is larger than any record is."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size > limit_bytes:
            raise OSError(errno.EFBIG, "larger than any record", path)
        parts = []
        while chunk := os.read(fd, size + 1):
            parts.append(chunk)
        return b"".join(parts)
    finally:
        os.close(fd)


class Lock:
    """flock(2) on a file made for it, as a context manager; freed by the kernel at death."""

    __slots__ = ("_fd", "path", "shared")

    def __init__(self, path: str, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; False only when `wait` is false and somebody else holds it."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
            operation = fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX
            try:
                fcntl.flock(fd, operation | (0 if wait else fcntl.LOCK_NB))
                if self._is_current(fd):
                    self._fd = fd
                    return True
            except BlockingIOError:
                os.close(fd)
                return False
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _is_current(self, fd: int) -> bool:
        """Tell whether the file that is locked is still the one of its name: holders may remove it.

        The garbage collection does, with the locks of layers and blobs that are gone.
        """
        mine = os.fstat(fd)
        if mine.st_mode & 0o777 != _LOCK_MODE and mine.st_uid == os.geteuid():
            os.fchmod(fd, _LOCK_MODE)
        try:
            return os.stat(self.path).st_ino == mine.st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if self._fd >= 0:
            # Closing is not enough: a child forked meanwhile by another thread has the same open
            # file, and would keep the lock for as long as it lives.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Lock":
        try:
            self.acquire()
        except OSError as error:
            raise from_os_error(f"lock {self.path}", error) from error
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.release()
