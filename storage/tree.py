"""The tree that a layer is unpacked into: directories by descriptor, no link followed out of it.

Nobody else changes the tree while it is built, so a directory that was opened stays what it was
until an entry of the layer replaces it, and then everything remembered is forgotten.
"""

import errno
import os
import stat

from storage.errors import InvalidLayer
from storage.remove import remove_tree
from storage.xattrs import make_opaque

WHITEOUT_PREFIX = b".wh."
OPAQUE_FILE = b".wh..wh..opq"
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_DESCRIPTORS = 48
_KEPT_DIRECTORIES = 20_000
_STEPS_LIMIT = 10_000
_PATH_LIMIT_BYTES = 4096
_IMPLIED_MODE = 0o755
_NOT_A_DIRECTORY = (errno.ELOOP, errno.ENOTDIR)


class DirectoryMeta:
    """What a directory gets at the end, when nothing in it changes any more."""

    __slots__ = ("mode", "mtime_ns")

    def __init__(self, mode: int, mtime_ns: int | None) -> None:
        self.mode = mode
        self.mtime_ns = mtime_ns


class Tree:
    """Opens, makes and replaces things below `root`, the empty directory to unpack into."""

    def __init__(self, root: str) -> None:
        self._root_path = os.fsencode(root)
        self.root = os.open(root, _OPEN_DIRECTORY)
        self._open: dict[bytes, int] = {}
        self._real: dict[bytes, bytes] = {}
        self._metas: dict[bytes, DirectoryMeta] = {b"": DirectoryMeta(_IMPLIED_MODE, None)}

    def close(self) -> None:
        """Let go of every descriptor."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        os.close(self.root)

    def split(self, name: bytes) -> tuple[bytes, bytes]:
        """Split a name of the archive into directory and last part; (b"", b"") is the root.

        Absolute names count from the root. Raises InvalidLayer for one with `..`.
        """
        if b".." in name and b".." in name.split(b"/"):
            raise InvalidLayer(f"entry {shown(name)}: '..' would lead out of the layer")
        if len(name) > _PATH_LIMIT_BYTES:
            raise InvalidLayer(
                f"entry {shown(name)}: a name of {len(name)} bytes, at most {_PATH_LIMIT_BYTES}"
                " can be used"
            )
        parent, _, base = name.rpartition(b"/")
        if base in (b"", b"."):
            parts = [part for part in name.split(b"/") if part not in (b"", b".")]
            base = parts.pop() if parts else b""
            parent = b"/".join(parts)
        return parent, base

    def directory(self, path: bytes, *, make: bool = True) -> int:
        """Return a descriptor of a directory, valid until the next call; missing ones are made.

        Raises FileNotFoundError when it is missing and not to be made, and InvalidLayer.
        """
        fd = self._open.get(path)
        if fd is not None:
            return fd
        if not path:
            return self.root
        fd, real = self._walk(path, make=make)
        if len(self._open) >= _KEPT_DESCRIPTORS:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))
            del self._real[oldest]
        self._open[path] = fd
        self._real[path] = real
        return fd

    def real_path(self, parent: bytes, base: bytes) -> bytes:
        """Return the path from the root without links of what `directory` has opened last."""
        real = self._real.get(parent, b"") if parent in self._open else b""
        return b"/".join(part for part in (real, base) if part)

    def note_directory(self, real: bytes, meta: DirectoryMeta) -> None:
        """Remember what a directory is to become."""
        self._metas[real] = meta
        if len(self._metas) > _KEPT_DIRECTORIES:
            # Of so many only the latest are kept in memory; a time may then be later than wanted.
            root = self._metas.pop(b"")
            self._apply_metas()
            self._metas = {b"": root}

    def finish(self) -> None:
        """Give directories their mode and time of modification. Raises OSError."""
        self._apply_metas()

    def finish_new(self) -> None:
        """Give only the directories that were made on the way their mode. Raises OSError."""
        del self._metas[b""]
        self._apply_metas()

    def clear_way(self, directory: int, base: bytes) -> bool:
        """Remove what is in the way of a new entry; True when it was a whiteout."""
        found = os.stat(base, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._forget(directory)
            remove_tree(f"/proc/self/fd/{directory}/{os.fsdecode(base)}")
            return False
        if stat.S_ISLNK(found.st_mode):
            self._forget(directory)
        os.unlink(base, dir_fd=directory)
        return stat.S_ISCHR(found.st_mode)

    def make_directory(self, directory: int, base: bytes) -> bool:
        """Make a directory, or find it; True when it is new. One on a whiteout is opaque."""
        try:
            os.mkdir(base, 0o700, dir_fd=directory)
        except FileExistsError:
            found = os.stat(base, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return False
            whiteout = self.clear_way(directory, base)
            os.mkdir(base, 0o700, dir_fd=directory)
            if whiteout:
                self._make_opaque(directory, base)
        return True

    def hide_lower(self, directory: int) -> None:
        """Hide everything that lower layers have in a directory."""
        try:
            make_opaque(directory)
        except OSError as error:
            # File systems without user attributes; fuse-overlayfs reads this form as well.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            _touch(OPAQUE_FILE, directory)

    def white_out(self, directory: int, base: bytes) -> None:
        """Hide `base` of the lower layers; what this layer has under that name stays."""
        try:
            os.mknod(base, stat.S_IFCHR, 0, dir_fd=directory)
        except FileExistsError:
            found = os.stat(base, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._make_opaque(directory, base)
        except PermissionError:
            # Before Linux 5.8 only root could make one; fuse-overlayfs reads this form as well.
            _touch(WHITEOUT_PREFIX + base, directory)

    def _make_opaque(self, directory: int, base: bytes) -> None:
        fd = os.open(base, _OPEN_DIRECTORY, dir_fd=directory)
        try:
            self.hide_lower(fd)
        finally:
            os.close(fd)

    def _walk(self, path: bytes, *, make: bool) -> tuple[int, bytes]:
        """Open a directory part by part, resolving links as if `root` were `/`."""
        todo = _parts(path)
        real: list[bytes] = []
        fd = os.dup(self.root)
        try:
            for _ in range(_STEPS_LIMIT):
                if not todo:
                    return fd, b"/".join(real)
                part = todo.pop()
                target = b""
                if part == b"..":
                    # Walk again to the parent: one descriptor is enough for any depth.
                    target = b"/" + b"/".join(real[:-1])
                else:
                    below = self._open_part(fd, part, make=make, real=real)
                    if below is not None:
                        os.close(fd)
                        fd = below
                        real.append(part)
                        continue
                    target = self._read_link(fd, part, path)
                if target.startswith(b"/"):
                    os.close(fd)
                    fd = os.dup(self.root)
                    real.clear()
                todo.extend(_parts(target))
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise InvalidLayer(f"entry below {shown(path)}: too many symbolic links")

    def _open_part(self, parent: int, part: bytes, *, make: bool, real: list[bytes]) -> int | None:
        """Open one directory, made when it is missing; None when it is not a directory."""
        try:
            return os.open(part, _OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in _NOT_A_DIRECTORY:
                raise
            if not make or not self._is_whiteout(parent, part):
                return None
        self.make_directory(parent, part)
        self.note_directory(b"/".join([*real, part]), DirectoryMeta(_IMPLIED_MODE, None))
        return os.open(part, _OPEN_DIRECTORY, dir_fd=parent)

    def _is_whiteout(self, parent: int, part: bytes) -> bool:
        return stat.S_ISCHR(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode)

    def _read_link(self, parent: int, part: bytes, path: bytes) -> bytes:
        try:
            return os.readlink(part, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        raise InvalidLayer(f"entry below {shown(path)}: {shown(part)} is not a directory")

    def _forget(self, in_use: int) -> None:
        """Give up what is known of directories, one of which is about to go."""
        self._apply_metas()
        self._metas = {b"": self._metas[b""]}
        kept = {path: fd for path, fd in self._open.items() if fd == in_use}
        for fd in self._open.values():
            if fd != in_use:
                os.close(fd)
        self._open = kept
        self._real = {path: self._real[path] for path in kept}

    def _apply_metas(self) -> None:
        for real, meta in reversed(self._metas.items()):
            path = self._root_path + b"/" + real if real else self._root_path
            os.chmod(path, meta.mode)
            if meta.mtime_ns is not None:
                os.utime(path, ns=(meta.mtime_ns, meta.mtime_ns))


def _touch(name: bytes, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o600, dir_fd=directory))


def _parts(path: bytes) -> list[bytes]:
    """Return the parts of a path, the first one last, to be popped."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def shown(name: bytes) -> str:
    """Return a name for a message: bounded, and without control characters."""
    text = name[:200].decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in text) + ("..." if len(name) > 200 else "")
