"""What can go wrong with bytes on disk or on their way to it.

StorageError                    125
+-- StoreUnusable               the store directory cannot be made, read or written
|   +-- DiskFull                no space or quota left
|   +-- StoreTooNew             written by a newer rpod
+-- InvalidReference            an image name that breaks the grammar
+-- InvalidDocument             JSON from outside that breaks its specification, and where
+-- DigestMismatch              bytes are not what their digest or size promised
+-- BlobMissing                 a blob that a manifest names is not in the store
+-- InvalidLayer                a layer that cannot be or must not be unpacked
+-- InvalidArchive              not an image archive, or a broken one
+-- PolicyRefused               policy.json does not let an image in
+-- NotFound                    1 for `rm`-like commands, else 125
|   +-- ImageNotFound / ContainerNotFound / VolumeNotFound / NetworkNotFound / SecretNotFound
|   +-- PodNotFound
+-- Ambiguous                   an id prefix that several objects share
+-- InUse                       2: something still needs the object
+-- NameTaken                   a name that another object has
+-- RegistryError               the registry refused, lied or is not there
    +-- RegistryUnreachable     no connection, time-out, TLS
    |   +-- RegistryInterrupted a connection that broke off, an overloaded registry: try again
    |   |   +-- RegistryTimeout it has sent nothing, or too little, for too long
    |   +-- RegistryNotTls      something else than TLS answered
    +-- RegistryDenied          401 or 403 after all credentials were tried
    +-- ManifestUnknown         no such repository, tag or digest there
    +-- RegistryProtocolError   an answer that the distribution specification does not allow
    +-- NoMatchingPlatform      an index without an entry for the wanted platform
"""

import errno


class StorageError(Exception):
    """A failure with what a person needs: `message`, `remedy` (may be empty) and `exit_code`."""

    exit_code = 125

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class StoreUnusable(StorageError):
    pass


class DiskFull(StoreUnusable):
    pass


class StoreTooNew(StoreUnusable):
    pass


class InvalidReference(StorageError):
    pass


class InvalidDocument(StorageError):
    pass


class DigestMismatch(StorageError):
    pass


class BlobMissing(StorageError):
    pass


class InvalidLayer(StorageError):
    pass


class InvalidArchive(StorageError):
    pass


class PolicyRefused(StorageError):
    pass


class NotFound(StorageError):
    pass


class ImageNotFound(NotFound):
    pass


class ContainerNotFound(NotFound):
    pass


class PodNotFound(NotFound):
    pass


class NetworkNotFound(NotFound):
    pass


class VolumeNotFound(NotFound):
    pass


class SecretNotFound(NotFound):
    pass


class Ambiguous(StorageError):
    pass


class InUse(StorageError):
    exit_code = 2


class NameTaken(StorageError):
    pass


class RegistryError(StorageError):
    pass


class RegistryUnreachable(RegistryError):
    pass


class RegistryInterrupted(RegistryUnreachable):
    """`retry_after_s` is what the registry asked for, 0 when it did not."""

    retry_after_s: float = 0.0


class RegistryTimeout(RegistryInterrupted):
    pass


class RegistryNotTls(RegistryUnreachable):
    pass


class RegistryDenied(RegistryError):
    pass


class ManifestUnknown(RegistryError):
    pass


class RegistryProtocolError(RegistryError):
    pass


class NoMatchingPlatform(RegistryError):
    pass


_FULL = (errno.ENOSPC, errno.EDQUOT)
# flock(2) on network file systems that have no locks, or whose lock server is away.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def from_os_error(doing: str, error: OSError) -> StorageError:
    """Wrap a failed system call on the store; `doing` reads like "write <path>"."""
    text = f"{doing}: {error.strerror or error}"
    if error.errno in _FULL:
        return DiskFull(text, remedy="free space, or use another store with --root DIR")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreUnusable(
            text, remedy="use a directory that you can write: --root DIR or RPOD_ROOT=DIR"
        )
    if error.errno in NO_LOCKS:
        return StoreUnusable(
            text, remedy="use a directory on a local file system: --root DIR or RPOD_ROOT=DIR"
        )
    return StoreUnusable(text)
