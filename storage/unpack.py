"""Unpack a layer: inflate, digest and untar in one pass, safe against whatever it contains.

OCI image-spec, layer. Runs inside a user namespace as its root: owners are those of the namespace.
"""

import errno
import hashlib
import os
from collections.abc import Iterator

from storage.errors import DigestMismatch, InvalidLayer, StorageError, from_os_error
from storage.inflate import Source, peek
from storage.limits import Limits, inflate_limited
from storage.oci.descriptor import layer_compression
from storage.owners import Owner, record
from storage.readahead import ReadAhead
from storage.record import NamedTuple
from storage.tar import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    Entry,
    TarReader,
)
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX, DirectoryMeta, Tree, shown
from storage.xattrs import set_from_layer

_AUFS = b".wh..wh."
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_LINKS_LIMIT = 100_000
_NAMED = 3
_FAULTS_OF_THE_LAYER = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,
    errno.EILSEQ,
    errno.EMLINK,
    errno.EFBIG,
    errno.EEXIST,
    errno.ENOENT,
)
_LAYER_COMPRESSIONS = ("none", "gzip", "zstd")


class UnpackResult(NamedTuple):
    """What came out of a layer; `notes` are lines for people about what could not be kept.

    `missing_links` are hard links (path, target) whose target lies in a lower layer.
    """

    diff_id: str
    size_bytes: int
    entries: int
    notes: tuple[str, ...]
    missing_links: tuple[tuple[str, str], ...]


def unpack_layer(
    source: Source,
    *,
    media_type: str,
    diff_id: str | None,
    target: str,
    limits: Limits = Limits(),  # noqa: B008 - a tuple
) -> UnpackResult:
    """Inflate, digest and untar a layer in one pass into the empty directory `target`.

    The bytes tell the compression, as in other tools; the media type only has to be one of a
    layer. With `diff_id` None the digest is computed only. On an error `target` is left as it is,
    to be removed by the caller. Raises InvalidLayer, DigestMismatch, StoreUnusable, DiskFull, and
    what `source.read` raises.
    """
    chunks = _inflated(source, media_type, limits)
    return unpack_tar(chunks, diff_id=diff_id, target=target, limits=limits)


def check_diff_id(source: Source, *, media_type: str, diff_id: str, limits: Limits) -> None:
    """Inflate and digest a layer without unpacking it.

    Raises InvalidLayer, DigestMismatch, and what `source.read` raises.
    """
    digest = hashlib.sha256()
    for chunk in _inflated(source, media_type, limits):
        digest.update(chunk)
    _compare(f"sha256:{digest.hexdigest()}", diff_id)


def _inflated(source: Source, media_type: str, limits: Limits) -> Iterator[bytes]:
    if not layer_compression(media_type):
        raise InvalidLayer(f"unpack: {media_type[:100]!r} is not a layer that can be unpacked")
    compression, start = peek(source)
    if compression not in _LAYER_COMPRESSIONS:
        raise InvalidLayer(f"unpack: a layer compressed with {compression} is not allowed")
    return inflate_limited(start, compression, limits)


def _compare(found: str, diff_id: str) -> None:
    if found != diff_id:
        raise DigestMismatch(f"layer: its content has the digest {found} instead of {diff_id}")


def unpack_tar(
    chunks: Iterator[bytes],
    *,
    diff_id: str | None,
    target: str,
    limits: Limits = Limits(),  # noqa: B008 - a tuple
) -> UnpackResult:
    """Digest and untar the inflated bytes of a layer; see `unpack_layer`."""
    digest = hashlib.sha256()

    def digested() -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    ahead = ReadAhead(digested())
    try:
        unpacker = _Unpacker(TarReader(ahead), target, limits)
        unpacker.run()
    except OSError as error:
        raise from_os_error(f"unpack into {target}", error) from error
    finally:
        ahead.close()
    found = f"sha256:{digest.hexdigest()}"
    if diff_id is not None:
        _compare(found, diff_id)
    return unpacker.result(found)


