"""Put the members of an archive into a tree that exists: the receiving half of `cp`.

Unlike a layer (`storage.unpack`) it meets files that are there, and somebody else may change the
tree at the same moment. Whoever calls this has made the tree's root its root directory, or says by
`follow` that no link is to be followed at all; every place is a name in a directory that is open.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator

from storage.errors import InvalidLayer, StorageError
from storage.record import NamedTuple
from storage.tar import DIRECTORY, FIFO, LINK, REGULAR, SYMLINK, Entry, TarReader
from storage.tree import shown
from storage.xattrs import set_from_layer

OpenDirectory = Callable[[int, bytes], int]
"""Opens the directory at a path below a descriptor, for reading. Raises OSError."""

Ranges = tuple[tuple[int, int, int], ...]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o6000


class Rules(NamedTuple):
    """`owner` for everything; None: those of the archive if `keep_owners`, else the caller's own.

    With `host_ids`, maps of (own id, host id, count), the archive has ids of the host; one that is
    not mapped becomes 0. `special_bits`: keep setuid and setgid.
    """

    owner: tuple[int, int] | None = None
    keep_owners: bool = False
    host_ids: tuple[Ranges, Ranges] | None = None
    overwrite: bool = False
    special_bits: bool = True


class Placer:
    """Puts one archive into the directory `top`; its entry `.` becomes `name` there, if given."""

    def __init__(self, top: int, rules: Rules, open_directory: OpenDirectory) -> None:
        self._top = top
        self._rules = rules
        self._open_directory = open_directory
        self._rename = b""
        self._parent: tuple[bytes, int] = (b"", -1)
        self._directories: list[tuple[bytes, Entry]] = []
        self.skipped = 0

    def place(self, chunks: Iterator[bytes], *, rename: bytes = b"") -> None:
        """Put everything there. Raises StorageError with the entry's name, InvalidLayer."""
        self._rename = rename
        reader = TarReader(chunks)
        try:
            while (entry := reader.next_entry()) is not None:
                try:
                    self._member(entry, reader)
                except OSError as error:
                    raise StorageError(
                        f"copy {shown(entry.name)}: {error.strerror}", remedy=_remedy(error)
                    ) from error
            reader.drain()
            self._finish()
        finally:
            self._forget()

    def _member(self, entry: Entry, reader: TarReader) -> None:
        path = self._path(entry.name)
        if not path:
            return  # the directory that everything is put into stays as it is
        parent_path, _, base = path.rpartition(b"/")
        parent = self._directory(parent_path)
        if entry.kind == DIRECTORY:
            self._make_directory(entry, path, parent, base)
        elif entry.kind == REGULAR:
            self._file(entry, reader, parent, base)
        elif entry.kind in (SYMLINK, LINK, FIFO):
            self._clear(entry, parent, base)
            self._other(entry, parent, base)
        else:
            self.skipped += 1  # a device: only the host's root makes them

    def _path(self, name: bytes) -> bytes:
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise InvalidLayer(f"entry {shown(name)}: '..' would lead out of the directory")
        return b"/".join([self._rename, *parts] if self._rename else parts)

    def _directory(self, path: bytes) -> int:
        """Return a descriptor of a directory, valid until the next call; missing ones are made."""
        if not path:
            return self._top
        if self._parent[0] == path:
            return self._parent[1]
        try:
            fd = self._open_directory(self._top, path)
        except FileNotFoundError:
            above, _, base = path.rpartition(b"/")
            parent = self._directory(above)
            os.mkdir(base, 0o755, dir_fd=parent)
            if self._rules.owner is not None:
                os.chown(base, *self._rules.owner, dir_fd=parent, follow_symlinks=False)
            fd = os.open(base, _DIRECTORY, dir_fd=parent)
        self._forget()
        self._parent = (path, fd)
        return fd

    def _forget(self) -> None:
        if self._parent[1] >= 0:
            os.close(self._parent[1])
        self._parent = (b"", -1)

    def _make_directory(self, entry: Entry, path: bytes, parent: int, base: bytes) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and self._leads_to_directory(path):
                return
            if not stat.S_ISDIR(found.st_mode):
                if not self._rules.overwrite:
                    raise StorageError(
                        f"cannot overwrite non-directory {shown(path)} with a directory",
                        remedy="remove it, or add --overwrite",
                    ) from None
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
        self._chown(entry, parent, base)
        self._directories.append((path, entry))

    def _leads_to_directory(self, path: bytes) -> bool:
        """Whether the rules of this tree let a link stand for the directory that it leads to."""
        try:
            os.close(self._open_directory(self._top, path))
        except OSError:
            return False
        return True

    def _file(self, entry: Entry, reader: TarReader, parent: int, base: bytes) -> None:
        fd = self._create(entry, parent, base)
        try:
            if entry.segments is None:
                for piece in reader.data():
                    _write_all(fd, piece)
            else:
                _write_sparse(fd, entry, reader)
            self._dress(entry, fd)
        finally:
            os.close(fd)

    def _create(self, entry: Entry, parent: int, base: bytes) -> int:
        try:
            return os.open(base, _CREATE, 0o600, dir_fd=parent)
        except FileExistsError:
            try:
                self._clear(entry, parent, base)
            except OSError as error:
                # EBUSY: a file that is a mount point, as /etc/hosts of a container.
                if error.errno != errno.EBUSY:
                    raise
                return os.open(base, _IN_PLACE, dir_fd=parent)
        return os.open(base, _CREATE, 0o600, dir_fd=parent)

    def _clear(self, entry: Entry, parent: int, base: bytes) -> None:
        """Remove what is in the way; a directory only when that was asked for."""
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(base, dir_fd=parent)
            return
        if not self._rules.overwrite:
            raise StorageError(
                f"cannot overwrite directory {shown(base)} with non-directory {shown(entry.name)}",
                remedy="remove it, or add --overwrite",
            )
        self._forget_unless(parent)
        shutil.rmtree(os.fsdecode(base), dir_fd=parent)

    def _forget_unless(self, parent: int) -> None:
        if self._parent[1] != parent:
            self._forget()

    def _other(self, entry: Entry, parent: int, base: bytes) -> None:
        if entry.kind == LINK:
            self._link(entry, parent, base)
            return
        if entry.kind == SYMLINK:
            os.symlink(entry.link, base, dir_fd=parent)
        else:
            os.mkfifo(base, entry.mode & 0o777, dir_fd=parent)
        self._chown(entry, parent, base)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(base, ns=times, dir_fd=parent, follow_symlinks=False)

    def _link(self, entry: Entry, parent: int, base: bytes) -> None:
        here = os.dup(parent)
        try:
            above, _, name = self._path(entry.link).rpartition(b"/")
            os.link(
                name,
                base,
                src_dir_fd=self._directory(above),
                dst_dir_fd=here,
                follow_symlinks=False,
            )
        finally:
            os.close(here)

    def _owner(self, entry: Entry) -> tuple[int, int] | None:
        if self._rules.owner is not None:
            return self._rules.owner
        if not self._rules.keep_owners:
            return None
        if self._rules.host_ids is None:
            return entry.uid, entry.gid
        uids, gids = self._rules.host_ids
        return _own_id(uids, entry.uid), _own_id(gids, entry.gid)

    def _chown(self, entry: Entry, parent: int, base: bytes) -> None:
        owner = self._owner(entry)
        if owner is not None:
            _tolerate(lambda: os.chown(base, *owner, dir_fd=parent, follow_symlinks=False))

    def _dress(self, entry: Entry, fd: int) -> None:
        """Set owner, mode, attributes and time of what is open."""
        owner = self._owner(entry)
        if owner is not None:
            _tolerate(lambda: os.fchown(fd, *owner))
        kept = 0o7777 if self._rules.special_bits else 0o7777 & ~_SPECIAL_BITS
        os.fchmod(fd, entry.mode & kept)
        if entry.xattrs:
            set_from_layer(fd, entry.xattrs)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _finish(self) -> None:
        """Give directories what they have besides their names, the deepest first."""
        for path, entry in reversed(self._directories):
            try:
                above, _, base = path.rpartition(b"/")
                fd = os.open(base, _DIRECTORY, dir_fd=self._directory(above))
            except OSError:
                continue  # replaced since by somebody else
            try:
                self._dress(entry, fd)
            finally:
                os.close(fd)


def _own_id(ranges: Ranges, host_id: int) -> int:
    for inside, outside, count in ranges:
        if outside <= host_id < outside + count:
            return inside + host_id - outside
    return 0


def _tolerate(change: Callable[[], None]) -> None:
    """Leave the owner where the id has no place in the map (EINVAL) or is not ours (EPERM)."""
    try:
        change()
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise


def _write_all(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        piece = piece[written:]
        written = os.write(fd, piece)


def _write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    os.ftruncate(fd, entry.size)
    pieces = reader.data()
    piece = memoryview(b"")
    for offset, length in entry.segments or ():
        while length:
            if not piece:
                piece = next(pieces)
            written = os.pwrite(fd, piece[:length], offset)
            piece = piece[written:]
            offset += written
            length -= written


def _remedy(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "free disk space"
    if error.errno == errno.EROFS:
        return "the place is mounted read-only"
    return ""
