"""Extended headers of tar archives (POSIX pax), and what GNU tar and star put into them."""

from storage.errors import InvalidLayer

Segments = tuple[tuple[int, int], ...]

_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_MTIME_LIMIT_S = 1 << 34
_NAMES = frozenset((b"path", b"linkpath", b"GNU.sparse.name"))


class PaxHeaders(dict[bytes, bytes]):
    """The records of extended headers; a later record replaces an earlier one of its name."""

    def merged(self, other: "PaxHeaders") -> "PaxHeaders":
        """Return these records with those of `other` on top."""
        found = PaxHeaders(self)
        found.update(other)
        return found

    @property
    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by name."""
        return {key[len(_XATTR) :]: value for key, value in self.items() if key.startswith(_XATTR)}

    @property
    def is_sparse(self) -> bool:
        """Tell whether the member is a sparse file of GNU tar."""
        return b"GNU.sparse.major" in self or b"GNU.sparse.map" in self or _PAIRS in self

    def number(self, key: bytes, default: int, where: str) -> int:
        """Return a decimal record. Raises InvalidLayer."""
        text = self.get(key)
        if not text:
            return default
        if not text.isdigit() or len(text) > len(str(1 << 63)) or int(text) >= 1 << 63:
            raise InvalidLayer(f"{where}: {key.decode()} {text[:40]!r} is not a number")
        return int(text)

    def mtime_ns(self, default: int) -> int:
        """Return the time of modification; one that makes no sense is passed over."""
        text = self.get(b"mtime")
        if not text:
            return default
        whole, _, fraction = text.partition(b".")
        if not whole.removeprefix(b"-").isdigit() or len(whole) > 20:
            return default
        if fraction and not fraction.isdigit():
            return default
        nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
        seconds = max(-_MTIME_LIMIT_S, min(int(whole), _MTIME_LIMIT_S))
        sign = -1 if whole.startswith(b"-") else 1
        return seconds * 1_000_000_000 + sign * nanoseconds


_PAIRS = b"GNU.sparse.pairs"
"""Not a record of GNU tar: where the offsets and lengths of version 0.0, whose records repeat,
are gathered."""


def parse_pax(data: bytes, where: str) -> PaxHeaders:
    r"""Parse records of the form "%d %s=%s\n", length first. Raises InvalidLayer."""
    found = PaxHeaders()
    pairs: list[bytes] = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 10)
        digits = data[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        if end <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n":
            if not data[position:].strip(b"\0"):
                break
            raise InvalidLayer(f"{where}: a broken extended header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key or (key in _NAMES and b"\0" in value):
            raise InvalidLayer(f"{where}: a broken extended header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        found[key] = value
        position = end
    if pairs:
        found[_PAIRS] = b",".join(pairs)
    return found


def parse_sparse_map(pax: PaxHeaders, where: str) -> Segments:
    """Return the segments of a sparse file of versions 0.0 and 0.1. Raises InvalidLayer."""
    text = pax.get(b"GNU.sparse.map") or pax.get(_PAIRS) or b""
    numbers = text.split(b",") if text else []
    if len(numbers) % 2 or not all(number.isdigit() and len(number) < 20 for number in numbers):
        raise InvalidLayer(f"{where}: a broken sparse map")
    values = [int(number) for number in numbers]
    return tuple(zip(values[::2], values[1::2], strict=True))