class _Unpacker:
    """Applies the members of one archive to one tree."""

    def __init__(self, reader: TarReader, target: str, limits: Limits) -> None:
        self._limits = limits
        self._reader = reader
        self._target = target
        self._tree = Tree(target)
        self._masked = _umask() | _SPECIAL_BITS
        self._foreign: set[tuple[int, int]] = set()
        self._problems: dict[str, tuple[int, list[str]]] = {}
        self._missing_links: list[tuple[str, str]] = []
        self._entries = 0
        self._size_bytes = 0

    def run(self) -> None:
        """Unpack everything. Raises InvalidLayer, OSError."""
        actions = {
            REGULAR: self._file,
            DIRECTORY: self._directory,
            SYMLINK: self._symlink,
            LINK: self._link,
            FIFO: self._fifo,
        }
        reader, tree = self._reader, self._tree
        try:
            while (entry := reader.next_entry()) is not None:
                self._entries += 1
                self._limits.check_entries(self._entries)
                try:
                    parent, base = tree.split(entry.name)
                    if base.startswith(WHITEOUT_PREFIX):
                        self._white_out(parent, base)
                        continue
                    actions.get(entry.kind, self._unusable)(entry, parent, base)
                except OSError as error:
                    raise _explain(entry, error, self._target) from error
            reader.drain()
            tree.finish()
        finally:
            tree.close()

    def result(self, diff_id: str) -> UnpackResult:
        """Sum up."""
        notes = []
        for problem, (count, names) in self._problems.items():
            more = f" and {count - len(names)} more" if count > len(names) else ""
            notes.append(f"{problem}: {', '.join(names)}{more}")
        return UnpackResult(
            diff_id, self._size_bytes, self._entries, tuple(notes), tuple(self._missing_links)
        )

    def _file(self, entry: Entry, parent: bytes, base: bytes) -> None:
        if not base:
            raise InvalidLayer(f"entry {shown(entry.name)}: a file in the place of the root")
        directory = self._tree.directory(parent)
        try:
            fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=directory)
        except FileExistsError:
            self._tree.clear_way(directory, base)
            fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=directory)
        try:
            if entry.segments is not None:
                self._write_sparse(fd, entry)
            else:
                for piece in self._reader.data():
                    written = os.write(fd, piece)
                    while written < len(piece):
                        piece = piece[written:]
                        written = os.write(fd, piece)
            self._size_bytes += entry.size
            if entry.uid or entry.gid:
                self._chown(fd, entry)
            if entry.mode & self._masked:
                os.chmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write_sparse(self, fd: int, entry: Entry) -> None:
        os.ftruncate(fd, entry.size)
        pieces = self._reader.data()
        piece = memoryview(b"")
        for offset, length in entry.segments or ():
            while length:
                if not piece:
                    piece = next(pieces)
                written = os.pwrite(fd, piece[:length], offset)
                piece = piece[written:]
                offset += written
                length -= written

    def _directory(self, entry: Entry, parent: bytes, base: bytes) -> None:
        if not base:
            real = b""
            path = f"/proc/self/fd/{self._tree.root}"
        else:
            directory = self._tree.directory(parent)
            self._tree.make_directory(directory, base)
            real = self._tree.real_path(parent, base)
            path = f"/proc/self/fd/{directory}/{os.fsdecode(base)}"
        if entry.uid or entry.gid:
            self._chown(path, entry)
        if entry.xattrs:
            self._set_xattrs(path if base else self._tree.root, entry)
        self._tree.note_directory(real, DirectoryMeta(entry.mode, entry.mtime_ns))

    def _symlink(self, entry: Entry, parent: bytes, base: bytes) -> None:
        directory = self._place(entry, parent, base)
        if not entry.link or b"\0" in entry.link:
            raise InvalidLayer(f"entry {shown(entry.name)}: a symbolic link without a target")
        try:
            os.symlink(entry.link, base, dir_fd=directory)
        except FileExistsError:
            self._tree.clear_way(directory, base)
            os.symlink(entry.link, base, dir_fd=directory)
        self._dress(entry, directory, base)

    def _fifo(self, entry: Entry, parent: bytes, base: bytes) -> None:
        directory = self._place(entry, parent, base)
        try:
            os.mkfifo(base, 0o600, dir_fd=directory)
        except FileExistsError:
            self._tree.clear_way(directory, base)
            os.mkfifo(base, 0o600, dir_fd=directory)
        self._dress(entry, directory, base)

    def _link(self, entry: Entry, parent: bytes, base: bytes) -> None:
        source_parent, source_base = self._tree.split(entry.link)
        if not source_base:
            raise InvalidLayer(f"entry {shown(entry.name)}: a hard link to nothing")
        self._place(entry, parent, base)
        try:
            source = os.dup(self._tree.directory(source_parent, make=False))
        except FileNotFoundError:
            self._miss(entry)
            return
        try:
            directory = self._tree.directory(parent)
            self._link_at(entry, (source, source_base), (directory, base))
        finally:
            os.close(source)

    def _link_at(self, entry: Entry, source: tuple[int, bytes], new: tuple[int, bytes]) -> None:
        try:
            found = os.stat(source[1], dir_fd=source[0], follow_symlinks=False)
        except FileNotFoundError:
            self._miss(entry)
            return
        for attempt in (1, 2):
            try:
                os.link(
                    source[1], new[1], src_dir_fd=source[0], dst_dir_fd=new[0],
                    follow_symlinks=False,
                )  # fmt: skip
            except FileExistsError:
                there = os.stat(new[1], dir_fd=new[0], follow_symlinks=False)
                if attempt == 2 or (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                    return
                self._tree.clear_way(new[0], new[1])
            except PermissionError as error:
                raise InvalidLayer(
                    f"entry {shown(entry.name)}: a hard link to the directory {shown(entry.link)}"
                ) from error
            else:
                return

    def _miss(self, entry: Entry) -> None:
        if len(self._missing_links) >= _LINKS_LIMIT:
            raise InvalidLayer(f"more than {_LINKS_LIMIT} hard links to files that are not there")
        self._missing_links.append((os.fsdecode(entry.name), os.fsdecode(entry.link)))

    def _white_out(self, parent: bytes, base: bytes) -> None:
        directory = self._tree.directory(parent)
        if base == OPAQUE_FILE:
            self._tree.hide_lower(directory)
        elif not base.startswith(_AUFS):
            hidden = base[len(WHITEOUT_PREFIX) :]
            if hidden in (b"", b".", b".."):
                raise InvalidLayer(f"whiteout {shown(base)}: it names nothing")
            self._tree.white_out(directory, hidden)

    def _unusable(self, entry: Entry, parent: bytes, base: bytes) -> None:
        if entry.kind in (CHARACTER, BLOCK_DEVICE):
            # Only the host's root makes devices; the container's own /dev has the usual ones.
            self._note("device nodes were skipped", entry.name)
        elif entry.kind != b"V":
            self._note(f"entries of type {entry.kind!r} were skipped", entry.name)

    def _place(self, entry: Entry, parent: bytes, base: bytes) -> int:
        if not base:
            raise InvalidLayer(f"entry {shown(entry.name)}: it would replace the root")
        return self._tree.directory(parent)

    def _dress(self, entry: Entry, directory: int, base: bytes) -> None:
        """Set what a link or a pipe has besides its name."""
        path = f"/proc/self/fd/{directory}/{os.fsdecode(base)}"
        if entry.uid or entry.gid:
            self._chown(path, entry)
        if entry.kind != SYMLINK:
            os.chmod(path, entry.mode)
        if entry.xattrs:
            self._set_xattrs(path, entry)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(base, ns=times, dir_fd=directory, follow_symlinks=False)

    def _chown(self, target: int | str, entry: Entry) -> None:
        owner = (entry.uid, entry.gid)
        if owner not in self._foreign:
            try:
                if isinstance(target, int):
                    os.chown(target, *owner)
                else:
                    os.chown(target, *owner, follow_symlinks=False)
            except (OSError, OverflowError) as error:
                # EINVAL: the id has no place in the id map. EPERM: not in a namespace of our own.
                code = error.errno if isinstance(error, OSError) else errno.EINVAL
                if code not in (errno.EINVAL, errno.EPERM):
                    raise
                self._foreign.add(owner)
            else:
                return
        # A link cannot carry the record, and nobody asks for its owner.
        if not record(target, Owner(*owner), entry.mode) and entry.kind != SYMLINK:
            self._note("owners outside of the id map became root", entry.name)

    def _set_xattrs(self, target: int | str, entry: Entry) -> None:
        refused = set_from_layer(target, entry.xattrs)
        for name in refused:
            self._note(f"extended attribute {name[:60]} was not set", entry.name)

    def _note(self, problem: str, name: bytes) -> None:
        count, names = self._problems.get(problem, (0, []))
        if len(names) < _NAMED:
            names.append(shown(name))
        if count or len(self._problems) < _LINKS_LIMIT:
            self._problems[problem] = (count + 1, names)


def _explain(entry: Entry, error: OSError, target: str) -> StorageError:
    if error.errno in _FAULTS_OF_THE_LAYER:
        return InvalidLayer(f"unpack entry {shown(entry.name)}: {error.strerror}")
    return from_os_error(f"unpack entry {shown(entry.name)} into {target}", error)


def _umask() -> int:
    """Return the umask without changing it: other threads make files, too."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777
