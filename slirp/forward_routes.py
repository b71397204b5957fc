"""What makes replies to a foreign address come back: one table and a rule for each port.

The forwarder speaks to the container's server from the client's own address. A reply to that
address would leave by the default route; a rule for the server's port sends it to a table where
everything is local (ip-rule(8), `sport`; needs Linux 4.17). But for what the container's interfaces
lead to directly: other containers of its networks speak to the same port without the forwarder.
"""

import _socket
import errno
import sys
import time

_NETLINK_ROUTE = 0
_RTM_NEWADDR, _RTM_NEWROUTE, _RTM_GETROUTE, _RTM_NEWRULE, _RTM_DELRULE = 20, 24, 26, 32, 33
_REQUEST, _ACK, _EXCL, _CREATE, _DUMP = 1, 4, 0x200, 0x400, 0x300
_DONE, _ERROR = 3, 2
# RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR: an interface got an address, or lost one.
_ADDRESSES = 0x10 | 0x100
_LOOPBACK_INDEX = 1  # of lo, in every network namespace
_RTN_UNICAST, _RTN_LOCAL, _RTN_THROW = 1, 2, 9
_SCOPE_UNIVERSE, _SCOPE_HOST, _STATIC = 0, 254, 4
_MAIN = 254
_FR_ACT_TO_TBL = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_BUFFER_BYTES = 1 << 15
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_IP_PROTO, _FRA_SPORT_RANGE = 3, 6, 15, 22, 23
TYPE_CHECKING = False
if TYPE_CHECKING:
    Subnet = tuple[bytes, int]

TABLE = 5198
_PRIORITY = 5198
_TRIES, _TRY_S = 50, 0.004
_PROTOCOLS = {"tcp": 6, "udp": 17}


def _u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _attribute(kind: int, data: bytes) -> bytes:
    size = len(data) + 4
    head = size.to_bytes(2, sys.byteorder) + kind.to_bytes(2, sys.byteorder)
    return head + data + bytes(-size % 4)


def _netlink() -> _socket.socket:
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
    return _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_ROUTE)


def _ask(kind: int, flags: int, body: bytes, tolerated: int) -> None:
    """Send one request of rtnetlink(7); an answer of errno `tolerated` is no error."""
    sock = _netlink()
    try:
        size = len(body) + 16
        head = _u32(size) + kind.to_bytes(2, sys.byteorder)
        head += (flags | _REQUEST | _ACK).to_bytes(2, sys.byteorder) + _u32(1) + _u32(0)
        sock.send(head + body)
        answer = sock.recv(4096)
    finally:
        sock.close()
    number = -int.from_bytes(answer[16:20], sys.byteorder, signed=True)
    if number not in (0, tolerated):
        raise OSError(number, "rtnetlink request refused")


def add_route(family: int, preferred: str) -> None:
    """Make everything local in the table; `preferred` is the source of what names none."""
    source = _socket.inet_pton(family, preferred)
    body = bytes([family, 0, 0, 0, 0, _STATIC, _SCOPE_HOST, _RTN_LOCAL]) + _u32(0)
    body += _attribute(_RTA_OIF, _u32(_LOOPBACK_INDEX)) + _attribute(_RTA_TABLE, _u32(TABLE))
    body += _attribute(_RTA_PREFSRC, source)
    _ask(_RTM_NEWROUTE, _CREATE | _EXCL, body, errno.EEXIST)


def add_near(family: int, subnets: "list[Subnet]", gateway: str, preferred: str) -> None:
    """Leave subnets to the routes of the interfaces; `gateway` stands for clients, and is local."""
    for address, length in subnets:
        body = bytes([family, length, 0, 0, 0, _STATIC, _SCOPE_UNIVERSE, _RTN_THROW]) + _u32(0)
        body += _attribute(_RTA_DST, address) + _attribute(_RTA_TABLE, _u32(TABLE))
        _ask(_RTM_NEWROUTE, _CREATE | _EXCL, body, errno.EEXIST)
    if gateway:
        address = _socket.inet_pton(family, gateway)
        length = len(address) * 8
        body = bytes([family, length, 0, 0, 0, _STATIC, _SCOPE_HOST, _RTN_LOCAL]) + _u32(0)
        body += _attribute(_RTA_DST, address) + _attribute(_RTA_OIF, _u32(_LOOPBACK_INDEX))
        body += _attribute(_RTA_TABLE, _u32(TABLE))
        body += _attribute(_RTA_PREFSRC, _socket.inet_pton(family, preferred))
        _ask(_RTM_NEWROUTE, _CREATE | _EXCL, body, errno.EEXIST)


