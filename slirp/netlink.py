"""rtnetlink(7): links, addresses and routes of the network namespace of this process.

Messages are written by hand: starting a container may not load a library for six of them
(pyroute2 takes 165 ms). The tests read back with pyroute2 what this module has made.
"""

import _socket
import os
import struct

from slirp.network_address import Address, Subnet

_NETLINK_ROUTE = 0
_SOL_NETLINK, _NETLINK_EXT_ACK = 270, 11
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _EXCL, _CREATE, _REPLACE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x100, 0x300
_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR, _GETADDR, _NEWROUTE = 16, 17, 18, 19, 20, 22, 24
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_AF_SPEC, _IFLA_NET_NS_FD = 26, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET_CONF = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_LINK, _RTN_UNICAST = 254, 4, 253, 1
_IFF_UP = 1
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_FAMILIES = {4: _socket.AF_INET, 6: _socket.AF_INET6}

IPV4_FORWARDING, IPV4_PROXY_ARP, IPV4_RP_FILTER = 1, 3, 8


def attribute(kind: int, data: bytes) -> bytes:
    """Return one netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, os.fsencode(text) + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


class Netlink:
    """A socket in the network namespace in which it was made; a context manager."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, protocol: int = _NETLINK_ROUTE) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, kind, protocol)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        except OSError:
            pass  # kernels before 4.12: errors without words
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes, doing: str) -> list[bytes]:
        """Send one message and return the bodies of the answers. Raises OSError."""
        self._sequence += 1
        flags |= _REQUEST if flags & _DUMP == _DUMP else _REQUEST | _ACK
        self.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        return self.answers(self._sequence, doing)

    def send(self, data: bytes) -> None:
        """Send messages that carry their headers. Raises OSError."""
        self._socket.send(data)

    def answers(self, sequence: int, doing: str) -> list[bytes]:
        """Return what comes for a message until its acknowledgement. Raises OSError."""
        bodies: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 17)
            while len(data) >= _HEADER.size:
                length, kind, flags, number, _ = _HEADER.unpack_from(data)
                body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if number != sequence:
                    continue
                if kind == _ERROR:
                    _check(body, flags, doing)
                    return bodies
                if kind == _DONE:
                    return bodies
                bodies.append(body)

    # --- links

    def make_bridge(self, name: str, *, mac: bytes, mtu: int) -> int:
        """Make a bridge that keeps its hardware address, and return its index."""
        info = attribute(_IFLA_LINKINFO | _NESTED, _text(_INFO_KIND, "bridge"))
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name) + info
        body += attribute(_IFLA_ADDRESS, mac) + _number(_IFLA_MTU, mtu)
        self.request(_NEWLINK, _CREATE | _EXCL, body, f"make bridge {name}")
        return self.index(name)

    def make_veth(self, name: str, peer: str, peer_netns: int, *, mac: bytes, mtu: int) -> int:
        """Make a pair of which the peer, with the address, lies in another namespace."""
        far = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, peer) + attribute(_IFLA_ADDRESS, mac)
        far += _number(_IFLA_NET_NS_FD, peer_netns) + _number(_IFLA_MTU, mtu)
        data = attribute(_INFO_DATA | _NESTED, attribute(_VETH_INFO_PEER | _NESTED, far))
        info = attribute(_IFLA_LINKINFO | _NESTED, _text(_INFO_KIND, "veth") + data)
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name) + info
        body += _number(_IFLA_MTU, mtu)
        self.request(_NEWLINK, _CREATE | _EXCL, body, f"make interface {peer}")
        return self.index(name)

    def index(self, name: str) -> int:
        """Return the index of a link. Raises OSError, ENODEV when there is none."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
        answer = self.request(_GETLINK, 0, body, f"look for interface {name}")
        index: int = _LINK.unpack_from(answer[0])[2]
        return index

    def names(self) -> list[str]:
        """Return the names of the links."""
        body = _LINK.pack(0, 0, 0, 0, 0)
        answers = self.request(_GETLINK, _DUMP, body, "list interfaces")
        return [
            os.fsdecode(attributes(answer[_LINK.size :])[_IFLA_IFNAME]).rstrip("\0")
            for answer in answers
        ]

    def bring_up(self, index: int, *, master: int = 0) -> None:
        """Set a link up, as a port of a bridge when `master` is given."""
        body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)
        if master:
            body += _number(_IFLA_MASTER, master)
        self.request(_SETLINK, 0, body, "set an interface up")

    def delete_link(self, index: int) -> None:
        """Remove a link, and with it the other end of a pair."""
        self.request(_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0), "remove an interface")

    def configure_ipv4(self, index: int, settings: dict[int, int]) -> None:
        """Set per-device settings (IPV4_*), also where /proc/sys cannot be written."""
        conf = b"".join(_number(kind, value) for kind, value in settings.items())
        inet = attribute(_socket.AF_INET | _NESTED, attribute(_IFLA_INET_CONF | _NESTED, conf))
        body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_AF_SPEC | _NESTED, inet)
        self.request(_SETLINK, 0, body, "configure an interface")

    # --- addresses and routes

    def add_address(self, index: int, address: Address, subnet: Subnet) -> None:
        """Give a link an address, usable at once: nobody else can have it."""
        family = _FAMILIES[address.version]
        body = _ADDRESS.pack(family, subnet.length, _IFA_F_NODAD if family != 2 else 0, 0, index)
        body += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
        if address.version == 4 and subnet.length < 31:
            body += attribute(_IFA_BROADCAST, subnet.address(subnet.last).packed)
        self.request(_NEWADDR, _CREATE | _REPLACE, body, f"give an interface {address}")

    def add_route(
        self, index: int, gateway: Address, to: Subnet | None = None, *, metric: int = 0
    ) -> None:
        """Add a route over a gateway; without a destination it is the default."""
        family = _FAMILIES[gateway.version]
        length = to.length if to is not None else 0
        body = _ROUTE.pack(family, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
        if to is not None:
            body += attribute(_RTA_DST, to.address(to.first).packed)
        body += attribute(_RTA_GATEWAY, gateway.packed) + _number(_RTA_OIF, index)
        if metric:
            body += _number(_RTA_PRIORITY, metric)
        where = f"{to}" if to is not None else "everywhere"
        self.request(_NEWROUTE, _CREATE | _REPLACE, body, f"route {where} over {gateway}")

    def addresses(self, index: int) -> list[Address]:
        """Return the addresses of a link."""
        found = []
        for answer in self.request(_GETADDR, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "list addresses"):
            family, _, _, _, owner = _ADDRESS.unpack_from(answer)
            values = attributes(answer[_ADDRESS.size :])
            packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if owner == index and packed:
                version = 4 if family == _socket.AF_INET else 6
                found.append(Address(version, int.from_bytes(packed, "big")))
        return found


def attributes(data: bytes) -> dict[int, bytes]:
    """Return netlink attributes by their kind."""
    result = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        result[kind & ~_NESTED] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return result


def _check(body: bytes, flags: int, doing: str) -> None:
    """Raise what an acknowledgement says: struct nlmsgerr, then NLMSGERR_ATTR_MSG."""
    number = -int(struct.unpack_from("=i", body)[0])
    if not number:
        return
    error = OSError(number, os.strerror(number))
    error.add_note(doing)
    if flags & 0x200:  # NLM_F_ACK_TLVS
        capped = 0 if flags & 0x100 else struct.unpack_from("=I", body, 4)[0] - _HEADER.size
        words = attributes(body[4 + _HEADER.size + capped :]).get(1, b"")
        if words:
            error.add_note(words.rstrip(b"\0").decode(errors="replace"))
    raise error
