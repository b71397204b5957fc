"""What makes replies to a foreign address come back: one table and a rule for each port.

The forwarder speaks to the container's server from the client's own address. A reply to that
address would leave by the default route; a rule for the server's port sends it to a table where
the addresses of the forwarder's clients are local (ip-rule(8), `sport`; needs Linux 4.17). Whatever
else leaves that port goes its usual way: to other containers of a network, which speak to it
directly, and to servers that it asks from there.
"""

import _socket
import errno
import sys
import time

_NETLINK_ROUTE = 0
_RTM_NEWADDR, _RTM_NEWRULE, _RTM_DELRULE = 20, 32, 33
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_REQUEST, _ACK, _EXCL, _CREATE, _DUMP = 1, 4, 0x200, 0x400, 0x300
_DONE, _ERROR = 3, 2
_LOOPBACK_INDEX = 1  # of lo, in every network namespace
_RTN_LOCAL, _SCOPE_HOST, _STATIC = 2, 254, 4
_FR_ACT_TO_TBL = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 7, 15
_BUFFER_BYTES = 1 << 15
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_IP_PROTO, _FRA_SPORT_RANGE = 3, 6, 15, 22, 23
TYPE_CHECKING = False
if TYPE_CHECKING:
    Client = tuple[int, str]  # family, address

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


def add_client(family: int, client: str, preferred: str) -> None:
    """Make a client's address local in the table; `preferred` is the source of what names none."""
    body = _client_route(family, client)
    body += _attribute(_RTA_PREFSRC, _socket.inet_pton(family, preferred))
    _ask(_RTM_NEWROUTE, _CREATE | _EXCL, body, errno.EEXIST)


def remove_client(family: int, client: str) -> None:
    """Take it away; harmless when it is gone."""
    _ask(_RTM_DELROUTE, 0, _client_route(family, client), errno.ESRCH)


def _client_route(family: int, client: str) -> bytes:
    address = _socket.inet_pton(family, client)
    head = bytes([family, len(address) * 8, 0, 0, 0, _STATIC, _SCOPE_HOST, _RTN_LOCAL]) + _u32(0)
    body = head + _attribute(_RTA_DST, address) + _attribute(_RTA_TABLE, _u32(TABLE))
    return body + _attribute(_RTA_OIF, _u32(_LOOPBACK_INDEX))


def clients() -> "list[Client]":
    """Return whose addresses are in the table: what a killed forwarder has left. Raises OSError."""
    found: list[Client] = []
    for family in (_socket.AF_INET, _socket.AF_INET6):
        sock = _netlink()
        try:
            body = bytes([family]) + bytes(11)
            head = _u32(16 + len(body)) + _RTM_GETROUTE.to_bytes(2, sys.byteorder)
            head += (_REQUEST | _DUMP).to_bytes(2, sys.byteorder) + _u32(1) + _u32(0)
            sock.send(head + body)
            while _read_routes(sock.recv(_BUFFER_BYTES), found):
                pass
        finally:
            sock.close()
    return found


def _read_routes(data: bytes, found: "list[Client]") -> bool:
    """Add the clients of one answer; return whether there are more answers."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], sys.byteorder)
        kind = int.from_bytes(data[at + 4 : at + 6], sys.byteorder)
        if kind in (_DONE, _ERROR) or size < 28:
            return False
        words = dict(_attributes(data[at + 28 : at + size]))
        if words.get(_RTA_TABLE) == _u32(TABLE) and _RTA_DST in words:
            family = data[at + 16]
            found.append((family, _socket.inet_ntop(family, words[_RTA_DST])))
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