def connected(family: int) -> "list[Subnet]":
    """Return the subnets that interfaces lead to without a gateway. Raises OSError."""
    sock = _netlink()
    try:
        body = bytes([family]) + bytes(11)
        flags = _REQUEST | _DUMP
        head = _u32(16 + len(body)) + _RTM_GETROUTE.to_bytes(2, sys.byteorder)
        sock.send(head + flags.to_bytes(2, sys.byteorder) + _u32(1) + _u32(0) + body)
        found: list[Subnet] = []
        while _read_routes(sock.recv(_BUFFER_BYTES), found):
            pass
        return found
    finally:
        sock.close()


def _read_routes(data: bytes, found: "list[Subnet]") -> bool:
    """Add the subnets of one answer; return whether there are more answers."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], sys.byteorder)
        kind = int.from_bytes(data[at + 4 : at + 6], sys.byteorder)
        if kind in (_DONE, _ERROR) or size < 16:
            return False
        length, table, route = data[at + 17], data[at + 20], data[at + 23]
        words = dict(_attributes(data[at + 28 : at + size]))
        is_near = _RTA_DST in words and _RTA_GATEWAY not in words
        if is_near and length and (table, route) == (_MAIN, _RTN_UNICAST):
            found.append((words[_RTA_DST], length))
        at += (size + 3) & ~3
    return True


def _attributes(data: bytes) -> "list[tuple[int, bytes]]":
    result, at = [], 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 2], sys.byteorder)
        if size < 4:
            break
        kind = int.from_bytes(data[at + 2 : at + 4], sys.byteorder)
        result.append((kind, data[at + 4 : at + size]))
        at += (size + 3) & ~3
    return result


def is_near(subnets: "list[Subnet]", client: str) -> bool:
    """Whether an address, IPv4 or IPv6, is in one of the subnets."""
    family = _socket.AF_INET6 if ":" in client else _socket.AF_INET
    try:
        address = _socket.inet_pton(family, client)
    except OSError:
        return False
    return any(
        len(subnet) == len(address) and _start(subnet, length) == _start(address, length)
        for subnet, length in subnets
    )


def _start(address: bytes, length: int) -> int:
    return int.from_bytes(address, "big") >> (len(address) * 8 - length)


def watch_addresses() -> _socket.socket:
    """Return a socket that can be read when an interface gets or loses an address."""
    sock = _netlink()
    sock.setblocking(False)
    sock.bind((0, _ADDRESSES))
    return sock


def drain(sock: _socket.socket) -> None:
    """Read what has come; ENOBUFS says that more has come than was kept."""
    while True:
        try:
            sock.recv(_BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def add_address(address: str) -> None:
    """Give lo an IPv6 address, usable at once."""
    data = _socket.inet_pton(_socket.AF_INET6, address)
    body = bytes([_socket.AF_INET6, 128, _IFA_F_NODAD, 0]) + _u32(_LOOPBACK_INDEX)
    body += _attribute(_IFA_LOCAL, data) + _attribute(_IFA_ADDRESS, data)
    body += _attribute(_IFA_FLAGS, _u32(_IFA_F_NODAD))
    _ask(_RTM_NEWADDR, _CREATE | _EXCL, body, errno.EEXIST)
    _wait_address(address)


def _wait_address(address: str) -> None:
    """Return once the address and its route are there: the kernel adds them in a work queue.

    A socket that is connected before has the wrong route for good.
    """
    for _ in range(_TRIES):
        time.sleep(_TRY_S)
        sock = _socket.socket(_socket.AF_INET6, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            continue  # tentative
        finally:
            sock.close()
        time.sleep(_TRY_S)
        return


def _rule(family: int, protocol: str, port: int) -> bytes:
    ports = port.to_bytes(2, sys.byteorder) * 2
    body = bytes([family, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL]) + _u32(0)
    body += _attribute(_FRA_IIFNAME, b"lo\0") + _attribute(_FRA_PRIORITY, _u32(_PRIORITY))
    body += _attribute(_FRA_TABLE, _u32(TABLE)) + _attribute(_FRA_SPORT_RANGE, ports)
    return body + _attribute(_FRA_IP_PROTO, bytes([_PROTOCOLS[protocol]]))


def add_rule(family: int, protocol: str, port: int) -> None:
    """Let what is sent from `port` look into the table first."""
    _ask(_RTM_NEWRULE, _CREATE | _EXCL, _rule(family, protocol, port), errno.EEXIST)


def remove_rule(family: int, protocol: str, port: int) -> None:
    """Take the rule away; harmless when it is gone."""
    _ask(_RTM_DELRULE, 0, _rule(family, protocol, port), errno.ENOENT)
