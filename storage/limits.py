"""How much a compressed stream from outside may become: against archives made to fill a disk."""

from collections.abc import Iterator

from storage.errors import InvalidLayer
from storage.inflate import Source, inflate
from storage.layout import Layout
from storage.record import NamedTuple

# A small layer may well be nothing but zeros.
_RATIO_FROM_BYTES = 1 << 30
_REMEDY = "if it is right, raise {} in rpod.toml"


class Limits(NamedTuple):
    """What one layer may have: bytes when inflated, bytes for each byte of its blob, entries."""

    size_bytes: int = 1 << 40
    ratio: int = 2000
    entries: int = 20_000_000

    def check_entries(self, count: int) -> None:
        """Raise InvalidLayer for more entries than are allowed."""
        if count > self.entries:
            raise InvalidLayer(
                f"more than {self.entries} files", remedy=_REMEDY.format("max_layer_files")
            )


class _Counted:
    """A source that knows how much has been read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size_bytes = 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        chunk = self._source.read(size)
        self.size_bytes += len(chunk)
        return chunk


def inflate_limited(source: Source, compression: str, limits: Limits) -> Iterator[bytes]:
    """Inflate as `inflate` does, up to the limits. Raises InvalidLayer."""
    counted = _Counted(source)
    total = 0
    for chunk in inflate(counted, compression):
        total += len(chunk)
        if total > limits.size_bytes:
            raise InvalidLayer(
                f"it inflates to more than {limits.size_bytes} bytes",
                remedy=_REMEDY.format("max_layer_size"),
            )
        if total > _RATIO_FROM_BYTES and total > limits.ratio * counted.size_bytes:
            raise InvalidLayer(
                f"it inflates to more than {limits.ratio} times its size",
                remedy=_REMEDY.format("max_layer_ratio"),
            )
        yield chunk


def layer_limits(layout: Layout) -> Limits:
    """Return what is set for a store; 0 is the default."""
    found = zip(layout.layer_limits or (0, 0, 0), Limits(), strict=True)
    return Limits(*(chosen or usual for chosen, usual in found))
