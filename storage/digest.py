"""OCI image-spec, descriptor: digests. Only sha256 is registered and used by every registry."""

import sys

from storage.errors import InvalidDocument

_PREFIX = "sha256:"
_HEX = frozenset("0123456789abcdef")
_HEX_LENGTH = 64
_SHOWN = 100


def is_digest(text: str) -> bool:
    """Tell whether `text` is `sha256:` and 64 lower-case hexadecimal digits."""
    return (
        len(text) == len(_PREFIX) + _HEX_LENGTH
        and text.startswith(_PREFIX)
        and _HEX.issuperset(text[len(_PREFIX) :])
    )


def check_digest(text: object, where: str) -> str:
    """Return `text` when it is a usable digest; `where` names its place in a document.

    Raises InvalidDocument.
    """
    if isinstance(text, str) and is_digest(text):
        return text
    if not isinstance(text, str):
        raise InvalidDocument(f"{where}: a digest is expected, found {type(text).__name__}")
    shown = text[:_SHOWN]
    if text.startswith(("sha512:", "sha384:", "blake3:")):
        algorithm = text.partition(":")[0]
        raise InvalidDocument(
            f"{where}: digest algorithm {algorithm} is not supported, only sha256 is ({shown})",
            remedy="use an image whose digests are sha256",
        )
    raise InvalidDocument(f"{where}: {shown!r} is not a digest (sha256:<64 hexadecimal digits>)")


def hex_of(digest: str) -> str:
    """Return the hexadecimal part of a checked digest."""
    return digest.removeprefix(_PREFIX)


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of a small document."""
    return _PREFIX + _small_sha256(data)


def short_hash(text: str) -> str:
    """Return 16 hexadecimal digits that stand for `text` in a file name."""
    return _small_sha256(text.encode())[:16]


def _small_sha256(data: bytes) -> str:
    """Digest with the interpreter's own code: hashlib loads OpenSSL, which costs a start 3 ms."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256  # type: ignore[import-not-found]  # typeshed has none
    except ImportError:
        from hashlib import sha256
    return str(sha256(data).hexdigest())
