"""Write a directory as a tar archive: PAX, sorted, hard links and extended attributes kept."""

import os
import stat
from collections.abc import Iterator

from storage.errors import from_os_error
from storage.record import NamedTuple
from storage.tar import BLOCK
from storage.xattrs import read_allowed

_CHUNK_BYTES = 1 << 19
_OCTAL_SIZE_LIMIT = 1 << 33
_OCTAL_ID_LIMIT = 1 << 21
_NAME_LIMIT = 100
TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


def tar_directory(root: str, *, without: str = "") -> Iterator[bytes]:
    """Yield the archive of everything below `root`; sockets and `without` are left out.

    Raises StoreUnusable when something cannot be read.
    """
    seen: dict[tuple[int, int], bytes] = {}
    try:
        left_out = _identity(without) if without else None
        yield from _entry(os.fsencode(root), b"./", os.stat(root), seen)
        todo = [b""]
        while todo:
            directory = todo.pop()
            path = os.path.join(os.fsencode(root), directory)
            below = []
            for name in sorted(os.listdir(path)):
                found = os.lstat(os.path.join(path, name))
                if (found.st_dev, found.st_ino) == left_out:
                    continue
                relative = os.path.join(directory, name)
                if stat.S_ISDIR(found.st_mode):
                    below.append(relative)
                yield from _entry(os.path.join(path, name), relative, found, seen)
            todo.extend(reversed(below))
    except OSError as error:
        raise from_os_error(f"read {root}", error) from error
    yield bytes(2 * BLOCK)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _entry(
    path: bytes, name: bytes, found: os.stat_result, seen: dict[tuple[int, int], bytes]
) -> Iterator[bytes]:
    kind = TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return
    link = b""
    if kind == b"0" and found.st_nlink > 1:
        link = seen.setdefault((found.st_dev, found.st_ino), name)
        kind = b"0" if link == name else b"1"
        link = b"" if kind == b"0" else link
    elif kind == b"2":
        link = os.readlink(path)
    shown = name + b"/" if kind == b"5" and not name.endswith(b"/") else name
    attributes = attribute_records(os.fsdecode(path)) if kind in b"05" else {}
    yield write_header(Packed(shown, kind, link, found), attributes)
    if kind == b"0":
        yield from _content(path, found.st_size)


def _content(path: bytes, size: int) -> Iterator[bytes]:
    """Yield exactly the promised number of bytes, also when the file changes meanwhile."""
    left = size
    with open(path, "rb", buffering=0) as file:
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES)) or b""
            if not chunk:
                chunk = bytes(min(left, _CHUNK_BYTES))
            left -= len(chunk)
            yield chunk
    if size % BLOCK:
        yield bytes(-size % BLOCK)


class Times(NamedTuple):
    """What becomes of times of modification: none is later than `latest_s`, with `exact` all are.

    The same files at another time, or on another machine, then make the same archive.
    """

    latest_s: int | None = None
    exact: bool = False

    def apply(self, found: os.stat_result) -> os.stat_result:
        """Return a file's metadata with the time that it gets."""
        if self.latest_s is None:
            return found
        latest_ns = self.latest_s * 1_000_000_000
        if found.st_mtime_ns == latest_ns or (not self.exact and found.st_mtime_ns < latest_ns):
            return found
        times = {"st_mtime_ns": latest_ns, "st_rdev": found.st_rdev}
        return os.stat_result((*found[:8], self.latest_s, found[9]), times)


AS_THEY_ARE = Times()


class Packed(NamedTuple):
    """What the header of an entry is made of."""

    name: bytes
    kind: bytes
    link: bytes
    found: os.stat_result


def write_header(packed: Packed, extra: dict[bytes, bytes], *, size: int | None = None) -> bytes:
    """Return the header of an entry, with PAX records where ustar has no room.

    `extra` are further records; `size` is for an entry whose data is not the file's.
    """
    name, kind, link, found = packed
    if size is None:
        size = found.st_size if kind == b"0" else 0
    records: dict[bytes, bytes] = {}
    if len(name) > _NAME_LIMIT:
        records[b"path"] = name
    if len(link) > _NAME_LIMIT:
        records[b"linkpath"] = link
    for key, number, limit in (
        (b"size", size, _OCTAL_SIZE_LIMIT),
        (b"uid", found.st_uid, _OCTAL_ID_LIMIT),
        (b"gid", found.st_gid, _OCTAL_ID_LIMIT),
    ):
        if number >= limit:
            records[key] = b"%d" % number
    seconds, nanoseconds = divmod(found.st_mtime_ns, 1_000_000_000)
    if nanoseconds or not 0 <= seconds < _OCTAL_SIZE_LIMIT:
        records[b"mtime"] = _decimal(found.st_mtime_ns)
    records |= extra
    block = _block(name, kind, link, found, 0 if b"size" in records else size)
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in records.items())
    extended = _block(b"PaxHeaders/" + name[-80:], b"x", b"", found, len(data))
    return extended + data + bytes(-len(data) % BLOCK) + block


def attribute_records(target: int | str) -> dict[bytes, bytes]:
    """Return the extended attributes of a file as PAX records."""
    return {b"SCHILY.xattr." + name: value for name, value in read_allowed(target).items()}


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    whole, part = divmod(abs(nanoseconds), 1_000_000_000)
    return b"%s%d.%09d" % (sign, whole, part)


def _record(key: bytes, value: bytes) -> bytes:
    """Write "%d %s=%s\\n"; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(name: bytes, kind: bytes, link: bytes, found: os.stat_result, size: int) -> bytes:
    seconds = min(max(found.st_mtime_ns // 1_000_000_000, 0), _OCTAL_SIZE_LIMIT - 1)
    fields = (
        name[:_NAME_LIMIT].ljust(_NAME_LIMIT, b"\0")
        + b"%07o\0" % stat.S_IMODE(found.st_mode)
        + b"%07o\0" % (found.st_uid if found.st_uid < _OCTAL_ID_LIMIT else 0)
        + b"%07o\0" % (found.st_gid if found.st_gid < _OCTAL_ID_LIMIT else 0)
        + b"%011o\0" % size
        + b"%011o\0" % seconds
    )
    rest = (
        kind
        + link[:_NAME_LIMIT].ljust(_NAME_LIMIT, b"\0")
        + b"ustar\x0000"
        + bytes(64)
        + b"%07o\0" % os.major(found.st_rdev)
        + b"%07o\0" % os.minor(found.st_rdev)
    )
    checksum = sum(fields) + sum(rest) + 8 * 0x20
    return (fields + b"%06o\0 " % checksum + rest).ljust(BLOCK, b"\0")
