"""Look into a stack of unpacked layers without mounting it: for /etc/passwd before a start.

OCI image-spec, layer; kernel, overlayfs: a whiteout is a character device 0/0, an opaque directory
has the attribute `user.overlay.opaque`; both may be files where a host cannot make them (fuse-
overlayfs). Every component is looked at with lstat, so no link of an image is ever followed by the
kernel outside the layers.
"""

import errno
import os
import stat

from rootless.linux.userns import IdMaps, run_in_userns
from storage.record import NamedTuple

_MAX_LINKS = 40
_OPAQUE = "user.overlay.opaque"
_OPAQUE_FILE = ".wh..wh..opq"
_WHITEOUT_PREFIX = ".wh."
_ABSENT = (errno.ENOENT, errno.ENAMETOOLONG)


class Accounts(NamedTuple):
    """An image's passwd(5) and group(5), empty where it has none."""

    passwd: bytes
    group: bytes


def read_accounts(layers: list[str], maps: IdMaps) -> Accounts:
    """Read both files; as root of `maps` what an image hides from its own user.

    Raises HostError and its kinds.
    """
    try:
        return _read_accounts(layers)
    except PermissionError:
        found = run_in_userns(lambda _: [d.decode("latin-1") for d in _read_accounts(layers)], maps)
        assert isinstance(found, list)
        return Accounts._make(text.encode("latin-1") for text in found)


def _read_accounts(layers: list[str]) -> Accounts:
    return Accounts(
        read_merged(layers, "/etc/passwd") or b"", read_merged(layers, "/etc/group") or b""
    )


def read_merged(layers: list[str], path: str, *, limit_bytes: int = 1 << 20) -> bytes | None:
    """Return a file's content as the container would see it; None when there is none.

    `layers` are diff directories, the top one first. Raises PermissionError when an image hides
    the file from its own user.
    """
    real = _resolve(layers, path)
    if real is None:
        return None
    fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < limit_bytes and (chunk := os.read(fd, limit_bytes - len(data))):
            data += chunk
        return data
    finally:
        os.close(fd)


def find_directory(layers: list[str], path: str, known: dict[str, list[str]]) -> list[str]:
    """Return the directories that make up the one at `path`, the top one first; [] for none.

    A path over links counts as none. `known` keeps what was found, for the next path.
    """
    here, so_far = layers, ""
    for name in path.split("/"):
        if name in ("", ".", ".."):
            continue
        so_far += f"/{name}"
        found = known.get(so_far)
        if found is None:
            seen = _look_up(here, name)
            found = known[so_far] = seen if isinstance(seen, list) else []
        if not found:
            return []
        here = found
    return here


def _resolve(layers: list[str], path: str) -> str | None:
    """Return where the regular file at `path` lies in the layers."""
    todo = [part for part in reversed(path.split("/")) if part]
    above: list[list[str]] = []
    here = layers
    links = 0
    while todo:
        name = todo.pop()
        if name == ".":
            continue
        if name == "..":
            here = above.pop() if above else here
            continue
        found = _look_up(here, name)
        if isinstance(found, list):
            above.append(here)
            here = found
            continue
        if found is None:
            return None
        mode = os.lstat(found).st_mode
        if stat.S_ISLNK(mode):
            links += 1
            if links > _MAX_LINKS:
                return None
            target = os.readlink(found)
            if target.startswith("/"):
                here, above = layers, []
            todo += [part for part in reversed(target.split("/")) if part]
            continue
        return found if stat.S_ISREG(mode) and not todo else None
    return None


def _look_up(directories: list[str], name: str) -> list[str] | str | None:
    """Find an entry: the directories that make it up, the path of something else, or None."""
    merged: list[str] = []
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            found = os.lstat(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            if _exists(f"{directory}/{_WHITEOUT_PREFIX}{name}"):
                break
            continue
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            break
        if not stat.S_ISDIR(found.st_mode):
            return merged or path
        merged.append(path)
        if _is_opaque(path):
            break
    return merged or None


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        # ENODATA; EOPNOTSUPP where there are no user attributes.
        return _exists(f"{path}/{_OPAQUE_FILE}")


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return False
    return True
