"""Addresses and subnets of user-defined networks, as numbers.

The standard library's `ipaddress` costs 3 ms of a start; what a network needs of it is little.
"""

import _socket

from slirp.errors import InvalidNetwork
from slirp.record import NamedTuple

_BITS = {4: 32, 6: 128}
_FAMILIES = {4: _socket.AF_INET, 6: _socket.AF_INET6}


class Address(NamedTuple):
    """An address: `version` is 4 or 6."""

    version: int
    number: int

    @property
    def packed(self) -> bytes:
        """The address in network byte order."""
        return self.number.to_bytes(_BITS[self.version] // 8, "big")

    def __str__(self) -> str:
        return _socket.inet_ntop(_FAMILIES[self.version], self.packed)

    @property
    def reversed_name(self) -> str:
        """The name that a PTR query asks for (RFC 1035 3.5, RFC 3596 2.5), without a last dot."""
        if self.version == 4:
            return ".".join(reversed(str(self).split("."))) + ".in-addr.arpa"
        return ".".join(reversed(self.packed.hex())) + ".ip6.arpa"


def parse_address(text: str, what: str = "address") -> Address:
    """Return the address that the text names. Raises InvalidNetwork."""
    for version, family in _FAMILIES.items():
        try:
            packed = _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return Address(version, int.from_bytes(packed, "big"))
    raise InvalidNetwork(f"{what} {text!r}: not an IP address")


class Subnet(NamedTuple):
    """A range of addresses with a common prefix of `length` bits; `first` is its own address."""

    version: int
    first: int
    length: int

    def __str__(self) -> str:
        return f"{Address(self.version, self.first)}/{self.length}"

    @property
    def last(self) -> int:
        """The highest number of the subnet: in IPv4 its broadcast address."""
        return self.first | ((1 << (_BITS[self.version] - self.length)) - 1)

    @property
    def usable(self) -> tuple[int, int]:
        """The first and the last number that a host may have, ends included."""
        if self.version == 4 and self.length < 31:
            return self.first + 1, self.last - 1
        if self.version == 6 and self.length < 127:
            return self.first + 1, self.last
        return self.first, self.last

    def has(self, address: Address) -> bool:
        """Whether an address belongs to the subnet."""
        return address.version == self.version and self.first <= address.number <= self.last

    def address(self, number: int) -> Address:
        """Return an address of the subnet by its number."""
        return Address(self.version, number)

    def overlaps(self, other: "Subnet") -> bool:
        """Whether an address belongs to both."""
        return (
            self.version == other.version and self.first <= other.last and other.first <= self.last
        )


def parse_subnet(text: str, what: str = "subnet", *, strict: bool = True) -> Subnet:
    """Return a subnet from ADDRESS/LENGTH; bits behind the prefix are an error when `strict`.

    Raises InvalidNetwork.
    """
    address_text, slash, length_text = text.partition("/")
    address = parse_address(address_text, what)
    bits = _BITS[address.version]
    if not (slash and length_text.isascii() and length_text.isdecimal() and len(length_text) < 4):
        raise InvalidNetwork(f"{what} {text!r}: not ADDRESS/LENGTH", remedy="such as 10.5.0.0/24")
    length = int(length_text)
    if not 1 <= length <= bits:
        raise InvalidNetwork(f"{what} {text!r}: the length must be 1 to {bits}")
    shift = bits - length
    first = address.number >> shift << shift
    if strict and first != address.number:
        subnet = Subnet(address.version, first, length)
        raise InvalidNetwork(f"{what} {text!r}: has bits behind its length", remedy=f"use {subnet}")
    return Subnet(address.version, first, length)
