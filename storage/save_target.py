"""Where saved images go: a tar archive on a descriptor, or a directory."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.errors import DigestMismatch, DiskFull, InvalidArchive, StorageError, StoreUnusable
from storage.files import write_file
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, parse_json
from storage.oci.index import Index
from storage.record import NamedTuple
from storage.tar import BLOCK

_CHUNK_BYTES = 1 << 22
_REF_NAME = "org.opencontainers.image.ref.name"
# tar(5): two blocks of zeros end an archive; tools write whole records of twenty blocks.
_RECORD_BYTES = 20 * BLOCK

Written = Callable[["Part"], None]


class Part(NamedTuple):
    """One file of an archive: `data`, or the `size` bytes of the open file `fd`."""

    name: str
    size: int
    data: bytes = b""
    fd: int = -1
    digest: str = ""


@contextmanager
def open_target(target: "str | int") -> Iterator[int]:
    """Open the file of an archive; a regular one appears under its name when it is whole.

    Raises StoreUnusable, DiskFull, BrokenPipeError.
    """
    if isinstance(target, int):
        with _telling("standard output"):
            yield target
        return
    with _telling(target):
        if _is_special(target):
            fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
            return
        path = os.path.realpath(target)
        unfinished = f"{path}.{os.getpid()}.tmp"
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                yield fd
            finally:
                os.close(fd)
            os.rename(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise


def _is_special(path: str) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise InvalidArchive(
            f"write {path}: it is a directory", remedy="use --format oci-dir or docker-dir"
        )
    return not stat.S_ISREG(found.st_mode)


@contextmanager
def _telling(where: str) -> Iterator[None]:
    """Say what could not be written; a reader that went away is the caller's to understand."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _wrapped(where, error) from error


def _wrapped(where: str, error: OSError) -> StorageError:
    text = f"write {where}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(text, remedy="free space, or write to another file system")
    return StoreUnusable(text)


def write_tar(fd: int, parts: list[Part], written: Written) -> None:
    """Write the parts as a tar archive. Raises OSError, DigestMismatch."""
    import tarfile

    total = 0
    made: set[str] = set()
    for part in parts:
        for directory in _parents(part.name, made):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            total += _write_all(fd, entry.tobuf(tarfile.PAX_FORMAT))
        entry = tarfile.TarInfo(part.name)
        entry.size = part.size
        # The time stays zero: the same images make the same archive.
        header = entry.tobuf(tarfile.PAX_FORMAT)
        padding = bytes(-part.size % BLOCK)
        if part.fd < 0:
            _write_all(fd, header + part.data + padding)
        else:
            _write_all(fd, header)
            _copy(part, fd)
            _write_all(fd, padding)
        total += len(header) + part.size + len(padding)
        written(part)
    _write_all(fd, bytes(2 * BLOCK + -(total + 2 * BLOCK) % _RECORD_BYTES))


def _parents(name: str, made: set[str]) -> list[str]:
    """Return the directories above a file that have no entry yet.

    skopeo gives a directory without one to root, which it may not.
    """
    words = name.split("/")[:-1]
    paths = ["/".join(words[: depth + 1]) for depth in range(len(words))]
    missing = [path for path in paths if path not in made]
    made.update(missing)
    return missing


def check_directory(path: str, mark: str) -> None:
    """Refuse a directory that is something else: not empty, and without `mark`.

    Raises InvalidArchive.
    """
    try:
        entries = os.listdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidArchive(f"write {path}: {error.strerror}") from error
    if entries and mark not in entries:
        raise InvalidArchive(
            f"write {path}: the directory is not empty, and holds no images",
            remedy="name a new directory",
        )


def write_directory(path: str, parts: list[Part], written: Written) -> None:
    """Write the parts as files of a directory; the last one makes it complete.

    The images of an OCI layout that is there stay. Raises StoreUnusable, DiskFull,
    DigestMismatch, InvalidDocument.
    """
    with _telling(path):
        for part in parts:
            target = f"{path}/{part.name}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if part.name == "index.json":
                write_file(target, _merged(target, part.data), sync=False)
            elif part.fd < 0:
                write_file(target, part.data, sync=False)
            elif part.name == "manifest.json" or not _has(target, part.size):
                with open_target(target) as fd:
                    _copy(part, fd)
            written(part)


def _has(path: str, size: int) -> bool:
    """Tell whether a blob is there: its name is its digest, so its size tells enough."""
    try:
        return os.stat(path).st_size == size
    except FileNotFoundError:
        return False


def _merged(path: str, data: bytes) -> bytes:
    """Return the index with the entries of the one that is there, but for names that change."""
    import json

    try:
        with open(path, "rb") as file:
            old = Index.from_json(parse_json(file.read(DOCUMENT_LIMIT_BYTES), path), path)
    except FileNotFoundError:
        return data
    new = Index.from_json(parse_json(data, path), path)
    names = {(entry.annotations or {}).get(_REF_NAME) for entry in new.manifests}
    digests = {entry.digest for entry in new.manifests}
    kept = []
    for entry in old.manifests:
        name = (entry.annotations or {}).get(_REF_NAME)
        if (name in names) if name else (entry.digest in digests):
            continue
        kept.append(entry)
    merged = old._replace(manifests=(*kept, *new.manifests))
    return json.dumps(merged.to_json(), separators=(",", ":")).encode()


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _copy(part: Part, fd: int) -> None:
    """Copy a file without its bytes passing through this process, where the kernel can."""
    offset = 0
    use_sendfile = True
    while offset < part.size:
        wanted = min(_CHUNK_BYTES, part.size - offset)
        if use_sendfile:
            try:
                count = os.sendfile(fd, part.fd, offset, wanted)
            except OSError as error:
                # sendfile(2): a target opened with O_APPEND, or a file system that cannot.
                if offset or error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                use_sendfile = False
                continue
        else:
            chunk = os.pread(part.fd, wanted, offset)
            _write_all(fd, chunk)
            count = len(chunk)
        if not count:
            raise DigestMismatch(
                f"blob {part.digest}: it ends after {offset} of {part.size} bytes",
                remedy="pull or load the image again",
            )
        offset += count
