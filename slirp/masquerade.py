"""Addresses of a network take on that of the way out: nf_tables over nfnetlink.

One table with one chain and one rule, "whatever leaves by another interface than the bridge: masq".
Written by hand like `slirp.netlink`: nft(8) need not be installed.
"""

import os
import struct

from slirp.netlink import Netlink, attribute

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYS_NFTABLES = 10
_NEWTABLE, _NEWCHAIN, _NEWRULE = 0, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NFPROTO_INET = 1
_NESTED = 0x8000
_POSTROUTING, _PRIORITY_SRCNAT = 4, 100
_OIFNAME, _REGISTER, _NOT_EQUAL = 7, 1, 1
_IFNAMSIZ = 16
_HEADER = struct.Struct("=IHHII")
_TABLE = "rpod"
_CHAIN = "out"


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, os.fsencode(text) + b"\0")


def _nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _expression(name: str, *parts: bytes) -> bytes:
    return _nest(1, _text(1, name), _nest(2, *parts))


def _messages(bridge: str) -> list[tuple[int, int, int, bytes]]:
    """Return (type, flags, family, attributes) of every message of the batch."""
    new = _SUBSYS_NFTABLES << 8
    hook = _nest(4, _number(1, _POSTROUTING), _number(2, _PRIORITY_SRCNAT))
    chain = _text(1, _TABLE) + _text(3, _CHAIN) + hook + _text(7, "nat")
    name = os.fsencode(bridge).ljust(_IFNAMSIZ, b"\0")
    expressions = _nest(
        4,
        _expression("meta", _number(2, _OIFNAME), _number(1, _REGISTER)),
        _expression(
            "cmp", _number(1, _REGISTER), _number(2, _NOT_EQUAL), _nest(3, attribute(1, name))
        ),
        _expression("masq"),
    )
    rule = _text(1, _TABLE) + _text(2, _CHAIN) + expressions
    return [
        (_BATCH_BEGIN, _REQUEST, 0, b""),
        (new | _NEWTABLE, _REQUEST | _CREATE | _ACK, _NFPROTO_INET, _text(1, _TABLE)),
        (new | _NEWCHAIN, _REQUEST | _CREATE | _ACK, _NFPROTO_INET, chain),
        (new | _NEWRULE, _REQUEST | _CREATE | _APPEND | _ACK, _NFPROTO_INET, rule),
        (_BATCH_END, _REQUEST, 0, b""),
    ]


def masquerade(bridge: str) -> None:
    """Set it up in the network namespace of this process.

    Raises OSError where the kernel has no nf_tables or no masquerading.
    """
    data = b""
    wanted = []
    for sequence, (kind, flags, family, body) in enumerate(_messages(bridge), 1):
        resource = _SUBSYS_NFTABLES if kind in (_BATCH_BEGIN, _BATCH_END) else 0
        body = struct.pack(">BBH", family, 0, resource) + body
        data += _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body
        if flags & _ACK:
            wanted.append(sequence)
    with Netlink(_NETLINK_NETFILTER) as netlink:
        netlink.send(data)
        for sequence in wanted:
            netlink.answers(sequence, "masquerade the network")
