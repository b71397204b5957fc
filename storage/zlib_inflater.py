"""gzip by the standard library, for machines without a wheel of isal."""

import zlib

_GZIP_WINDOW = 31


class ZlibInflater:
    """One gzip member, with the interface of the other decompressors of the standard library."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        """Tell whether the member has ended."""
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        """Tell whether nothing more comes without more input."""
        return not self._zlib.unconsumed_tail and not self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """Return what follows the member."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return up to `max_length` bytes."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max(max_length, 0))
