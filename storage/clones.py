"""Layers for another id map, from layers that are unpacked: the bytes of the files are shared.

Only where the file system shares them (FICLONE: btrfs, xfs, bcachefs); elsewhere a copy would cost
what unpacking costs, without its checks. Runs as root of the new map's user namespace, over the
same ids of the host as the old one has: what the old map calls `i` is seen here under another
number, and is to become `i`.
"""

import os
import stat
import struct

from storage.errors import StorageError, from_os_error
from storage.layers import IdMap, LayerBuilder, has_layer, layer_lock, read_layer
from storage.layout import Layout
from storage.record import NamedTuple
from storage.scratch import Scratch
from storage.unpack import UnpackResult
from storage.xattrs import OPAQUE, copy_all

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409
_CAPABILITY = "security.capability"
_CAPABILITY_2, _CAPABILITY_3, _REVISION = 0x02000000, 0x03000000, 0xFF000000
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_ACL_HEAD = 4
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP = 0x02, 0x08


class Origin(NamedTuple):
    """Where layers are unpacked already: the key of their map, and the map."""

    map_key: str
    uids: IdMap
    gids: IdMap


def can_share(layout: Layout) -> bool:
    """Tell whether two files of the store can have their bytes in common. Raises StoreUnusable."""
    with Scratch(layout, "probe") as scratch:
        try:
            source = os.open(f"{scratch.path}/a", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(source, bytes(4096))
                target = os.open(f"{scratch.path}/b", _CREATE, 0o600)
                try:
                    return _share(source, target)
                finally:
                    os.close(target)
            finally:
                os.close(source)
        except OSError as error:
            raise from_os_error(f"write to {scratch.path}", error) from error


def _share(source: int, target: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        # ENOTTY, EOPNOTSUPP, EINVAL, EXDEV, ETXTBSY: here it is not possible, whatever the reason.
        return False
    return True


def clone_layers(
    layout: Layout, map_key: str, chain_ids: tuple[str, ...], origin: Origin, here: Origin
) -> int:
    """Make the layers of an image that are missing for `map_key`; return how many were made.

    What cannot be made this way (it is not there for the other map, or has owners that this one
    has no place for) is left to be unpacked. Raises StoreUnusable, DiskFull.
    """
    made = 0
    for chain_id in chain_ids:
        with layer_lock(layout, chain_id):
            if has_layer(layout, map_key, chain_id):
                continue
            if not has_layer(layout, origin.map_key, chain_id):
                continue
            made += _clone(layout, map_key, chain_id, origin, here)
    return made


def _clone(layout: Layout, map_key: str, chain_id: str, origin: Origin, here: Origin) -> int:
    record = read_layer(layout, origin.map_key, chain_id)
    with LayerBuilder(layout, map_key, chain_id) as builder:
        try:
            _Clone(layout.layer_diff(origin.map_key, chain_id), builder.diff, origin, here).run()
        except (OSError, _NoPlace):
            return 0
        builder.publish(
            UnpackResult(record.diff_id, record.size_bytes, record.entries, record.notes, ())
        )
    return 1


class _NoPlace(StorageError):
    """An id of a file is in no range of the map."""


class _Clone:
    """Makes one tree like another, with owners translated."""

    def __init__(self, source: str, target: str, origin: Origin, here: Origin) -> None:
        self._source = os.fsencode(source)
        self._target = os.fsencode(target)
        self._uids = _Translation(here.uids, origin.uids)
        self._gids = _Translation(here.gids, origin.gids)
        self._links: dict[int, bytes] = {}

    def run(self) -> None:
        """Copy everything. Raises OSError, _NoPlace."""
        todo = [b""]
        directories: list[bytes] = []
        while todo:
            directory = todo.pop()
            directories.append(directory)
            source = os.open(os.path.join(self._source, directory), _OPEN_DIRECTORY)
            there = os.open(os.path.join(self._target, directory), _OPEN_DIRECTORY)
            try:
                for entry in os.listdir(source):
                    name = os.fsencode(entry)
                    if self._one(source, there, name, directory):
                        todo.append(directory + name + b"/")
            finally:
                os.close(source)
                os.close(there)
        for directory in reversed(directories):
            self._dress(directory)

    def _one(self, source: int, there: int, name: bytes, directory: bytes) -> bool:
        """Make one entry; True for a directory, whose content is to be made, too."""
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=there)
            return True
        if found.st_nlink > 1:
            first = self._links.setdefault(found.st_ino, directory + name)
            if first != directory + name:
                path = os.path.join(self._target, first)
                os.link(path, name, dst_dir_fd=there, follow_symlinks=False)
                return False
        if kind == stat.S_IFREG:
            self._file(source, there, name, found)
            return False
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=there)
        else:
            # Pipes, and the devices 0/0 that stand for removed files: a namespace may make those.
            os.mknod(name, kind | 0o600, found.st_rdev, dir_fd=there)
        self._own(found, name, there)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=there)
        text = os.fsdecode(name)
        copy_all(f"/proc/self/fd/{source}/{text}", f"/proc/self/fd/{there}/{text}")
        times = (found.st_atime_ns, found.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=there, follow_symlinks=False)
        return False

    def _file(self, source: int, there: int, name: bytes, found: os.stat_result) -> None:
        old = os.open(name, _OPEN_FILE, dir_fd=source)
        try:
            new = os.open(name, _CREATE, 0o600, dir_fd=there)
            try:
                if found.st_size and not _share(old, new):
                    raise OSError("the file system does not share this file")
                self._finish(old, new, found)
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _dress(self, directory: bytes) -> None:
        source = os.open(os.path.join(self._source, directory), _OPEN_DIRECTORY)
        there = os.open(os.path.join(self._target, directory), _OPEN_DIRECTORY)
        try:
            self._finish(source, there, os.fstat(source))
        finally:
            os.close(source)
            os.close(there)

    def _finish(self, source: int, target: int, found: os.stat_result) -> None:
        os.chown(target, self._uids.of(found.st_uid), self._gids.of(found.st_gid))
        os.chmod(target, stat.S_IMODE(found.st_mode))
        copy_all(source, target)
        self._special(source, target)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _own(self, found: os.stat_result, name: bytes, there: int) -> None:
        uid, gid = self._uids.of(found.st_uid), self._gids.of(found.st_gid)
        os.chown(name, uid, gid, dir_fd=there, follow_symlinks=False)

    def _special(self, source: int, target: int) -> None:
        """Attributes that name ids, and the mark of overlay that no layer may bring along."""
        names = os.listxattr(source)
        if OPAQUE in names:
            os.setxattr(target, OPAQUE, os.getxattr(source, OPAQUE))
        if _CAPABILITY in names:
            os.setxattr(target, _CAPABILITY, _without_root(os.getxattr(source, _CAPABILITY)))
        for name in _ACLS:
            if name in names:
                os.setxattr(target, name, self._acl(os.getxattr(source, name)))

    def _acl(self, data: bytes) -> bytes:
        out = data[:_ACL_HEAD]
        for tag, bits, identity in _ACL_ENTRY.iter_unpack(data[_ACL_HEAD:]):
            if tag == _ACL_USER:
                identity = self._uids.of(identity)
            elif tag == _ACL_GROUP:
                identity = self._gids.of(identity)
            out += _ACL_ENTRY.pack(tag, bits, identity)
        return out


def _without_root(capability: bytes) -> bytes:
    """Return a capability without its root id: the kernel adds that of the namespace."""
    (magic,) = struct.unpack_from("<I", capability)
    if magic & _REVISION != _CAPABILITY_3:
        return capability
    return struct.pack("<I", _CAPABILITY_2 | magic & ~_REVISION) + capability[4:-4]


class _Translation:
    """From an id as it is seen here to the one that the other map calls it."""

    def __init__(self, here: IdMap, other: IdMap) -> None:
        self._here = here
        self._other = other
        self._known: dict[int, int] = {}

    def of(self, seen: int) -> int:
        """Return the id. Raises _NoPlace."""
        if seen not in self._known:
            self._known[seen] = self._look(seen)
        return self._known[seen]

    def _look(self, seen: int) -> int:
        for inside, outside, count in self._here:
            if inside <= seen < inside + count:
                host_id = outside + seen - inside
                for start, first, length in self._other:
                    if first <= host_id < first + length:
                        return start + host_id - first
        raise _NoPlace(f"the id {seen} is in no range")
