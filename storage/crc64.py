"""CRC-64 of ISO 3309, the checksum of tar-split, at the speed of the interpreter's big integers.

Its polynomial x^64 + x^4 + x^3 + x + 1 is sparse, and squaring in GF(2) keeps it so:
x^(64s) = x^4s + x^3s + x^s + 1 for every power s of two. So the upper half of a message folds onto
the lower one with four shifts. Bits are reflected: bit 0 of a number is its highest power.
"""

_WIDTH = 64
_ONES = (1 << _WIDTH) - 1
_TAPS = (4, 3, 1, 0)


class Crc64:
    """A running checksum."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = _ONES

    def update(self, data: "bytes | memoryview") -> None:
        """Take more of the message."""
        message = int.from_bytes(data, "little") ^ self._state
        self._state = _reduce(message, 8 * len(data) + _WIDTH)

    def digest(self) -> bytes:
        """Return the eight bytes, the highest first."""
        return (self._state ^ _ONES).to_bytes(8, "big")


def _reduce(message: int, length: int) -> int:
    """Return a message of `length` bits, the last 64 of them zero, modulo the polynomial."""
    while length > _WIDTH:
        scale = 1 << max(0, (length // (2 * _WIDTH)).bit_length() - 1)
        below = _WIDTH * scale
        above = length - below
        kept = max(below, above + _TAPS[0] * scale)
        upper = message & ((1 << above) - 1)
        folded = (message >> above) << (kept - below)
        for tap in _TAPS:
            folded ^= upper << (kept - above - tap * scale)
        message, length = folded, kept
    return message
