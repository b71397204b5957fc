"""Extended attributes: which of them a layer may set, and the one that makes a directory opaque."""

import errno
import os

from storage.owners import ATTRIBUTE

OPAQUE = "user.overlay.opaque"
"""What overlayfs with `userxattr` reads, and fuse-overlayfs too."""

_OVERLAY = (b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers.")
# What overlayfs notes for itself (overlayfs.rst, "Inode properties", "nlink"): podman's layers have
# it. It says nothing of what is in a file, so nobody misses it.
OVERLAY_NOTES = frozenset(
    prefix + note
    for prefix in (b"user.overlay.", b"trusted.overlay.")
    for note in (b"origin", b"impure", b"nlink", b"upper", b"uuid")
)
_ALLOWED = (b"user.", b"system.posix_acl_")
_CAPABILITY = b"security.capability"
_REFUSALS = (
    errno.EPERM,  # user.* on a symlink or a special file; no right to set it in this namespace
    errno.EACCES,
    errno.ENOTSUP,  # the file system has no such attributes
    errno.EINVAL,  # an ACL or a capability that names ids outside of the namespace
    errno.ENOSPC,  # ext4 keeps the attributes of a file in one block
    errno.E2BIG,
    errno.ERANGE,
)


def is_allowed(name: bytes) -> bool:
    """Tell whether a layer may set an attribute.

    Those by which overlay file systems mark their own files would let a layer forge such marks;
    trusted.* and labels of security modules belong to the host.
    """
    if name.startswith(_OVERLAY):
        return False
    return name == _CAPABILITY or name.startswith(_ALLOWED)


def set_from_layer(target: int | str, attributes: dict[bytes, bytes]) -> list[str]:
    """Set attributes on a descriptor, or on a path without following a link.

    Returns the names of those that were refused, but for what means nothing elsewhere. Raises
    OSError for other failures.
    """
    import xattr

    refused = []
    for name, value in attributes.items():
        if name in OVERLAY_NOTES:
            continue
        shown = name.decode(errors="replace")
        if not is_allowed(name) or b"\0" in name:
            refused.append(shown)
            continue
        try:
            xattr.setxattr(target, os.fsdecode(name), value, 0, isinstance(target, str))
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            refused.append(shown)
    return refused


def make_opaque(directory: int) -> None:
    """Hide what lower layers have in a directory. Raises OSError."""
    import xattr

    xattr.setxattr(directory, OPAQUE, b"y")


def is_opaque(directory: int) -> bool:
    """Tell whether a directory hides what lower layers have in it. Raises OSError."""
    import xattr

    try:
        return bool(xattr.getxattr(directory, OPAQUE) == b"y")
    except OSError as error:
        # ENOTSUP: a file system without user attributes holds no marks either.
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return False


def copy_all(source: int | str, target: int | str) -> None:
    """Copy the attributes that a layer may have, and a recorded owner; descriptors or paths.

    Links are not followed; what the target refuses is left out. Raises OSError.
    """
    import xattr

    nofollow = isinstance(source, str)
    for name in xattr.listxattr(source, nofollow):
        if is_allowed(os.fsencode(name)) or name == ATTRIBUTE:
            value = xattr.getxattr(source, name, nofollow)
            try:
                xattr.setxattr(target, name, value, 0, isinstance(target, str))
            except OSError as error:
                if error.errno not in _REFUSALS:
                    raise


def read_allowed(target: int | str) -> dict[bytes, bytes]:
    """Return the attributes of a descriptor or path that a layer may have; no link is followed.

    A file system without attributes has none.
    """
    import xattr

    nofollow = isinstance(target, str)
    try:
        names = xattr.listxattr(target, nofollow)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}
    return {
        os.fsencode(name): xattr.getxattr(target, name, nofollow)
        for name in names
        if is_allowed(os.fsencode(name))
    }
