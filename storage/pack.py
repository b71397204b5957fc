"""Write a file or a tree as a tar archive, from descriptors: no link is followed on the way.

What `cp` and `export` read may be changed by a container at the same moment, so every directory is
opened with O_NOFOLLOW below one that is open, and nothing is looked up by a joined path.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator

from storage.owners import Owner, recorded, with_owner
from storage.tar import BLOCK
from storage.tar_writer import AS_THEY_ARE, TYPES, Packed, Times, attribute_records, write_header
from storage.tree import OPAQUE_FILE, WHITEOUT_PREFIX
from storage.xattrs import is_opaque

_CHUNK_BYTES = 1 << 18
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SEGMENTS_LIMIT = 4000
END = bytes(2 * BLOCK)

OwnerOf = Callable[[bytes, int, os.stat_result], Owner | None]
"""(name in the archive, descriptor or -1, stat) -> the owner, None for the one that stat found."""


def recorded_owner(_: bytes, fd: int, found: os.stat_result) -> Owner | None:
    """Return what is recorded with a file that belongs to root: others have their real owner."""
    return recorded(fd) if fd >= 0 and found.st_uid == 0 and found.st_gid == 0 else None


class Packer:
    """Packs trees into one archive; hard links between what it has packed are kept.

    With `layer` the tree is an upper directory of overlayfs, and the archive a layer (OCI
    image-spec, layer: whiteouts); without, files are kept sparse unless told not to. `times` says
    what becomes of times of modification, `owner_of` knows owners that the files themselves do not
    have.
    `entries` and `size_bytes` (of the files) count what was packed.
    """

    def __init__(
        self,
        *,
        layer: bool = False,
        sparse: bool = True,
        times: Times = AS_THEY_ARE,
        owner_of: OwnerOf = recorded_owner,
    ) -> None:
        self._layer = layer
        self._sparse_files = sparse and not layer
        self._times = times
        self._owner_of = owner_of
        self.entries = 0
        self.size_bytes = 0
        self._seen: dict[tuple[int, int], bytes] = {}

    def tree(self, directory: int, name: bytes, *, top: bool = True) -> Iterator[bytes]:
        """Yield a directory under `name`, and everything below; without `top` only what is below.

        Sockets are left out, and what goes away meanwhile. Raises OSError.
        """
        if top:
            shown = name + b"/" if name else b"./"
            found = self._owned(name, directory, os.fstat(directory))
            yield from self._entry(directory, Packed(shown, b"5", b"", found))
        names = sorted(map(os.fsencode, os.listdir(directory)))
        if self._layer and name and (OPAQUE_FILE in names or is_opaque(directory)):
            yield self._marker(name + b"/" + OPAQUE_FILE, os.fstat(directory))
        for raw in names:
            if self._layer and raw == OPAQUE_FILE:
                continue
            try:
                yield from self._member(directory, raw, name + b"/" + raw if name else raw)
            except FileNotFoundError:
                continue

    def entry(self, parent: int, base: bytes, name: bytes) -> Iterator[bytes]:
        """Yield one entry of a directory under `name`, a directory without what is below it.

        Nothing for what has gone meanwhile. Raises OSError.
        """
        try:
            yield from self._member(parent, base, name, below=False)
        except FileNotFoundError:
            return

    def removed(self, parent: int, name: bytes) -> Iterator[bytes]:
        """Yield what says that a name of an open directory is gone. Raises OSError."""
        directory, slash, base = name.rpartition(b"/")
        yield self._marker(directory + slash + WHITEOUT_PREFIX + base, os.fstat(parent))

    def file(self, fd: int, name: bytes) -> Iterator[bytes]:
        """Yield a regular file that is open. Raises OSError."""
        found = self._owned(name, fd, os.fstat(fd))
        if (device := TYPES[stat.S_IFMT(found.st_mode)]) != b"0":
            yield from self._entry(fd, Packed(name, device, b"", found))
            return
        if found.st_nlink > 1:
            first = self._seen.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                yield from self._entry(fd, Packed(name, b"1", first, found))
                return
        segments = _segments(fd, found) if self._sparse_files else None
        if segments is None:
            yield from self._entry(fd, Packed(name, b"0", b"", found))
            yield from _content(fd, [(0, found.st_size)])
            yield bytes(-found.st_size % BLOCK)
            return
        yield from self._sparse(fd, name, found, segments)

    def _member(
        self, parent: int, base: bytes, name: bytes, *, below: bool = True
    ) -> Iterator[bytes]:
        found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        kind = TYPES.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return
        if self._layer and kind == b"3" and found.st_rdev == 0:
            directory, _, hidden = name.rpartition(b"/")
            marker = WHITEOUT_PREFIX + hidden
            yield self._marker(directory + b"/" + marker if directory else marker, found)
            return
        if kind in b"05":
            try:
                fd = os.open(base, _FLAGS, dir_fd=parent)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                return  # it has just become a link: a container plays with us
            try:
                now = os.fstat(fd).st_mode
                if stat.S_ISDIR(now) and below:
                    yield from self.tree(fd, name)
                elif stat.S_ISDIR(now):
                    owned = self._owned(name, fd, os.fstat(fd))
                    yield from self._entry(fd, Packed(name + b"/", b"5", b"", owned))
                elif stat.S_ISREG(now):
                    yield from self.file(fd, name)
            finally:
                os.close(fd)
            return
        link = os.readlink(base, dir_fd=parent) if kind == b"2" else b""
        yield self._header(Packed(name, kind, link, self._owned(name, -1, found)), {})

    def _owned(self, name: bytes, fd: int, found: os.stat_result) -> os.stat_result:
        """Return what stat has found with the owner that is recorded."""
        owner = self._owner_of(name, fd, found)
        return found if owner is None else with_owner(found, owner)

    def _entry(self, fd: int, packed: Packed) -> Iterator[bytes]:
        yield self._header(packed, attribute_records(fd) if packed.kind in b"05" else {})

    def _marker(self, name: bytes, found: os.stat_result) -> bytes:
        """Return the empty file that stands for something removed."""
        fields = (stat.S_IFREG, *found[1:4], 0, 0, 0, *found[7:10])
        plain = os.stat_result(fields, {"st_mtime_ns": found.st_mtime_ns, "st_rdev": 0})
        return self._header(Packed(name, b"0", b"", plain), {})

    def _header(
        self, packed: Packed, extra: dict[bytes, bytes], *, size: int | None = None
    ) -> bytes:
        found = packed.found
        self.entries += 1
        if packed.kind == b"0":
            self.size_bytes += found.st_size
        changed = self._times.apply(found)
        if changed is not found:
            packed = packed._replace(found=changed)
        return write_header(packed, extra, size=size)

    def _sparse(
        self, fd: int, name: bytes, found: os.stat_result, segments: list[tuple[int, int]]
    ) -> Iterator[bytes]:
        """Yield a sparse file: GNU tar, "PAX Format, Version 1.0"."""
        if not segments or sum(segments[-1]) < found.st_size:
            segments = [*segments, (found.st_size, 0)]
        table = b"%d\n" % len(segments)
        table += b"".join(b"%d\n%d\n" % segment for segment in segments)
        table += bytes(-len(table) % BLOCK)
        length = sum(length for _, length in segments)
        extra = attribute_records(fd) | {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": name,
            b"GNU.sparse.realsize": b"%d" % found.st_size,
        }
        parent, _, base = name.rpartition(b"/")
        shown = b"/".join(part for part in (parent, b"GNUSparseFile.0", base) if part)
        yield self._header(Packed(shown, b"0", b"", found), extra, size=len(table) + length)
        yield table
        yield from _content(fd, segments)
        yield bytes(-length % BLOCK)


def _segments(fd: int, found: os.stat_result) -> list[tuple[int, int]] | None:
    """Return where a sparse file has data; None for one without holes worth the name."""
    if found.st_blocks * 512 >= found.st_size:
        return None
    segments: list[tuple[int, int]] = []
    position = 0
    try:
        while position < found.st_size and len(segments) < _SEGMENTS_LIMIT:
            position = os.lseek(fd, position, os.SEEK_DATA)
            end = os.lseek(fd, position, os.SEEK_HOLE)
            segments.append((position, min(end, found.st_size) - position))
            position = end
    except OSError as error:
        # ENXIO: no more data. EINVAL: a file system that cannot tell.
        if error.errno != errno.ENXIO:
            return None
    if len(segments) >= _SEGMENTS_LIMIT or segments == [(0, found.st_size)]:
        return None
    return segments


def _content(fd: int, segments: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield exactly the promised number of bytes, also when the file changes meanwhile."""
    for offset, length in segments:
        left = length
        while left:
            chunk = os.pread(fd, min(left, _CHUNK_BYTES), offset)
            if not chunk:
                chunk = bytes(min(left, _CHUNK_BYTES))
            left -= len(chunk)
            offset += len(chunk)
            yield chunk
